"""GLUE: the files of gluebenchmark.com, as its download script lays them out.

Classes are named as the files name them, and everything goes by name. Their order is that of BERT's `run_classifier.py`
and of the GLUE processors of `transformers` (`MnliProcessor.get_labels`: contradiction, entailment, neutral), which
published checkpoints without label names follow; the `datasets` library numbers MNLI's classes otherwise (entailment,
neutral, contradiction).
"""

from __future__ import annotations

from ms_plm.data.benchmarks.tasks import BenchmarkTask, Source, Submission, one
from ms_plm.data.benchmarks.texts import Table

NLI = ("contradiction", "entailment", "neutral")
_ENTAILMENT = ("entailment", "not_entailment")
_BINARY = ("0", "1")


def _splits(reader: Table, test: Table) -> dict[str, tuple[Source, ...]]:
    return {"train": one("train.tsv", reader), "dev": one("dev.tsv", reader), "test": one("test.tsv", test)}


def _submission(**files: str) -> Submission:
    return Submission("glue", {split: f"{name}.tsv" for split, name in files.items()})


_MNLI = Table("sentence1", "sentence2", "gold_label", "index")
_PAIR = Table("sentence1", "sentence2", "label", "index")
_QUORA = Table("question1", "question2", "is_duplicate", "id", skip_cut_rows=True)

GLUE = (
    BenchmarkTask(
        "glue/cola",
        "classification",
        # the header of the test file is the only one; columns: source, label, the author's mark, sentence
        _splits(Table(3, label=1, columns=4), Table("sentence", id="index")),
        ("matthews", "accuracy"),
        _BINARY,
        submission=_submission(test="CoLA"),
    ),
    BenchmarkTask(
        "glue/sst-2",
        "classification",
        _splits(Table("sentence", label="label"), Table("sentence", id="index")),
        ("accuracy",),
        _BINARY,
        submission=_submission(test="SST-2"),
    ),
    BenchmarkTask(
        "glue/mrpc",
        "classification",
        _splits(Table("#1 String", "#2 String", "Quality"), Table("#1 String", "#2 String", id="index")),
        ("accuracy", "f1"),
        _BINARY,
        submission=_submission(test="MRPC"),
    ),
    BenchmarkTask(
        "glue/sts-b",
        "regression",
        _splits(Table("sentence1", "sentence2", "score", "index"), Table("sentence1", "sentence2", id="index")),
        ("pearson_spearman", "pearson", "spearman"),
        bounds=(0.0, 5.0),
        submission=_submission(test="STS-B"),
    ),
    BenchmarkTask(
        "glue/qqp",
        "classification",
        _splits(_QUORA, Table("question1", "question2", id="id")),
        ("accuracy", "f1"),
        _BINARY,
        submission=_submission(test="QQP"),
    ),
    BenchmarkTask(
        "glue/mnli",
        "classification",
        {
            "train": one("train.tsv", _MNLI),
            **{
                f"{split}_{genres}": one(f"{split}_{genres}.tsv", _MNLI)
                for split in ("dev", "test")
                for genres in ("matched", "mismatched")
            },
        },
        ("accuracy",),
        NLI,
        unlabelled=("-",),
        submission=_submission(test_matched="MNLI-m", test_mismatched="MNLI-mm"),
    ),
    BenchmarkTask(
        "glue/qnli",
        "classification",
        _splits(Table("question", "sentence", "label", "index"), Table("question", "sentence", id="index")),
        ("accuracy",),
        _ENTAILMENT,
        submission=_submission(test="QNLI"),
    ),
    BenchmarkTask(
        "glue/rte",
        "classification",
        _splits(_PAIR, Table("sentence1", "sentence2", id="index")),
        ("accuracy",),
        _ENTAILMENT,
        submission=_submission(test="RTE"),
    ),
    BenchmarkTask(
        "glue/wnli",
        "classification",
        _splits(_PAIR, Table("sentence1", "sentence2", id="index")),
        ("accuracy",),
        _BINARY,
        submission=_submission(test="WNLI"),
    ),
    BenchmarkTask(
        "glue/ax",
        "classification",
        {
            "test": (
                Source(("AX.tsv",), Table("sentence1", "sentence2", id="index")),
                Source(("diagnostic.tsv",), Table("sentence1", "sentence2", id="index")),
                Source(("diagnostic-full.tsv",), Table("Premise", "Hypothesis", "Label")),
            )
        },
        ("matthews", "accuracy"),
        NLI,
        submission=_submission(test="AX"),
    ),
)
