"""Multiple choice: C3, ChID, COPA and ReCoRD."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.clue import renewed, submission
from ms_plm.data.benchmarks.examples import ChoiceExample
from ms_plm.data.benchmarks.files import (
    Place,
    document,
    entry,
    mapping,
    name_of,
    records,
    sequence,
    text_of,
    whole_of,
)
from ms_plm.data.benchmarks.superglue import superglue_splits, superglue_submission
from ms_plm.data.benchmarks.tasks import BenchmarkTask, Source

Read = Iterator[tuple[Place, ChoiceExample]]
GAP = "[MASK]" * 4
"""What stands where an idiom is asked for; they have four characters, rarely more. In a call of the tokenizer it is
the token that it names."""
PLACEHOLDER = "@placeholder"
"""What stands in ReCoRD's questions where an entity is asked for."""
OTHER_GAP = "[UNK]"
"""What stands where another idiom of the same text is asked for."""
_IDIOM = re.compile(r"#idiom\d*#")
COPA_QUESTIONS = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}


@dataclass(frozen=True)
class Dialogues:
    """C3: texts or the turns of a dialogue (joined by line feeds), and questions with their choices."""

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`."""
        for number, unit in enumerate(sequence(document(path), Place(path))):
            place = Place(path, record=f"text {number}")
            if len(sequence(unit, place)) != 3:
                raise UserError(f"{place}: expected [texts, questions, id], found {len(unit)} values.")
            turns, questions, name = unit
            for index, question in enumerate(sequence(questions, place)):
                choices = _texts(mapping(question, place), "choice", place)
                answer = question.get("answer")
                yield (
                    place,
                    ChoiceExample(
                        id=name_of(question["id"]) if "id" in question else f"{name}-{index}",
                        context="\n".join(map(str, sequence(turns, place))),
                        question=text_of(question, "question", place),
                        choices=choices,
                        label=None if answer is None else _place_of(answer, choices, place),
                    ),
                )


@dataclass(frozen=True)
class Idioms:
    """ChID: texts with gaps and the idioms that may fill them; one example per gap.

    CLUE's file has several texts a line, whose answers are in a second file (`train_answer.json` beside `train.json`);
    FewCLUE's has one text and its answer.
    """

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`."""
        beside = path.with_name(f"{path.stem}_answer{path.suffix}")
        answers = mapping(document(beside), Place(beside)) if beside.is_file() else {}
        for number, (place, record) in enumerate(records(path)):
            choices = _texts(record, "candidates", place)
            content = entry(record, "content", place)
            for text in [content] if isinstance(content, str) else _texts(record, "content", place):
                gaps = list(_IDIOM.finditer(text))
                if not gaps:
                    raise UserError(f"{place}: no gap (#idiom...#) in the text.")
                for gap in gaps:
                    several = len(gap[0]) > len("#idiom#")
                    answer = answers.get(gap[0]) if several else record.get("answer")
                    if answer is None and labelled:
                        raise UserError(f"{place}: no answer for {gap[0]}; expected it in the record or in {beside}.")
                    yield (
                        place,
                        ChoiceExample(
                            id=gap[0] if several else name_of(record.get("id", number)),
                            context=_gap_shown(text, gap),
                            question=None,
                            choices=choices,
                            label=_number(answer, choices, place),
                            group=str(number) if several else None,
                        ),
                    )


def _gap_shown(text: str, gap: re.Match[str]) -> str:
    before, after = (_IDIOM.sub(OTHER_GAP, part) for part in (text[: gap.start()], text[gap.end() :]))
    return f"{before}{GAP}{after}"


@dataclass(frozen=True)
class Alternatives:
    """COPA: a premise, and which of two sentences is its cause or effect."""

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`."""
        for number, (place, record) in enumerate(records(path)):
            asked = text_of(record, "question", place)
            if asked not in COPA_QUESTIONS:
                raise UserError(f"{place}: question {asked!r}; expected cause or effect.")
            choices = (text_of(record, "choice1", place), text_of(record, "choice2", place))
            yield (
                place,
                ChoiceExample(
                    id=name_of(record.get("idx", number)),
                    context=text_of(record, "premise", place),
                    question=COPA_QUESTIONS[asked],
                    choices=choices,
                    label=_number(record.get("label"), choices, place),
                ),
            )


@dataclass(frozen=True)
class Entities:
    """ReCoRD: a passage, a sentence with a gap (`@placeholder`), and the passage's entities to choose from.

    Entities that read the same are one choice. `label` is the first choice that is right, `answers` are all texts that
    count as right.
    """

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`."""
        for place, record in records(path):
            passage = mapping(entry(record, "passage", place), place)
            text = text_of(passage, "text", place)
            found = [mapping(one, place) for one in sequence(entry(passage, "entities", place), place)]
            spans = sorted((whole_of(one, "start", place), whole_of(one, "end", place)) for one in found)
            choices = tuple(dict.fromkeys(text[begin : end + 1] for begin, end in spans))
            for question in sequence(entry(record, "qas", place), place):
                accepted = sequence(mapping(question, place).get("answers", []), place)
                answers = tuple(dict.fromkeys(text_of(mapping(one, place), "text", place) for one in accepted))
                right = (number for number, choice in enumerate(choices) if choice in answers)
                yield (
                    place,
                    ChoiceExample(
                        id=name_of(entry(question, "idx", place)),
                        context=text,
                        question=text_of(question, "query", place),
                        choices=choices,
                        label=next(right, None),
                        answers=answers,
                    ),
                )


def _texts(record: dict[str, Any], name: str, place: Place) -> tuple[str, ...]:
    values = sequence(entry(record, name, place), place)
    if not values or not all(isinstance(value, str) for value in values):
        raise UserError(f"{place}: field {name!r}: expected a list of texts.")
    return tuple(values)


def _place_of(answer: str, choices: tuple[str, ...], place: Place) -> int:
    if answer not in choices:
        raise UserError(f"{place}: answer {answer!r} is none of the choices {', '.join(map(repr, choices))}.")
    return choices.index(answer)


def _number(answer: Any, choices: tuple[str, ...], place: Place) -> int | None:
    if answer is not None and (not isinstance(answer, int) or not 0 <= answer < len(choices)):
        raise UserError(f"{place}: answer {answer!r}; expected 0 to {len(choices) - 1}, the number of a choice.")
    return answer


def _both(name: str) -> tuple[Source, ...]:
    """C3's two files of a split: mixed-genre texts and dialogues."""
    return tuple(Source((f"{prefix}m-{name}.json", f"{prefix}d-{name}.json"), Dialogues()) for prefix in ("", "c3-"))


_C3 = renewed(Dialogues())
CHOICES = (
    BenchmarkTask(
        "clue/c3",
        "multiple_choice",
        _C3 | {"train": _both("train"), "dev": _both("dev"), "test": (*_C3["test"], *_both("test"))},
        ("accuracy",),
        submission=submission("c311", "c310"),
    ),
    BenchmarkTask(
        "clue/chid",
        "multiple_choice",
        renewed(Idioms()),
        ("accuracy",),
        submission=submission("chid11", "chid10", answers=True),
    ),
    BenchmarkTask(
        "superglue/copa",
        "multiple_choice",
        superglue_splits(Alternatives()),
        ("accuracy",),
        submission=superglue_submission("COPA"),
    ),
    BenchmarkTask(
        "superglue/record",
        "multiple_choice",
        superglue_splits(Entities()),
        ("record_f1", "record_em"),
        submission=superglue_submission("ReCoRD"),
    ),
)
