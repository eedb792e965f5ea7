"""A benchmark task as data: which files hold it, how they are read, which classes it has, how it is scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ms_plm.data.benchmarks.examples import Example
from ms_plm.data.benchmarks.files import Place

OWN = "own"
"""Name of a task of your own files."""
Kind = Literal["classification", "regression", "tokens", "question_answering", "multiple_choice"]


class Reader(Protocol):
    """What turns a file into examples."""

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Iterator[tuple[Place, Example]]:
        """Examples with the places where they stand; see `Table.read`."""


@dataclass(frozen=True)
class Source:
    """One way in which a split is published.

    Attributes:
        files: names in the benchmark's folder, all of which belong to the split (C3 has two).
        reader: how they are read.
    """

    files: tuple[str, ...]
    reader: Reader


@dataclass(frozen=True)
class Submission:
    """How a benchmark takes predictions.

    Attributes:
        format: glue (a table `index prediction`), records (a JSON object `id label` a line), superglue (`idx label`;
            what belongs to one passage in one line), entities (`id label`, the label by type and text as CLUENER has
            it), answers (one JSON object for all: question -> answer) or plain (`id prediction`).
        files: name of the file for a split; a split that is not named has none.
        spelling: classes that the server spells otherwise.
    """

    format: Literal["glue", "records", "superglue", "entities", "answers", "plain"]
    files: Mapping[str, str]
    spelling: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkTask:
    """A task of a benchmark, or one of your own.

    Attributes:
        name: such as `glue/mnli`.
        kind: what is asked.
        splits: name of a split -> the ways in which it is published; the first one that is there is read. Splits
            whose names begin with "test" need no labels.
        metrics: names that `ms_plm.evaluation` knows; the first one decides which model is best.
        labels: names of classes or entity types' tags in the order of their ids, written as the files write them;
            None: taken from the training file, sorted.
        aliases: other spellings of labels.
        unlabelled: labels that mean "not agreed"; such examples are left out and counted.
        bounds: least and greatest value of a regression.
        submission: None where there is no server to send predictions to.
    """

    name: str
    kind: Kind
    splits: Mapping[str, tuple[Source, ...]]
    metrics: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    submission: Submission | None = None

    @property
    def may_lack_answers(self) -> bool:
        """Whether questions may have no answer in their text: those of SQuAD 2.0, and of your own files."""
        if self.kind != "question_answering":
            return False
        return "squad_no_answer_accuracy" in self.metrics or self.name == OWN

    def split_names(self, prefix: str) -> tuple[str, ...]:
        """Splits whose names begin with `prefix`: `dev` gives `dev_matched` and `dev_mismatched` of MNLI."""
        return tuple(name for name in self.splits if name.startswith(prefix))


def one(name: str, reader: Reader) -> tuple[Source, ...]:
    """A split that is published in one way, as one file."""
    return (Source((name,), reader),)
