"""SuperGLUE: the .jsonl files of super.gluebenchmark.com.

Classes are named as the files name them (booleans in lower case). COPA and ReCoRD are in `choices`.
"""

from __future__ import annotations

from ms_plm.data.benchmarks.tasks import BenchmarkTask, Reader, Source, one
from ms_plm.data.benchmarks.texts import Fields, Marked, Passages, two_word_mentions, word_in_context

_BOOLEAN = ("false", "true")
_ENTAILMENT = ("entailment", "not_entailment")


def splits(reader: Reader) -> dict[str, tuple[Source, ...]]:
    """train.jsonl, val.jsonl and test.jsonl; the second is called dev here as everywhere."""
    return {"train": one("train.jsonl", reader), "dev": one("val.jsonl", reader), "test": one("test.jsonl", reader)}


def _fields(text: str, pair: str) -> Fields:
    return Fields(text, pair, id="idx")


SUPERGLUE_TEXTS = (
    BenchmarkTask(
        "superglue/boolq",
        "classification",
        splits(_fields("question", "passage")),
        ("accuracy",),
        _BOOLEAN,
    ),
    BenchmarkTask(
        "superglue/cb",
        "classification",
        splits(_fields("premise", "hypothesis")),
        ("accuracy", "macro_f1"),
        ("contradiction", "entailment", "neutral"),
    ),
    BenchmarkTask(
        "superglue/rte",
        "classification",
        splits(_fields("premise", "hypothesis")),
        ("accuracy",),
        _ENTAILMENT,
    ),
    BenchmarkTask(
        "superglue/wic",
        "classification",
        splits(Marked(word_in_context)),
        ("accuracy",),
        _BOOLEAN,
    ),
    BenchmarkTask(
        "superglue/wsc",
        "classification",
        splits(Marked(two_word_mentions)),
        ("accuracy",),
        _BOOLEAN,
    ),
    BenchmarkTask(
        "superglue/multirc",
        "classification",
        splits(Passages()),
        ("multirc_f1a", "multirc_em", "accuracy"),
        ("0", "1"),
    ),
    BenchmarkTask(
        "superglue/ax-b",
        "classification",
        {"test": one("AX-b.jsonl", _fields("sentence1", "sentence2"))},
        ("matthews", "accuracy"),
        _ENTAILMENT,
    ),
    BenchmarkTask(
        "superglue/ax-g",
        "classification",
        {"test": one("AX-g.jsonl", _fields("premise", "hypothesis"))},
        ("accuracy",),
        _ENTAILMENT,
    ),
)
