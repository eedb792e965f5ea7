"""Words and their tags: CoNLL-style columns, and CLUENER's entities as tags of characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.clue import splits
from ms_plm.data.benchmarks.examples import TokensExample
from ms_plm.data.benchmarks.files import Place, entry, lines, mapping, name_of, records, sequence, text_of
from ms_plm.data.benchmarks.tasks import OWN, BenchmarkTask, Submission, one

OVERLAPPING = "entities that overlap another one"
_CLUENER = (
    "address",
    "book",
    "company",
    "game",
    "government",
    "movie",
    "name",
    "organization",
    "position",
    "scene",
)
Read = Iterator[tuple[Place, TokensExample]]


@dataclass(frozen=True)
class Columns:
    """A word a line with its tag, a blank line behind every sentence; lines of `-DOCSTART-` are no words.

    Attributes:
        word, tag: numbers of the columns from 0, from the last one if negative.
        separator: what parts the columns; None: a tab where the line has one, else any blanks.
    """

    word: int = 0
    tag: int = -1
    separator: str | None = None

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`. Without labels needed, words may stand alone."""
        words: list[str] = []
        tags: list[str] = []
        number, begin = 0, Place(path, 1)
        for place, line in _closed(path):
            if line.strip() and not line.startswith("-DOCSTART-"):
                begin = begin if words else place
                self._add(line, place, labelled, words, tags)
                continue
            if words:
                if tags and len(tags) != len(words):
                    raise UserError(f"{begin}: the sentence has {len(words)} words and {len(tags)} tags.")
                yield begin, TokensExample(str(number), tuple(words), tuple(tags) or None)
                number += 1
                words, tags = [], []

    def _add(self, line: str, place: Place, labelled: bool, words: list[str], tags: list[str]) -> None:
        cells = line.split(self.separator or ("\t" if "\t" in line else None))
        if len(cells) == 1 and not labelled:
            words.append(cells[0])
            return
        columns = [column + len(cells) if column < 0 else column for column in (self.word, self.tag)]
        if not all(0 <= column < len(cells) for column in columns) or columns[0] == columns[1]:
            raise UserError(
                f"{place}: {len(cells)} columns; expected a word in {self.word} and a tag in {self.tag}. If "
                "words may be blanks, separate the columns by tabs."
            )
        word, tag = (cells[column] for column in columns)
        if not word or not tag:
            raise UserError(f"{place}: an empty {'tag' if word else 'word'}.")
        words.append(word)
        tags.append(tag)


def _closed(path: Path) -> Iterator[tuple[Place, str]]:
    """The lines of a file, and a blank one behind them."""
    yield from lines(path)
    yield Place(path), ""


def is_by_character(task: BenchmarkTask) -> bool:
    """Whether every character of the task's texts is a word."""
    return any(isinstance(source.reader, CharacterEntities) for sources in task.splits.values() for source in sources)


@dataclass(frozen=True)
class CharacterEntities:
    """CLUENER: `{"text": ..., "label": {type: {entity: [[first, last], ...]}}}`, as BIO tags of the characters."""

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Read:
        """Examples with their places; see `Table.read`. Of entities that overlap the first one, longest, is kept."""
        for number, (place, record) in enumerate(records(path)):
            text = text_of(record, "text", place)
            tags = None
            if labelled or "label" in record:
                tags = ["O"] * len(text)
                for begin, length, kind in sorted(self._spans(record, text, place)):
                    if any(tag != "O" for tag in tags[begin : begin - length]):
                        dropped[OVERLAPPING] += 1
                        continue
                    tags[begin : begin - length] = [f"B-{kind}", *[f"I-{kind}"] * (-length - 1)]
            yield (
                place,
                TokensExample(name_of(record.get("id", number)), tuple(text), None if tags is None else tuple(tags)),
            )

    def _spans(self, record: dict, text: str, place: Place) -> Iterator[tuple[int, int, str]]:
        """`(begin, -length, type)`: sorted, the longest of those that begin together comes first."""
        for kind, entities in mapping(entry(record, "label", place), place).items():
            for words, spans in mapping(entities, place).items():
                for span in sequence(spans, place):
                    bounds = sequence(span, place)
                    if len(bounds) != 2 or not all(isinstance(bound, int) for bound in bounds):
                        raise UserError(f"{place}: {words!r} stands at {bounds}; expected [first, last].")
                    first, last = bounds
                    if text[first : last + 1] != words or not words:
                        raise UserError(f"{place}: {words!r} does not stand at {first} to {last}.")
                    yield first, -len(words), kind


TOKENS = (
    BenchmarkTask(
        "cluener",
        "tokens",
        splits(CharacterEntities()),
        ("entity_f1", "entity_macro_f1", "entity_precision", "entity_recall"),
        ("O", *(f"{mark}-{kind}" for kind in _CLUENER for mark in "BI")),
        submission=Submission("entities", {"test": "cluener_predict.json"}),
    ),
)


def own_tokens(
    files: Mapping[str, str],
    word: int = 0,
    tag: int = -1,
    separator: str | None = None,
    labels: Sequence[str] | None = None,
    metrics: Sequence[str] = ("entity_f1", "entity_precision", "entity_recall"),
    name: str = OWN,
) -> BenchmarkTask:
    """A task of your own files with a word (or character) and a tag a line.

    Args:
        files: split (train, dev, test ...) -> file.
        word, tag: numbers of the columns from 0, from the last one if negative.
        separator: what parts the columns; None: a tab where the line has one, else any blanks.
        labels: tags in the order of their ids; None: those of the training file, O first, sorted.
        metrics: what is computed, the first decides; `token_accuracy` for tags that are no entities.
        name: what the task is called.
    """
    reader = Columns(word, tag, separator)
    return BenchmarkTask(
        name,
        "tokens",
        {split: one(file, reader) for split, file in files.items()},
        tuple(metrics),
        None if labels is None else tuple(labels),
    )
