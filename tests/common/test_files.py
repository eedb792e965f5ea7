"""Writing files: all of it or nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from ms_plm.common import files
from ms_plm.common.errors import DamagedFileError, UserError


def _full_disk(*_args: object, **_kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write_half(path: Path) -> None:
    path.write_text("half")
    raise ZeroDivisionError


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "value.txt"
    for text in ("first", "second"):
        with files.replacing_file(path) as temporary:
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
    assert path.read_text() == "second"
    assert _names(path.parent) == ["value.txt"]


def test_a_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing_file(path) as temporary:
        _write_half(temporary)
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["value.txt"]


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    with files.replacing_file(tmp_path / "ours") as temporary:
        temporary.write_text("x")
    (tmp_path / "plain").write_text("x")
    ours, plain = ((tmp_path / name).stat().st_mode for name in ("ours", "plain"))
    assert stat.S_IMODE(ours) == stat.S_IMODE(plain)


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(UserError, match=r"disk is full.*Free some space") as raised, files.replacing_file(path) as new:
        new.write_text("new")
    assert str(path) in str(raised.value)
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["value.txt"]


def test_other_errors_of_the_system_pass_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), files.replacing_file(tmp_path / "value.txt"):
        raise PermissionError(errno.EACCES, "no")
    assert _names(tmp_path) == []


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with files.replacing_folder(folder) as temporary:
        (temporary / "a").write_text("1")
    with files.replacing_folder(folder) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_text("2")
    assert _names(folder) == ["sub"]
    assert (folder / "sub" / "b").read_text() == "2"
    assert _names(tmp_path) == ["model"]


def test_a_failure_keeps_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing_folder(folder) as temporary:
        _write_half(temporary / "a")
    assert (folder / "a").read_text() == "old"
    assert _names(tmp_path) == ["model"]


def test_a_full_disk_keeps_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("old")
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(UserError, match="disk is full") as raised, files.replacing_folder(folder) as temporary:
        (temporary / "a").write_text("new")
    assert str(folder) in str(raised.value)
    assert (folder / "a").read_text() == "old"
    assert _names(tmp_path) == ["model"]


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("old")
    replace = os.replace

    def refuse_new(source: os.PathLike, target: os.PathLike) -> None:
        if Path(target) == folder and Path(source).suffix == ".tmp":
            _full_disk()
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_new)
    with pytest.raises(UserError, match="disk is full"), files.replacing_folder(folder) as temporary:
        (temporary / "a").write_text("new")
    assert (folder / "a").read_text() == "old"
    assert _names(tmp_path) == ["model"]


def test_json_is_readable_text_and_comes_back(tmp_path: Path) -> None:
    value = {"name": "哪吒", "sizes": [1, 2.5, None]}
    files.write_json(tmp_path / "value.json", value)
    assert "哪吒" in (tmp_path / "value.json").read_text(encoding="utf-8")
    assert files.read_json(tmp_path / "value.json") == value


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    files.write_json(tmp_path / "value.json", [1])
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "value.json", {"bad": object()})
    assert files.read_json(tmp_path / "value.json") == [1]
    assert _names(tmp_path) == ["value.json"]


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        files.read_json(tmp_path / "config.json")


@pytest.mark.parametrize("content", [b"{\n  3", b"\xff\xfe{}", b""])
def test_a_damaged_json_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"config\.json: not a JSON file in UTF-8"):
        files.read_json(tmp_path / "config.json")


def test_tensors_come_back_with_their_metadata(tmp_path: Path) -> None:
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.int32)}
    files.write_tensors(tmp_path / "t.safetensors", values, {"format": "pt"})
    with safe_open(tmp_path / "t.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        for name, value in values.items():
            np.testing.assert_array_equal(file.get_tensor(name), value)


def test_tensors_on_a_full_disk_name_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors, path, metadata=None) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(UserError, match="disk is full"), files.replacing_file(tmp_path / "t.safetensors") as temporary:
        files.write_tensors(temporary, {})
    assert _names(tmp_path) == []


def test_hashes_are_those_of_the_bytes(tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "blob").write_bytes(content)
    assert files.sha256_file(tmp_path / "blob") == hashlib.sha256(content).hexdigest()
