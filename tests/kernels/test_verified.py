"""A form that we could not prove is taken by `auto` where this machine's own record names it, and nowhere else."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from ms_plm.cli import doctor_kernels
from ms_plm.common.errors import DamagedFileError
from ms_plm.kernels import Call, Implementation, Kernels, choice, verified
from ms_plm.kernels.verified import Record, code_of, proof, read_records, write_records

CALL = Call("ascend", compute="fp16", training=True, chip="910B3")


def _build(call: Call, **arguments) -> None:
    return None


PLAIN = Implementation("linear", "reference", ("cpu", "ascend"), _build)
NEW = Implementation("linear", "new", ("ascend",), _build, preference=9, proven=False)
DROPOUT = Implementation("dropout", "hash", ("cpu", "ascend"), _build)


def timing(**changes) -> dict:
    return {"length": 128, "milliseconds": 1.5, "instead_milliseconds": 2.0, "bound_milliseconds": 0.7, **changes}


def record(**changes) -> Record:
    values = {
        "operation": "linear",
        "form": "new",
        "chip": "910B3",
        "dtype": "fp16",
        "mindspore": "2.10.0",
        "cann": "8.3.RC1",
        "code": code_of(NEW),
        "date": "2026-01-31",
        "errors": {"y": 1e-4, "d x": 2e-4},
        "tolerance": 4e-3,
        "instead": "reference",
        "timings": [timing()],
    }
    return Record(**{**values, **changes})


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes records to where they are looked for; the versions that run are those of `record`."""
    path = tmp_path / "verified.json"
    monkeypatch.setenv("MS_PLM_VERIFIED", str(path))
    monkeypatch.setattr(verified, "mindspore_release", lambda: "2.10.0")
    monkeypatch.setattr(verified, "cann_release", lambda: "8.3.RC1")
    monkeypatch.setattr(choice, "implementations", lambda: {"dropout": (DROPOUT,), "linear": (PLAIN, NEW)})
    monkeypatch.setattr(logging.getLogger("ms_plm"), "propagate", True)

    def write(*records: Record) -> Path:
        write_records(path, records)
        return path

    return write


def chosen(call: Call = CALL) -> tuple[str, str]:
    form, reason = Kernels(call).choose("linear")
    return form.name, reason


def test_records_come_back_as_they_were_written(written) -> None:
    records = (record(), record(dtype="bf16"))
    assert read_records(written(*records)) == records


def test_auto_takes_what_was_verified_here_and_says_when(written) -> None:
    assert chosen()[0] == "reference"
    written(record())
    assert chosen() == ("new", "fastest that serves this run; verified on this machine 2026-01-31")


SLOW = [timing(milliseconds=2.5), timing(length=512)]
"""Slower with short sequences, faster with long ones."""


@pytest.mark.parametrize(("length", "name"), [(64, "reference"), (200, "reference"), (300, "new"), (None, "new")])
def test_auto_takes_it_where_it_was_the_faster_at_the_lengths_of_the_run(
    written, length: int | None, name: str
) -> None:
    written(record(timings=SLOW))
    call = Call("ascend", compute="fp16", training=True, chip="910B3", length=length)
    found, reason = chosen(call)
    assert found == name
    assert ("new was slower here: 2.50 ms, reference 2.00 at length 128" in reason) == (name == "reference")


def test_of_two_that_were_verified_the_faster_one_is_taken(written, monkeypatch) -> None:
    newer = Implementation("linear", "newer", ("ascend",), _build, proven=False)
    monkeypatch.setattr(choice, "implementations", lambda: {"dropout": (DROPOUT,), "linear": (PLAIN, NEW, newer)})
    written(record(), record(form="newer", timings=[timing(milliseconds=1.4)]))
    assert chosen()[0] == "newer"
    written(record(), record(form="newer", timings=[timing(milliseconds=1.6)]))
    assert chosen()[0] == "new"


def test_asked_for_by_name_it_says_so_too(written) -> None:
    written(record())
    asked = Kernels(CALL, {"linear": "new"}).choose("linear")[1]
    assert asked == "asked for; verified on this machine 2026-01-31"
    other = Kernels(Call("ascend", compute="bf16", training=True, chip="910B3"), {"linear": "new"})
    assert other.choose("linear")[1].startswith("asked for; it has never run")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chip": "910A"}, "chip 910A, not 910B3"),
        ({"dtype": "bf16"}, "dtype bf16, not fp16"),
        ({"mindspore": "2.9.0"}, "mindspore 2.9.0, not 2.10.0"),
        ({"cann": "8.2.RC1"}, "cann 8.2.RC1, not 8.3.RC1"),
        ({"code": "0" * 64}, "another version of its code"),
    ],
)
def test_a_record_of_something_else_does_not_count_and_the_reason_says_of_what(written, changes, words) -> None:
    written(record(**changes))
    name, reason = chosen()
    assert name == "reference"
    assert words in reason


def test_a_record_of_another_form_says_nothing(written) -> None:
    written(record(form="newer"))
    name, reason = chosen()
    assert name == "reference"
    assert "verified.json" not in reason


def test_without_a_known_chip_nothing_counts(written) -> None:
    written(record())
    assert chosen(Call("ascend", compute="fp16", training=True))[0] == "reference"


def test_a_call_that_it_declines_is_still_declined(written) -> None:
    written(record())
    assert chosen(Call("cpu", compute="fp16", training=True, chip="910B3"))[0] == "reference"


def changed(content: dict) -> dict:
    content["records"][0]["chip"] = "910A"
    return content


DAMAGED = {
    "cut": lambda text: text[:-40],
    "changed": lambda text: json.dumps(changed(json.loads(text))),
    "another program's": lambda text: json.dumps({"verified": True}),
    "a list": lambda text: "[]",
    "binary": lambda text: "\udcff\udcfe",
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_or_foreign_file_is_never_trusted_and_named_once(written, caplog, how: str) -> None:
    path = written(record())
    path.write_text(DAMAGED[how](path.read_text()), errors="surrogateescape")
    with caplog.at_level(logging.WARNING, "ms_plm"):
        assert chosen()[0] == chosen()[0] == "reference"
    (line,) = [entry.getMessage() for entry in caplog.records if "verified" in entry.getMessage()]
    assert "are not used" in line
    assert str(path) in line


@pytest.mark.parametrize(
    "changes", [{"errors": {}}, {"timings": []}, {"tolerance": -1.0}, {"extra": 1}, {"errors": {"y": "small"}}]
)
def test_records_that_do_not_hold_what_they_should_are_refused_whole(written, changes: dict) -> None:
    values = [record().model_dump(), {**record().model_dump(), **changes}]
    path = written()
    path.write_text(json.dumps({"format": verified.FORMAT, "digest": verified._digest(values), "records": values}))
    with pytest.raises(DamagedFileError, match="a record is not as it should be"):
        read_records(path)


def test_a_record_that_fails_its_own_tolerance_is_refused(written) -> None:
    with pytest.raises(DamagedFileError, match="above its own tolerance"):
        read_records(written(record(errors={"y": 1.0})))


def test_the_file_is_read_again_when_it_has_changed(written) -> None:
    written(record(chip="910A"))
    assert proof(NEW, CALL) is None
    written(record(), record(dtype="bf16"))
    assert proof(NEW, CALL) == record()


def test_without_the_variable_it_is_looked_for_at_home(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MS_PLM_VERIFIED", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert verified.file_path() == tmp_path / ".config/ms_plm/verified.json"


def test_the_doctors_table_says_that_it_was_verified_here(written, monkeypatch) -> None:
    monkeypatch.setattr(doctor_kernels, "_chip", lambda device: "910B3")
    before = doctor_kernels.rows("ascend", "fp16")
    assert next(row for row in before if row[1] == "new")[2].startswith("is not taken unless it is asked for")
    written(record())
    table = doctor_kernels.rows("ascend", "fp16")
    assert ("linear", "new", "fastest that serves this run; verified on this machine 2026-01-31") in table


def test_the_code_is_that_of_the_forms_own_folder(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "forms_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text("def build(call):\n    return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    from importlib import import_module

    form = Implementation("linear", "x", ("cpu",), import_module("forms_of_a_test.one").build)
    first = code_of(form)
    assert code_of(form) == first != code_of(NEW)
    assert code_of(Implementation("linear", "x", ("cpu",), functools.partial(form.build, None))) == first
    (folder / "other.py").write_text("VALUE = 1\n")
    assert code_of(form) != first


def test_what_a_form_calls_elsewhere_is_of_its_code(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel.cpp"
    kernel.write_text("a")
    form = Implementation("linear", "x", ("cpu",), _build, code=lambda: [kernel])
    first = code_of(form)
    kernel.write_text("b")
    assert code_of(form) != first
