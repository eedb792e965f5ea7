"""Which files a corpus is made of, and how they are dealt out as work units.

A unit is a run of neighbouring documents; where it begins is decided by the files alone, so any number of processes and
machines makes the same shards.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.resources
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import TextSection

FORMATS = (".txt", ".jsonl", ".json", ".tsv")
LARGEST_JSON = 1 << 30
UNIT_BYTES = (4 << 20, 1 << 30)
"""Least and most text of a unit; in between it is the 128th part of everything."""
_UNITS = 128
_PIECE = 1 << 20


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        path: where it is.
        name: what it is called in messages and manifests, without the folders of this machine.
        source: index of the `TextSection` it belongs to.
        format: its suffix without ".gz".
        gzip: whether it is compressed.
        bytes: its size on disk.
    """

    path: Path
    name: str
    source: int
    format: str
    gzip: bool
    bytes: int


@dataclass(frozen=True)
class Span:
    """The documents of a file that begin at bytes `start` to `stop` - 1 (None: to its end)."""

    file: int
    start: int
    stop: int | None

    def size(self, files: Sequence[InputFile]) -> int:
        """Bytes on disk."""
        return (files[self.file].bytes if self.stop is None else self.stop) - self.start


def find_files(sources: Sequence[TextSection]) -> list[InputFile]:
    """The files of all sources, in the order given; those of a folder by name, hidden ones left out.

    Raises:
        UserError: a missing file, a format that is not read, a pattern that fits nothing.
    """
    found: dict[tuple[Path, int], InputFile] = {}
    for number, source in enumerate(sources):
        before = len(found)
        for given in source.files:
            for path, name in _expand(given, source.include):
                file = _input_file(path, name, number)
                found.setdefault((path.resolve(), number), file)
        if len(found) == before:
            patterns = " ".join(source.include)
            raise UserError(
                f"{', '.join(source.files)}: no file {f'fits --include {patterns}' if patterns else 'to read'}. "
                f"Expected {', '.join(FORMATS)} files, or those with .gz."
            )
    return list(found.values())


def _expand(given: str, include: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Paths and names of one entry of `files`."""
    if given.startswith("package:"):
        path = Path(str(importlib.resources.files("ms_plm") / "resources")) / given.removeprefix("package:")
    else:
        path = Path(given).expanduser()
    if path.is_file():
        if not include or _fits(path, include):
            yield path, path.name
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            relative = file.relative_to(path)
            hidden = any(part.startswith(".") for part in relative.parts)
            if file.is_file() and not hidden and (not include or _fits(file, include)):
                yield file, f"{path.resolve().name}/{relative.as_posix()}"
    else:
        raise UserError(f"{given}: no such file or folder. Check the path; folders are read with everything in them.")


def _fits(path: Path, include: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path.name, pattern) for pattern in include)


def _input_file(path: Path, name: str, source: int) -> InputFile:
    plain = Path(path.name.removesuffix(".gz"))
    if plain.suffix not in FORMATS:
        raise UserError(
            f"{path}: files like {path.suffix or 'this, without a suffix,'} are not read. Expected "
            f"{', '.join(FORMATS)}, or those with .gz. Convert it to .jsonl, or choose other files with --include "
            "'*.txt'."
        )
    size = path.stat().st_size
    if plain.suffix == ".json" and size > LARGEST_JSON:
        raise UserError(
            f"{path}: a .json array is read whole, and this one has {size / 1e9:.1f} GB, more than 1. "
            "Convert to .jsonl, for example with `jq -c '.[]'`."
        )
    return InputFile(path, name, source, plain.suffix, path.name.endswith(".gz"), size)


def sampled_hash(file: InputFile) -> str:
    """A hash of a file's size, beginning and end: tells another content of the same size, cheaply."""
    digest = hashlib.blake2b(str(file.bytes).encode(), digest_size=16)
    with open(file.path, "rb") as handle:
        digest.update(handle.read(_PIECE))
        if file.bytes > _PIECE:
            handle.seek(max(_PIECE, file.bytes - _PIECE))
            digest.update(handle.read(_PIECE))
    return digest.hexdigest()


def plan_units(
    files: Sequence[InputFile], sources: Sequence[TextSection], limits: tuple[int, int] = UNIT_BYTES
) -> list[tuple[Span, ...]]:
    """Deal the files out as units; long ones are cut where a document begins.

    Compressed files and .json arrays cannot be entered in the middle and stay whole.
    """
    target = min(max(sum(file.bytes for file in files) // _UNITS, limits[0]), limits[1])
    units: list[tuple[Span, ...]] = []
    unit: list[Span] = []
    size = 0
    for number, file in enumerate(files):
        start = 0
        while start < file.bytes:
            stop: int | None = None
            if not file.gzip and file.format != ".json" and start + target - size < file.bytes:
                stop = _next_document(file, start + target - size, sources[file.source].one_per_line)
            unit.append(Span(number, start, stop))
            size += (file.bytes if stop is None else stop) - start
            start = file.bytes if stop is None else stop
            if size >= target:
                units.append(tuple(unit))
                unit, size = [], 0
    if unit:
        units.append(tuple(unit))
    return units


def is_blank(line: bytes) -> bool:
    """Whether a line of a .txt file separates documents; Unicode's white space counts."""
    return len(line) < 256 and not line.decode("utf-8", "replace").strip("\ufeff \t\r\n\f\v\u3000\xa0")


def _next_document(file: InputFile, position: int, one_per_line: bool) -> int | None:
    """Where the first document after `position` begins; None at the end of the file."""
    with open(file.path, "rb") as handle:
        handle.seek(position - 1)
        whole = False  # the line in which we stand began before
        blank_seen = file.format != ".txt" or one_per_line
        while True:
            start = handle.tell()
            line = handle.readline(_PIECE)
            if not line:
                return None
            if whole:
                if blank_seen and not is_blank(line):
                    return start
                blank_seen = blank_seen or is_blank(line)
            whole = line.endswith(b"\n")
