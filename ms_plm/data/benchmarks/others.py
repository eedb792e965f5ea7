"""Sets that stand alone, and your own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.glue import NLI
from ms_plm.data.benchmarks.tasks import OWN, BenchmarkTask, Kind, Source, one
from ms_plm.data.benchmarks.texts import Fields, Table

XNLI_LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")


def _three(reader: Table) -> dict[str, tuple[Source, ...]]:
    return {name: (*one(f"{name}.tsv", reader), *one(f"{name}.txt", reader)) for name in ("train", "dev", "test")}


def _xnli(language: str) -> BenchmarkTask:
    """XNLI 1.0 (dev and test of all languages in one file) with the machine-translated training set of MultiNLI."""
    plain = Table("premise", "hypo", label="label")
    official = Table("sentence1", "sentence2", "gold_label", "pairID", only=("language", language))
    names = (f"multinli.train.{language}.tsv", f"multinli/multinli.train.{language}.tsv", "train.tsv")
    return BenchmarkTask(
        f"xnli/{language}",
        "classification",
        {
            "train": tuple(Source((name,), plain) for name in names),
            **{split: (*one(f"xnli.{split}.tsv", official), *one(f"{split}.tsv", plain)) for split in ("dev", "test")},
        },
        ("accuracy",),
        NLI,
        {"contradictory": "contradiction"},
    )


OTHER_TEXTS = (
    BenchmarkTask(
        "chnsenticorp",
        "classification",
        _three(Table(1, label=0, header="label", named=("text_a", "label"))),
        ("accuracy",),
        ("0", "1"),
    ),
    BenchmarkTask(
        "lcqmc", "classification", _three(Table(0, 1, label=2, header="label")), ("accuracy", "f1"), ("0", "1")
    ),
    *(_xnli(language) for language in XNLI_LANGUAGES),
)


def own_texts(
    files: Mapping[str, str],
    text: str,
    pair: str | None = None,
    label: str | None = "label",
    kind: Kind = "classification",
    labels: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    header: bool | None = None,
    name: str = OWN,
) -> BenchmarkTask:
    """A task of your own .tsv, .txt (tab-separated) or .jsonl files.

    Args:
        files: split (train, dev, test ...) -> file.
        text, pair, label: names of columns or fields, or numbers of columns from 0 (`"0"`).
        kind: classification or regression.
        labels: classes in the order of their ids; None: those of the training file, sorted.
        metrics: what is computed, the first decides; None: accuracy, or the mean of Pearson and Spearman.
        header: whether the first line of a table names its columns; None: yes, unless columns are numbers.
        name: what the task is called.

    Raises:
        UserError: a file of another format, another kind of task.
    """
    if kind not in ("classification", "regression"):
        raise UserError(f"kind {kind!r}: expected classification or regression for files of texts.")
    table = Table(_column(text), None if pair is None else _column(pair), _column(label), header=header)
    readers = {".tsv": table, ".txt": table, ".jsonl": Fields(text, pair, label)}
    for file in files.values():
        if Path(file).suffix not in readers:
            raise UserError(f"{file}: expected a file of {', '.join(readers)}; convert it to one of them.")
    standard = ("accuracy",) if kind == "classification" else ("pearson_spearman", "pearson", "spearman")
    return BenchmarkTask(
        name,
        kind,
        {split: one(file, readers[Path(file).suffix]) for split, file in files.items()},
        tuple(metrics) if metrics else standard,
        None if labels is None else tuple(labels),
    )


def _column(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdecimal() else name
