"""What the command says where something is missing."""

from __future__ import annotations

from importlib import metadata

import pytest

from ms_plm_ascend.triton_kernels import __main__ as command
from ms_plm_ascend.triton_kernels import lower
from ms_plm_ascend.triton_kernels.__main__ import main
from ms_plm_ascend.triton_kernels.execute import FOLDER


@pytest.mark.parametrize("found", [None, "3.3.0"])
def test_a_missing_or_other_triton_is_named_with_the_remedy(found, monkeypatch, capsys, tmp_path) -> None:
    def version(name: str) -> str:
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    assert main(["--lower", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert f"needs triton-ascend {lower.VERSION}" in said
    assert "pip install --no-deps triton-ascend==" in said
    assert (f"found {found}" if found else "not installed") in said
    assert not list(tmp_path.iterdir())


def test_a_missing_llvm_is_named_with_the_remedy(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert main(["--check"]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path}/bin/mlir-opt" in said
    assert "apt-get install mlir-22-tools llvm-22" in said
    assert FOLDER in said


def test_a_folder_that_cannot_be_written_is_told_before_a_kernel_is_lowered(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(command, "require", lambda: None)
    monkeypatch.setattr(command, "lowered", lambda **_: pytest.fail("lowered"))
    (tmp_path / "file").touch()
    assert main(["--lower", str(tmp_path / "file")]) == 1
    assert f"--lower {tmp_path}/file: expected a folder that can be written" in capsys.readouterr().err


def test_one_of_the_two_must_be_asked_for(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "--lower" in capsys.readouterr().err
