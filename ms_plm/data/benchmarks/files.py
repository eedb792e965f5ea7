"""Lines, rows and records of benchmark files; whatever is wrong names the file and the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: what begins every message."""

    path: Path
    line: int | None = None
    record: str | None = None

    def __str__(self) -> str:
        where = f", line {self.line}" if self.line is not None else ""
        return f"{self.path}{where}{f', {self.record}' if self.record else ''}"


def lines(path: Path) -> Iterator[tuple[Place, str]]:
    """Lines of a UTF-8 file without their ends; only a line feed ends a line, and a byte order mark is no text.

    Raises:
        UserError: no such file, or not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            for number, data in enumerate(file, 1):
                if number == 1:
                    data = data.removeprefix(b"\xef\xbb\xbf")
                place = Place(path, number)
                yield place, _decoded(data, place).rstrip("\r\n")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{path}: no such file. Check the folder, or name the file that takes its place.") from error


def _decoded(data: bytes, place: Place) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: not UTF-8: byte {error.start} of the line is 0x{data[error.start]:02x}. Convert the file, for "
            f"example with `iconv -f GB18030 -t UTF-8 {place.path.name}`."
        ) from error


def rows(path: Path, separator: str = "\t") -> Iterator[tuple[Place, list[str]]]:
    """Cells of the lines that are not empty. Quotes are text like any other: no cell is quoted in these files."""
    for place, line in lines(path):
        if line:
            yield place, line.split(separator)


def records(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Objects of a file with a JSON object a line (called .jsonl, or .json as CLUE's are).

    Raises:
        UserError: a line that is no JSON object.
    """
    for place, line in lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{place}: broken JSON ({error}). Expected one object a line.") from error
        yield place, mapping(record, place)


def document(path: Path) -> Any:
    """A file that is one JSON value.

    Raises:
        UserError: it is not; the message names the line where reading stopped.
    """
    text = "\n".join(line for _, line in lines(path))
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}: broken JSON ({error}).") from error


def mapping(value: Any, place: Place) -> dict[str, Any]:
    """The value, which must be an object."""
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a JSON object, found {_kind(value)}.")
    return value


def sequence(value: Any, place: Place) -> list[Any]:
    """The value, which must be an array."""
    if not isinstance(value, list):
        raise UserError(f"{place}: expected a JSON array, found {_kind(value)}.")
    return value


def entry(record: dict[str, Any], name: str, place: Place) -> Any:
    """A field that must be there."""
    if name not in record:
        raise UserError(f"{place}: no field {name!r}; the record's fields: {', '.join(map(repr, record)) or 'none'}.")
    return record[name]


def text_of(record: dict[str, Any], name: str, place: Place) -> str:
    """A field that must be text."""
    value = entry(record, name, place)
    if not isinstance(value, str):
        raise UserError(f"{place}: field {name!r}: expected text, found {_kind(value)}.")
    return value


def whole_of(record: dict[str, Any], name: str, place: Place) -> int:
    """A field that must be a whole number."""
    value = entry(record, name, place)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{place}: field {name!r}: expected a whole number, found {_kind(value)}.")
    return value


def name_of(value: Any) -> str:
    """A label or id as text: numbers in digits, booleans as JSON writes them."""
    return value if isinstance(value, str) else json.dumps(value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
