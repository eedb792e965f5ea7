"""Documents from files: .txt, .jsonl, .json, .tsv and gzip of each. Memory does not grow with the file."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import TextSection
from ms_plm.data.cleaning import Removed, clean_line
from ms_plm.data.inputs import LARGEST_JSON, InputFile, Span, find_files, is_blank

LONGEST_RECORD = 64 << 20
"""Bytes of a line of .jsonl or .tsv; a longer one is a bad record."""
LONGEST_DOCUMENT = 1 << 20
"""Characters; a longer document is stored as several."""
_PIECE = 1 << 20
_BREAKS = ("。！？；!?", "，, ")
"""Where a very long line is cut: at a sentence's end, else at a pause."""


@dataclass
class Problems:
    """Bad records: an error, or with `skip` counted and the first ones remembered."""

    skip: bool
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def report(self, message: str) -> None:
        """A record cannot be read."""
        if not self.skip:
            raise UserError(f"{message} Mend it, or skip such records with --skip-bad (skip_bad: true).")
        self.count += 1
        if len(self.examples) < 10:
            self.examples.append(message)


def documents(file: InputFile, span: Span, source: TextSection, problems: Problems) -> Iterator[list[str]]:
    """Documents of a span as lists of lines, none longer than `LONGEST_DOCUMENT`.

    Raises:
        UserError: the file is not UTF-8, damaged, of another shape, without the field or column; a bad record.
    """
    reader: Callable[..., Iterator[list[str]]] = {
        ".txt": _lines_as_documents if source.one_per_line else _paragraphs,
        ".jsonl": _json_lines,
        ".json": _json_array,
        ".tsv": _table,
    }[file.format]
    for document in reader(file, span, source, problems):
        yield from _bounded(document)


def _bounded(document: list[str]) -> Iterator[list[str]]:
    """The document, or its parts of at most `LONGEST_DOCUMENT` characters."""
    part: list[str] = []
    size = 0
    for line in document:
        for start in range(0, len(line), LONGEST_DOCUMENT):
            piece = line[start : start + LONGEST_DOCUMENT]
            if part and size + len(piece) > LONGEST_DOCUMENT:
                yield part
                part, size = [], 0
            part.append(piece)
            size += len(piece)
    if part:
        yield part


@contextmanager
def _opened(file: InputFile) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed; damage is named."""
    try:
        with gzip.open(file.path, "rb") if file.gzip else open(file.path, "rb") as handle:
            yield handle  # type: ignore[misc]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{file.path}: the gzip file is damaged ({error}). Copy or download it again.") from error


def _decode(file: InputFile, data: bytes, offset: int) -> str:
    """Text of bytes that stand at `offset` of the (decompressed) file; surrogates pass, cleaning counts them."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        place = offset + error.start
        raise UserError(
            f"{file.path}: not UTF-8: byte {place} is 0x{data[error.start]:02x}. Convert it, for example with "
            f"`iconv -f GB18030 -t UTF-8 {file.path.name}`, or save it as UTF-8."
        ) from error


@dataclass(frozen=True)
class _Line:
    """A line, or a piece of a very long one (`begins`, `ends`: whether it holds the line's first, last bytes)."""

    offset: int
    data: bytes
    begins: bool = True
    ends: bool = True


def _raw_lines(file: InputFile, span: Span, longest: int) -> Iterator[_Line]:
    """Lines that begin in a span, in pieces of about `longest` bytes that end between characters."""
    with _opened(file) as handle:
        if span.start:
            handle.seek(span.start)
        offset, begins = span.start, True
        while span.stop is None or offset < span.stop or not begins:
            data = handle.readline(longest)
            if not data:
                return
            while not data.endswith(b"\n") and len(data) >= longest and 0x80 <= _next_byte(handle) < 0xC0:
                data += handle.read(1)
                if len(data) > longest + 3:  # no UTF-8: decoding says so
                    break
            ends = data.endswith(b"\n") or len(data) < longest
            start = offset
            offset += len(data)
            if start == 0 and data.startswith(b"\xef\xbb\xbf"):
                start, data = 3, data[3:]
            yield _Line(start, data, begins, ends)
            begins = ends


def _next_byte(handle: BinaryIO) -> int:
    peeked = handle.peek(1)[:1]  # type: ignore[attr-defined]
    return peeked[0] if peeked else -1


def _text_lines(file: InputFile, span: Span) -> Iterator[tuple[str, bool]]:
    """`(text, blank)` of the lines of a .txt file; of a very long line several, cut where a sentence may end."""
    rest = ""
    for line in _raw_lines(file, span, _PIECE):
        text = rest + _decode(file, line.data, line.offset).replace("\r", "\n").rstrip("\n")
        rest = ""
        if not line.ends:
            cut = _last_break(text)
            text, rest = text[:cut], text[cut:]
        yield text, line.begins and line.ends and is_blank(line.data)
    if rest:
        yield rest, False


def _last_break(text: str) -> int:
    """Where to cut a piece of a line: behind the last sentence end, else pause, of its last 2,000 characters."""
    for marks in _BREAKS:
        place = max(text.rfind(mark, max(len(text) - 2000, 0)) for mark in marks)
        if place >= 0:
            return place + 1
    return len(text)


def _paragraphs(file: InputFile, span: Span, source: TextSection, problems: Problems) -> Iterator[list[str]]:
    """Documents between blank lines."""
    document: list[str] = []
    size = 0
    for text, blank in _text_lines(file, span):
        if document and (blank or size + len(text) > LONGEST_DOCUMENT):
            yield document
            document, size = [], 0
        if not blank:
            document += text.split("\n")
            size += len(text)
    if document:
        yield document


def _lines_as_documents(file: InputFile, span: Span, source: TextSection, problems: Problems) -> Iterator[list[str]]:
    """Every line a document."""
    for text, blank in _text_lines(file, span):
        if not blank:
            yield text.split("\n")


def _line_number(file: InputFile, offset: int) -> int:
    """Number of the line that begins at an offset, counted only when there is something to report."""
    number = 1
    with _opened(file) as handle:
        while offset > 0 and (block := handle.read(min(offset, _PIECE))):
            number += block.count(b"\n")
            offset -= len(block)
    return number


def _records(file: InputFile, span: Span, problems: Problems) -> Iterator[tuple[int, str]]:
    """Offset and text of the lines of .jsonl and .tsv; too long ones are reported and passed over."""
    for line in _raw_lines(file, span, LONGEST_RECORD):
        if line.begins and line.ends:
            yield line.offset, _decode(file, line.data, line.offset).rstrip("\r\n")
        elif line.begins:
            number = _line_number(file, line.offset)
            problems.report(f"{file.path}, line {number}: a record of more than {LONGEST_RECORD >> 20} MB.")


def _json_lines(file: InputFile, span: Span, source: TextSection, problems: Problems) -> Iterator[list[str]]:
    for offset, text in _records(file, span, problems):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            problems.report(f"{file.path}, line {_line_number(file, offset)}: broken JSON ({error}).")
            continue
        lines = _field(record, source.field)
        if isinstance(lines, str):
            problems.report(f"{file.path}, line {_line_number(file, offset)}: {lines}")
        else:
            yield lines


def _json_array(file: InputFile, span: Span, source: TextSection, problems: Problems) -> Iterator[list[str]]:
    with _opened(file) as handle:
        data = handle.read(LARGEST_JSON + 1)
    if len(data) > LARGEST_JSON:
        raise UserError(
            f"{file.path}: a .json array is read whole, and this one has more than 1 GB: convert to .jsonl."
        )
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    text = _decode(file, data[start:], start)
    del data
    try:
        records = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(
            f"{file.path}: broken JSON ({error}). Mend the file; if it has a record a line, call it .jsonl."
        ) from error
    del text
    if not isinstance(records, list):
        raise UserError(
            f"{file.path}: the file holds one JSON {_kind(records)}; expected an array of records, [{{...}}, ...], "
            "or .jsonl with a record a line."
        )
    for number, record in enumerate(records, 1):
        lines = _field(record, source.field)
        if isinstance(lines, str):
            problems.report(f"{file.path}, record {number}: {lines}")
        else:
            yield lines


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "text", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _split(text: str) -> list[str]:
    return text.replace("\r", "\n").split("\n")


def _field(record: Any, name: str | None) -> list[str] | str:
    """Lines of a record's field, or what is wrong with the record."""
    if isinstance(record, dict):
        there = ", ".join(map(repr, record)) or "none"
        if name is None and "text" not in record:
            return f"which field holds the text? Say it with --field; the record's fields: {there}."
        if name is not None and name not in record:
            return f"no field {name!r}; the record's fields: {there}."
        value = record[name or "text"]
    elif isinstance(record, str) and name is None:
        value = record
    else:
        expected = "an object or text" if name is None else f"an object with field {name!r}"
        return f"the record is {_kind(record)}; expected {expected}."
    if isinstance(value, str):
        return _split(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [line for item in value for line in _split(item)]
    return f"field {name or 'text'!r} is {_kind(value)}; expected text or a list of texts."


def _table(file: InputFile, span: Span, source: TextSection, problems: Problems) -> Iterator[list[str]]:
    """Rows of a .tsv file with a header; a document is a row, its lines are the chosen columns."""
    _, first = next(_records(file, Span(span.file, 0, None), Problems(skip=False)), (0, ""))
    header = first.split("\t")
    missing = [name for name in source.columns if name not in header]
    if missing or not source.columns:
        asked = (
            f"no column {', '.join(map(repr, missing))}"
            if missing
            else "which columns hold text? Say it with --columns"
        )
        raise UserError(f"{file.path}: {asked}; its first line names: {', '.join(map(repr, header))}.")
    places = [header.index(name) for name in source.columns]
    rows = _records(file, span, problems)
    if span.start == 0:
        next(rows, None)
    for offset, text in rows:
        if not text:
            continue
        cells = text.split("\t")
        if len(cells) != len(header):
            number = _line_number(file, offset)
            problems.report(f"{file.path}, line {number}: {len(cells)} columns where the header has {len(header)}.")
        else:
            yield [cells[place] for place in places]


class TextLines:
    """Cleaned lines of text files; can be iterated again and again, for building a vocabulary."""

    def __init__(self, sources: Sequence[TextSection]):
        self._sources = list(sources)
        self._files = find_files(self._sources)

    def __iter__(self) -> Iterator[str]:
        removed = Removed()
        for number, file in enumerate(self._files):
            source = self._sources[file.source]
            for document in documents(file, Span(number, 0, None), source, Problems(source.skip_bad)):
                yield from (clean_line(line, removed) for line in document)
