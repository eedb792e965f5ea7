"""Training sets with variants of their examples, as `ms-plm augment` writes them or in a task's own format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.examples import Example, Split, TextExample
from ms_plm.data.benchmarks.files import records
from ms_plm.data.benchmarks.reading import read_split
from ms_plm.data.benchmarks.tasks import BenchmarkTask, Source
from ms_plm.data.benchmarks.texts import Fields, Marked

TEXT, PAIR, LABEL, SOURCE = "text", "pair", "label", "source"
"""Fields of a line: the text, the second text where the task has two, the label, the number of the example from 0."""


def check_augmentable(task: BenchmarkTask, setting: str) -> None:
    """Only texts and pairs of texts with one label have variants.

    Args:
        task: any.
        setting: what asked for them, for the message.

    Raises:
        UserError: the task is of another kind, or about words at certain places.
    """
    if task.kind not in ("classification", "regression"):
        raise UserError(
            f"{setting}: {task.name} is a task of {task.kind.replace('_', ' ')}; expected one of texts or pairs of "
            "texts with a class or a number, whose words may change under the same label."
        )
    if any(isinstance(source.reader, Marked) for sources in task.splits.values() for source in sources):
        raise UserError(f"{setting}: {task.name} asks about words that are marked in its texts: they must stay.")


def record_of(example: TextExample, source: int, **changed: str) -> dict[str, Any]:
    """The line of an example, or of a variant with another `text` or `pair`."""
    record: dict[str, Any] = {TEXT: example.text}
    if example.pair is not None:
        record[PAIR] = example.pair
    return {**record, **changed, LABEL: example.label, SOURCE: source}


def read_augmented(task: BenchmarkTask, path: Path, train: Split, sources: Collection[int] | None = None) -> Split:
    """The training set that a file holds, in place of the task's own.

    Args:
        task: a task of texts.
        path: .jsonl by `ms-plm augment`, or a file in the format of the task's training set, such as the
            train_aug.tsv of TinyBERT's code.
        train: the task's own training set, which says how many texts an example has and what its classes are.
        sources: numbers of the examples whose lines are taken; None: all lines.

    Raises:
        UserError: another format, a missing field or column, an unknown label (file and line are named), another kind
            of task; or, where some examples are asked for, lines that do not say which one they come from, or a file
            that was made of another training set.
    """
    check_augmentable(task, "data.augmented")
    own = task.splits["train"]
    alike = [source.reader for source in own if Path(source.files[0]).suffix == path.suffix]
    if path.suffix == ".jsonl":
        reader = Fields(TEXT, PAIR if train.examples[0].pair is not None else None, LABEL, id=SOURCE)
    elif alike:
        reader = alike[0]
    else:
        raise UserError(f"data.augmented: {path}: expected .jsonl as `ms-plm augment` writes it, or {_formats(own)}.")
    source = Source((path.name,), reader)
    split = read_split(replace(task, splits={"train": (source,)}), path.parent, "train", train.labels)
    if sources is None:
        return split
    unknown = [place for place, record in records(path) if SOURCE not in record] if path.suffix == ".jsonl" else [path]
    if unknown:
        raise UserError(
            f"{unknown[0]}: data.rows takes the variants of some examples, but this does not say which example a line "
            f"comes from; expected {SOURCE!r} in every line, as `ms-plm augment` writes it. Or leave data.rows out."
        )
    _check_made_of(path, split, train, sources)
    names = {str(number) for number in sources}
    return replace(split, examples=tuple(example for example in split.examples if example.id in names))


def _check_made_of(path: Path, made: Split, train: Split, sources: Collection[int]) -> None:
    """Numbers mean the same examples: the first line of each is the example itself."""
    first: dict[str, Example] = {}
    for example in made.examples:
        first.setdefault(example.id, example)
    absent = [number for number in sources if str(number) not in first]
    strange = [n for n in sources if str(n) in first and _shown(first[str(n)]) != _shown(train.examples[n])]
    if absent or strange:
        raise UserError(
            f"data.augmented: {path}: of the {len(sources)} examples that data.rows takes out of "
            f"{len(train.examples)}, {len(absent)} do not occur and {len(strange)} have another text or label: it was "
            "made of another training set. Make it of this one (ms-plm augment), or leave data.rows out to train on "
            "all of its lines."
        )


def _shown(example: Example) -> tuple:
    return example.text, example.pair, example.label


def _formats(sources: Sequence[Source]) -> str:
    suffixes = dict.fromkeys(Path(source.files[0]).suffix for source in sources)
    return f"{' or '.join(suffixes)} as the training set of the task is"
