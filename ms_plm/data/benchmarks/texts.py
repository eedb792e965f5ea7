"""Readers of texts and pairs of texts: tables by column, JSON records by field, and tasks that point at words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.examples import TextExample
from ms_plm.data.benchmarks.files import Place, entry, mapping, name_of, records, rows, sequence, text_of, whole_of

CUT_ROW = "rows with another number of cells"
Read = Iterator[tuple[Place, TextExample]]


@dataclass(frozen=True)
class Table:
    """A tab-separated file; no cell is quoted, a quote is a character of the text.

    Attributes:
        text, pair, label, id: names of columns in the header, or their numbers from 0 where there is none.
        columns: how many cells a row has; None: as many as the first line.
        header: whether the first line names the columns; None: yes, if the columns are given by name; a text: yes, if
            the label's cell reads so (published with and without).
        named: `(text, label)`: names in the header of another edition of the file, whose columns stand elsewhere.
        only: `(column, value)`: rows of other values are not part of the split (XNLI: of other languages).
        skip_cut_rows: count rows with another number of cells instead of refusing the file (QQP has some).
    """

    text: str | int
    pair: str | int | None = None
    label: str | int | None = None
    id: str | int | None = None
    columns: int | None = None
    header: bool | str | None = None
    named: tuple[str, str] | None = None
    only: tuple[str | int, str] | None = None
    skip_cut_rows: bool = False

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; labels are as the file has them.

        Args:
            path: the file.
            labelled: whether every example must have a label; otherwise the label's column may be missing.
            dropped: where skipped rows are counted.

        Raises:
            UserError: a missing column, a row with another number of cells.
        """
        places: dict[str | int, int] = {}
        width, named, number = self.columns, False, 0
        for place, cells in rows(path):
            if not places:
                if self.named and self.named[0] in cells:
                    text, label = self.named
                    other = replace(self, text=text, label=label, header=True, named=None)
                    yield from other.read(path, labelled, dropped)
                    return
                named = self._has_header(cells)
                places = self._places(cells, named, labelled, place)
                width = len(cells) if named or not width else width
                if named:
                    continue
            if len(cells) != width:
                if not self.skip_cut_rows:
                    raise UserError(f"{place}: {len(cells)} cells where {width} are expected, separated by tabs.")
                dropped[CUT_ROW] += 1
                continue
            found = {name: cells[column] for name, column in places.items()}
            if self.only and found[self.only[0]] != self.only[1]:
                continue
            yield (
                place,
                TextExample(
                    id=found.get(self.id, str(number)),
                    text=found[self.text],
                    pair=None if self.pair is None else found[self.pair],
                    label=found.get(self.label),
                ),
            )
            number += 1

    def _names(self) -> list[str | int]:
        names = (self.text, self.pair, self.label, self.id, self.only[0] if self.only else None)
        return [name for name in names if name is not None]

    def _has_header(self, cells: list[str]) -> bool:
        if isinstance(self.header, str):
            return isinstance(self.label, int) and self.label < len(cells) and cells[self.label] == self.header
        return any(isinstance(name, str) for name in self._names()) if self.header is None else self.header

    def _places(self, cells: list[str], named: bool, labelled: bool, place: Place) -> dict[str | int, int]:
        """Which column holds what, judged by the first line."""
        names = [name.strip() for name in cells] if named else []
        places = {}
        for name in self._names():
            column = names.index(name) if name in names else name
            if isinstance(column, int) and 0 <= column < len(cells):
                places[name] = column
            elif name != self.label or labelled:
                there = ", ".join(map(repr, names)) if named else f"{len(cells)} cells, numbered from 0"
                raise UserError(f"{place}: no column {name!r}; the first line has {there}.")
        return places


@dataclass(frozen=True)
class Fields:
    """A JSON object a line; `text`, `pair`, `label`, `id` name its fields.

    Attributes:
        text, pair: fields that hold text; a list of texts (CSL's keywords) is joined by spaces.
        label: a field with text, a number or a boolean.
        id: a field with text or a number; SuperGLUE calls it idx, and it may be missing.
        group: a field with text or a number that examples share which are scored together; None: there is none.
    """

    text: str
    pair: str | None = None
    label: str | None = "label"
    id: str | None = "id"
    group: str | None = None

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`."""
        for number, (place, record) in enumerate(records(path)):
            yield (
                place,
                TextExample(
                    id=_id(record, self.id, number),
                    text=_joined(record, self.text, place),
                    pair=None if self.pair is None else _joined(record, self.pair, place),
                    label=_label(record, self.label, labelled, place),
                    group=None if self.group is None else name_of(entry(record, self.group, place)),
                ),
            )


def _id(record: dict[str, Any], name: str | None, number: int) -> str:
    value = record.get(name) if name is not None else None
    return str(number) if value is None else name_of(value)


def _joined(record: dict[str, Any], name: str, place: Place) -> str:
    value = entry(record, name, place)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return text_of(record, name, place)


def _label(record: dict[str, Any], name: str | None, labelled: bool, place: Place) -> str | None:
    if name is None or (name not in record and not labelled):
        return None
    value = entry(record, name, place)
    return None if value is None else name_of(value)


@dataclass(frozen=True)
class Marked:
    """JSON records whose task is about words of the text: the words are marked where they stand.

    Attributes:
        mark: gives text and pair of a record with the marks in place.
        id: the field that numbers the records.
    """

    mark: Callable[[dict[str, Any], Place], tuple[str, str | None]]
    id: str = "idx"

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`."""
        for number, (place, record) in enumerate(records(path)):
            text, pair = self.mark(record, place)
            label = _label(record, "label", labelled, place)
            yield place, TextExample(_id(record, self.id, number), text, pair, label)


def two_mentions(record: dict[str, Any], place: Place) -> tuple[str, str | None]:
    """CLUEWSC2020: `_span 1_` and `[span 2]` around the words, as CLUE's baseline marks them; characters count."""
    text, target = text_of(record, "text", place), mapping(entry(record, "target", place), place)
    spans = []
    for number, (left, right) in ((1, "__"), (2, "[]")):
        words = text_of(target, f"span{number}_text", place)
        begin = whole_of(target, f"span{number}_index", place)
        spans.append((begin, begin + len(words), words, left, right))
    return _with_marks(text, spans, place), None


def two_word_mentions(record: dict[str, Any], place: Place) -> tuple[str, str | None]:
    """SuperGLUE's WSC: the same marks; its indices count words between blanks."""
    text, target = text_of(record, "text", place), mapping(entry(record, "target", place), place)
    found = list(re.finditer(r"\S+", text))
    spans = []
    for number, (left, right) in ((1, "__"), (2, "[]")):
        words = text_of(target, f"span{number}_text", place)
        index = whole_of(target, f"span{number}_index", place)
        if not 0 <= index < len(found):
            raise UserError(f"{place}: span{number}_index is {index}; the text has {len(found)} words.")
        begin = found[index].start()
        end = begin + len(words)
        if text[begin:end].casefold() != words.casefold():  # as some differ in punctuation: by the number of words
            end = found[min(index + len(words.split()), len(found)) - 1].end()
        spans.append((begin, end, text[begin:end], left, right))
    return _with_marks(text, spans, place), None


def word_in_context(record: dict[str, Any], place: Place) -> tuple[str, str | None]:
    """SuperGLUE's WiC: `_word_` in both sentences."""
    texts = []
    for number in (1, 2):
        text = text_of(record, f"sentence{number}", place)
        begin, end = (whole_of(record, f"{side}{number}", place) for side in ("start", "end"))
        texts.append(_with_marks(text, [(begin, end, text[begin:end], "_", "_")], place))
    return texts[0], texts[1]


def _with_marks(text: str, spans: list[tuple[int, int, str, str, str]], place: Place) -> str:
    """The text with marks around `(begin, end, words, left, right)`, inserted from the back.

    Raises:
        UserError: the words do not stand there.
    """
    marks = []
    for begin, end, words, left, right in spans:
        if begin < 0 or not words or text[begin:end] != words:
            raise UserError(f"{place}: {words!r} does not stand at {begin}; there stands {text[begin:end]!r}.")
        marks += [(begin, 1, left), (end, 0, right)]
    for position, _, mark in sorted(marks, reverse=True):
        text = text[:position] + mark + text[position:]
    return text


@dataclass(frozen=True)
class Passages:
    """MultiRC: passages with questions, each with answers to be judged one by one.

    `text` is the passage, `pair` the question and one answer; `group` is the question, `id` counts passage, question
    and answer as the file numbers them.
    """

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`."""
        for place, record in records(path):
            passage = mapping(entry(record, "passage", place), place)
            for question in sequence(entry(passage, "questions", place), place):
                group = f"{whole_of(record, 'idx', place)}-{whole_of(question, 'idx', place)}"
                for answer in sequence(entry(question, "answers", place), place):
                    yield (
                        place,
                        TextExample(
                            id=f"{group}-{whole_of(answer, 'idx', place)}",
                            text=text_of(passage, "text", place),
                            pair=f"{text_of(question, 'question', place)} {text_of(answer, 'text', place)}",
                            label=_label(answer, "label", labelled, place),
                            group=group,
                        ),
                    )
