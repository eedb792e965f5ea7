"""SuperGLUE: the .jsonl files of super.gluebenchmark.com.

Classes are named as the files name them (booleans in lower case). COPA and ReCoRD are in `choices`.
"""

from __future__ import annotations

from ms_plm.data.benchmarks.tasks import BenchmarkTask, Reader, Source, Submission, one
from ms_plm.data.benchmarks.texts import Fields, Marked, Passages, two_word_mentions, word_in_context

_BOOLEAN = ("false", "true")
_ENTAILMENT = ("entailment", "not_entailment")


def superglue_splits(reader: Reader) -> dict[str, tuple[Source, ...]]:
    """train.jsonl, val.jsonl and test.jsonl; the second is called dev here as everywhere."""
    return {"train": one("train.jsonl", reader), "dev": one("val.jsonl", reader), "test": one("test.jsonl", reader)}


def superglue_submission(name: str, **spelling: str) -> Submission:
    """A file of predictions for the test set."""
    return Submission("superglue", {"test": f"{name}.jsonl"}, spelling)


def _fields(text: str, pair: str) -> Fields:
    return Fields(text, pair, id="idx")


SUPERGLUE_TEXTS = (
    BenchmarkTask(
        "superglue/boolq",
        "classification",
        superglue_splits(_fields("question", "passage")),
        ("accuracy",),
        _BOOLEAN,
        submission=superglue_submission("BoolQ"),
    ),
    BenchmarkTask(
        "superglue/cb",
        "classification",
        superglue_splits(_fields("premise", "hypothesis")),
        ("accuracy", "macro_f1"),
        ("contradiction", "entailment", "neutral"),
        submission=superglue_submission("CB"),
    ),
    BenchmarkTask(
        "superglue/rte",
        "classification",
        superglue_splits(_fields("premise", "hypothesis")),
        ("accuracy",),
        _ENTAILMENT,
        submission=superglue_submission("RTE"),
    ),
    BenchmarkTask(
        "superglue/wic",
        "classification",
        superglue_splits(Marked(word_in_context)),
        ("accuracy",),
        _BOOLEAN,
        submission=superglue_submission("WiC"),
    ),
    BenchmarkTask(
        "superglue/wsc",
        "classification",
        superglue_splits(Marked(two_word_mentions)),
        ("accuracy",),
        _BOOLEAN,
        submission=superglue_submission("WSC", true="True", false="False"),
    ),
    BenchmarkTask(
        "superglue/multirc",
        "classification",
        superglue_splits(Passages()),
        ("multirc_f1a", "multirc_em", "accuracy"),
        ("0", "1"),
        submission=superglue_submission("MultiRC"),
    ),
    BenchmarkTask(
        "superglue/ax-b",
        "classification",
        {"test": one("AX-b.jsonl", _fields("sentence1", "sentence2"))},
        ("matthews", "accuracy"),
        _ENTAILMENT,
        submission=superglue_submission("AX-b"),
    ),
    BenchmarkTask(
        "superglue/ax-g",
        "classification",
        {"test": one("AX-g.jsonl", Fields("premise", "hypothesis", id="idx", group="pair_id"))},
        ("accuracy", "gender_parity"),
        _ENTAILMENT,
        submission=superglue_submission("AX-g"),
    ),
)
