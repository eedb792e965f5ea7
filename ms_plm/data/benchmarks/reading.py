"""Reading a split of a benchmark: finding its files, naming its labels, counting what is left out."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.examples import (
    Example,
    Split,
    TextExample,
    TokensExample,
    is_labelled,
)
from ms_plm.data.benchmarks.files import Place
from ms_plm.data.benchmarks.tasks import BenchmarkTask, Source

logger = logging.getLogger(__name__)
UNLABELLED = "no agreed label"


def read_task(task: BenchmarkTask, folder: str | os.PathLike, splits: Iterable[str] | None = None) -> dict[str, Split]:
    """Several splits; labels that only the training file tells are taken from it.

    Args:
        task: an entry of `TASKS`, or your own.
        folder: where its files lie.
        splits: which ones; None: all whose files are there.

    Raises:
        UserError: see `read_split`.
    """
    folder = Path(folder)
    names = [name for name in task.splits if _found(task, folder, name)] if splits is None else list(splits)
    if not names:
        raise UserError(f"{folder}: none of the files of {task.name} is there. Expected {_expected(task)}.")
    labels = task.labels
    read: dict[str, Split] = {}
    for name in sorted(names, key=lambda name: name != "train"):
        read[name] = read_split(task, folder, name, labels)
        labels = read[name].labels
    return {name: read[name] for name in names}


def read_split(
    task: BenchmarkTask,
    folder: str | os.PathLike,
    split: str,
    labels: Sequence[str] | None = None,
    file: str | None = None,
) -> Split:
    """One split of a task.

    Args:
        task: an entry of `TASKS`, or your own.
        folder: where its files lie.
        split: its name, such as `dev`.
        labels: classes or tags where the task does not tell them: those of the training split.
        file: another file in the folder that is read in its place.

    Raises:
        UserError: an unknown split; no file, not UTF-8, broken; a missing or unknown label (with file and line).
    """
    folder = Path(folder)
    source = _source(task, folder, split, file)
    paths = tuple(folder / name for name in source.files)
    dropped: Counter[str] = Counter()
    spelling = _Labels(task, labels, split)
    examples: list[Example] = []
    for path in paths:
        for place, example in source.reader.read(path, spelling.required, dropped):
            named = spelling.applied(example, place)
            if named is None:
                dropped[UNLABELLED] += 1
            else:
                examples.append(named)
    if not examples:
        raise UserError(f"{paths[0]}: no examples.")
    if dropped:
        counts = ", ".join(f"{count:,} ({reason})" for reason, count in sorted(dropped.items()))
        logger.warning("%s %s: left out %s; %s examples remain.", task.name, split, counts, f"{len(examples):,}")
    return Split(task.name, split, paths, tuple(examples), spelling.known(examples), dropped)


def what_is_missing(task: BenchmarkTask, folder: str | os.PathLike, splits: Iterable[str]) -> str | None:
    """Which splits have no files in a folder, and what those are called; None where all are there."""
    folder = Path(folder)
    if not folder.is_dir():
        return f"{folder}: no such folder."
    missing = [name for name in splits if _found(task, folder, name) is None]
    if not missing:
        return None
    return f"{folder}: no {' and no '.join(f'{_names(task.splits[name])} ({name})' for name in missing)}."


def _source(task: BenchmarkTask, folder: Path, split: str, file: str | None) -> Source:
    if split not in task.splits:
        raise UserError(f"{task.name}: no split {split!r}; it has {', '.join(task.splits)}.")
    sources = task.splits[split]
    if file is not None:
        alike = [source for source in sources if Path(source.files[0]).suffix == Path(file).suffix]
        same = [source for source in sources if file in source.files]
        if not alike:
            raise UserError(f"{folder / file}: {task.name} is read from {_names(sources)}.")
        return Source((file,), (same or alike)[0].reader)
    found = _found(task, folder, split)
    if found is None:
        raise UserError(
            f"{folder}: no file of {task.name}'s {split} split. Expected {_names(sources)}; say where they lie, "
            "or name the file that takes their place."
        )
    return found


def _found(task: BenchmarkTask, folder: Path, split: str) -> Source | None:
    """The first way of publishing whose files are all there."""
    there = (source for source in task.splits[split] if all((folder / name).is_file() for name in source.files))
    return next(there, None)


def _names(sources: Iterable[Source]) -> str:
    return " or ".join(" and ".join(source.files) for source in sources)


def _expected(task: BenchmarkTask) -> str:
    return "; ".join(f"{split}: {_names(sources)}" for split, sources in task.splits.items())


class _Labels:
    """Labels of one split: checked, in the task's spelling."""

    def __init__(self, task: BenchmarkTask, labels: Sequence[str] | None, split: str):
        self._task = task
        self._labels = tuple(labels or task.labels or ()) or None
        self._training = split == "train"
        self.required = not split.startswith("test")

    def applied(self, example: Example, place: Place) -> Example | None:
        """The example with its label in the task's spelling; None where it has none that was agreed on."""
        if isinstance(example, TokensExample):
            if example.tags is None:
                return self._without(example, place)
            return replace(example, tags=tuple(self._name(tag, place) for tag in example.tags))
        if not isinstance(example, TextExample):
            return example if is_labelled(example) else self._without(example, place)
        label = example.label.strip() if isinstance(example.label, str) else example.label
        if label is None or label == "":
            return self._without(replace(example, label=None), place)
        if self._task.kind == "regression":
            return replace(example, label=self._number(label, place))
        if label in self._task.unlabelled:
            return None
        name = self._name(label, place)
        return example if name == example.label else replace(example, label=name)

    def _without(self, example: Example, place: Place) -> Example:
        if self.required:
            raise UserError(f"{place}: no label. Only splits whose names begin with test may lack them.")
        return example

    def _name(self, label: str, place: Place) -> str:
        name = self._task.aliases.get(label, label)
        if self._labels is None and self._training:
            return name
        if self._labels is None:
            raise UserError(f"{place}: label {name!r}, but the labels are not known: read the training split first.")
        if name not in self._labels:
            expected = ", ".join(map(repr, self._labels))
            raise UserError(f"{place}: label {name!r}; expected one of {expected}.")
        return name

    def _number(self, label: str | float, place: Place) -> float:
        try:
            value = float(label)
        except ValueError:
            value = math.nan
        least, greatest = self._task.bounds or (-math.inf, math.inf)
        if not (least <= value <= greatest and math.isfinite(value)):
            expected = f" from {least:g} to {greatest:g}" if self._task.bounds else ""
            raise UserError(f"{place}: label {label!r}; expected a number{expected}.")
        return value

    def known(self, examples: Sequence[Example]) -> tuple[str, ...] | None:
        """The labels in the order of their ids."""
        if self._labels is not None or not self._training or self._task.kind not in ("classification", "tokens"):
            return self._labels
        found = {example.label for example in examples if isinstance(example, TextExample)}
        found |= {tag for example in examples if isinstance(example, TokensExample) for tag in example.tags or ()}
        return tuple(sorted(map(str, found), key=_order))


def _order(label: str) -> tuple[bool, int, str]:
    """`O` first, numbers by size, then names."""
    return label != "O", int(label) if label.isdecimal() else -1, label


def without_train_texts(split: Split, train: Split) -> Split:
    """A split without the examples that stand, for a model that sees no labels, in the training set as well."""
    seen = {_shown(example) for example in train.examples}
    return replace(split, examples=tuple(example for example in split.examples if _shown(example) not in seen))


def _shown(example: Example) -> tuple:
    """What of an example a model sees."""
    hidden = {"id", "label", "tags", "answers", "impossible", "group"}
    return tuple(getattr(example, field.name) for field in fields(example) if field.name not in hidden)
