"""Implementations that were checked on this machine's own device: `auto` may take them although we could not run them.

Who has the device writes the file once, by a program that holds each implementation against float64; here it is only
read. It lies at ~/.config/ms_plm/verified.json, or where MS_PLM_VERIFIED says:

    {"format": "ms_plm.verified/2", "digest": SHA-256 of `records` as compact JSON with sorted keys, "records": [
      {"operation": "relative_attention", "form": "flash3", "chip": "910B3", "dtype": "fp16",
       "mindspore": "2.10.0", "cann": "8.3.RC1", "code": SHA-256 of the implementation's files,
       "date": "2026-01-31", "errors": {"context": 4e-4, "d query": 6e-4}, "tolerance": 4e-3, "instead": "rotation",
       "timings": [{"length": 512, "milliseconds": 1.9, "instead_milliseconds": 3.1, "bound_milliseconds": 0.8}]}]}

A record counts where chip, dtype, both versions and the code are those that are running; `auto` takes the form where it
was faster than what would be taken instead, at the measured length that is next to the run's. A damaged file counts
nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.common.files import read_json, write_json
from ms_plm.common.releases import cann_release, mindspore_release
from ms_plm.kernels.registry import Call, Implementation

log = logging.getLogger(__name__)
FORMAT = "ms_plm.verified/2"
VARIABLE = "MS_PLM_VERIFIED"


class Timing(BaseModel):
    """How long forward and gradient took, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    length: int | None = Field(None, gt=0, description="of sequences; none where the operation does not depend on it")
    milliseconds: float = Field(gt=0, description="of the form")
    instead_milliseconds: float = Field(gt=0, description="of the form that is taken without it")
    bound_milliseconds: float = Field(ge=0, description="what the chip needs at least, by a model")


class Record(BaseModel):
    """One implementation, found right on one kind of chip in one dtype."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    operation: str
    form: str
    chip: str
    dtype: str = Field(description="compute type: fp16 or bf16")
    mindspore: str
    cann: str
    code: str = Field(description="see `code_of`")
    date: str
    errors: dict[str, float] = Field(min_length=1, description="of outputs and gradients, against float64")
    tolerance: float = Field(gt=0, description="what every error had to stay below")
    instead: str = Field(description="the form that `auto` takes without this one, timed beside it")
    timings: tuple[Timing, ...] = Field(min_length=1)

    def timing(self, length: int | None) -> Timing:
        """Of the measured length that is next to a run's; where that is unknown, of the longest."""
        if length is None:
            return max(self.timings, key=lambda timing: timing.length or 0)
        return min(self.timings, key=lambda timing: abs(math.log((timing.length or length) / length)))


def file_path() -> Path:
    """Where the file is looked for."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".config" / "ms_plm" / "verified.json").expanduser()


def _digest(records: list[dict]) -> str:
    text = json.dumps(records, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write the file, replacing what was there in one step."""
    values = [record.model_dump() for record in records]
    write_json(path, {"format": FORMAT, "digest": _digest(values), "records": values})


def read_records(path: Path) -> tuple[Record, ...]:
    """The records of a file.

    Raises:
        UserError: there is no such file.
        DamagedFileError: it is not what was written, or something else.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedFileError(f"{path}: not a list of verified implementations ({FORMAT}).")
    values = content.get("records")
    if not isinstance(values, list) or content.get("digest") != _digest(values):
        raise DamagedFileError(f"{path}: its records do not fit their digest; the file was changed or cut.")
    try:
        records = tuple(Record(**value) for value in values)
    except (ValidationError, TypeError) as error:
        raise DamagedFileError(f"{path}: a record is not as it should be ({str(error).splitlines()[0]}).") from error
    if wrong := next((r for r in records if max(r.errors.values()) > r.tolerance), None):
        raise DamagedFileError(f"{path}: {wrong.operation} {wrong.form} has an error above its own tolerance.")
    return records


_read: dict[tuple[str, int, int], tuple[Record, ...]] = {}


def known_records() -> tuple[Record, ...]:
    """The records at `file_path`; none where there is no file. A damaged one is named in the log, once."""
    path = file_path()
    try:
        state = path.stat()
    except OSError:
        return ()
    key = (str(path), state.st_mtime_ns, state.st_size)
    if key not in _read:
        try:
            _read[key] = read_records(path)
        except (UserError, OSError) as error:
            log.warning("verified implementations are not used: %s Run the bring-up again.", error)
            _read[key] = ()
    return _read[key]


def proof(form: Implementation, call: Call) -> Record | None:
    """The record by which a form counts as checked for a call; None where there is none."""
    return next((record for record in _of(form, call) if not _other(record, form, call)), None)


def rejected(form: Implementation, call: Call) -> str | None:
    """Why the records that name a form do not count for a call; None where none names it."""
    others = [_other(record, form, call) for record in _of(form, call)]
    return f"{file_path()} is of {others[0]}" if others and all(others) else None


def _of(form: Implementation, call: Call) -> list[Record]:
    if call.chip is None:
        return []
    return [record for record in known_records() if (record.operation, record.form) == (form.operation, form.name)]


def _other(record: Record, form: Implementation, call: Call) -> str:
    """What a record is of and this machine is not; empty where all is the same."""
    running = {
        "chip": call.chip,
        "dtype": call.compute,
        "mindspore": mindspore_release(),
        "cann": cann_release() or "unknown",
        "code": _running_code(form),
    }
    differing = [name for name, value in running.items() if getattr(record, name) != value]
    if differing == ["code"]:
        return "another version of its code"
    return ", ".join(f"{name} {getattr(record, name)}, not {running[name]}" for name in differing if name != "code")


@functools.cache
def _running_code(form: Implementation) -> str:
    """`code_of` as this process began with it: every layer asks, and installed packages are large."""
    return code_of(form)


def code_of(form: Implementation) -> str:
    """SHA-256 over the files that decide what a form computes: the Python files of the folder that its `build` stands
    in, and what it names itself."""
    build = form.build
    while isinstance(build, functools.partial):
        build = build.func
    file = getattr(sys.modules.get(build.__module__), "__file__", None)
    own = sorted(Path(file).parent.glob("*.py")) if file else []
    digest = hashlib.sha256()
    for path in (*own, *form.code()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
