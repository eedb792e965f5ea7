"""What a benchmark file holds, as plain values: one dataclass per kind of example, and what reading a file gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TextExample:
    """One text, or two, and what is said of them.

    Attributes:
        id: as the file has it, else the number of the example, from 0.
        text, pair: as the file has them, blanks included; `pair` is None for tasks of one text.
        label: the name of a class, the number of a regression task, None where the file has none.
        group: examples that are scored together share it (MultiRC: the question; AX-g: the pair), else None.
    """

    id: str
    text: str
    pair: str | None = None
    label: str | float | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class TokensExample:
    """Words (or characters) and as many tags, such as `B-PER`; `tags` is None where the file has none."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class QuestionExample:
    """A question about a text that holds the answer, or says that it has none.

    Attributes:
        id: of the question.
        question, context: the texts.
        answers: `(text, start)`: accepted answers and the character of `context` where each begins, as the file says
            (-1: it does not say); empty for unlabelled and unanswerable questions.
        impossible: whether the file says that there is no answer.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...] = ()
    impossible: bool = False


@dataclass(frozen=True, slots=True)
class ChoiceExample:
    """Several choices, one of which fits.

    Attributes:
        id: of the question.
        context: what is read; ChID, ReCoRD: with a gap (`[MASK]`, `@placeholder`) in the context or the question.
        question: None where the context is all there is.
        choices: as many as the file has, two at least.
        label: number of the right choice, from 0; None where the file has none.
        answers: texts that count as right where there may be several (ReCoRD), else empty.
        group: examples that share it choose from the same choices (the gaps of a record of ChID), else None.
    """

    id: str
    context: str
    question: str | None
    choices: tuple[str, ...]
    label: int | None = None
    answers: tuple[str, ...] = ()
    group: str | None = None


Example = TextExample | TokensExample | QuestionExample | ChoiceExample


def is_labelled(example: Example) -> bool:
    """Whether something is known that a prediction can be held against."""
    if isinstance(example, TokensExample):
        return example.tags is not None
    if isinstance(example, QuestionExample):
        return bool(example.answers) or example.impossible
    return example.label is not None or (isinstance(example, ChoiceExample) and bool(example.answers))


@dataclass(frozen=True)
class Split:
    """The examples of one part of a benchmark.

    Attributes:
        task: name of the task.
        name: of the part: train, dev, test, dev_matched ...
        files: where they were read.
        examples: in the order of the files.
        labels: names of the classes or tags in the order of their ids; None for other kinds of task.
        dropped: why examples of the file were left out, and how many.
    """

    task: str
    name: str
    files: tuple[Path, ...]
    examples: tuple[Example, ...]
    labels: tuple[str, ...] | None
    dropped: Mapping[str, int] = field(default_factory=Counter)
