"""`ms-plm export`: arguments and names; tests/export holds the files themselves."""

import shutil
from types import SimpleNamespace

import pytest
from golden_files import GOLDENS

from ms_plm.cli.main import main


@pytest.fixture
def calls(monkeypatch):
    """What would have been exported."""
    found = []

    def export_mindir(*arguments):
        found.append(arguments)
        return SimpleNamespace(describe=lambda: "exported")

    monkeypatch.setattr("ms_plm.export.export_mindir", export_mindir)
    return found


def test_sizes_are_numbers_or_dynamic(calls, capsys):
    folder = GOLDENS / "bert"
    command = ["export", str(folder), "--head", "masked_lm", "--batch", "dynamic", "--length", "64", "--output", "x"]
    assert main([*command, "--device", "cpu"]) == 0
    assert calls == [(folder, "x", "masked_lm", "dynamic", 64)]
    assert capsys.readouterr().out == "exported\n"


def test_the_file_is_called_after_the_run_and_the_head(calls, tmp_path):
    shutil.copytree(GOLDENS / "bert", tmp_path / "myrun" / "model")
    assert main(["export", str(tmp_path / "myrun"), "--device", "cpu"]) == 0
    assert calls == [(tmp_path / "myrun" / "model", "myrun_encoder.mindir", "encoder", 1, 128)]


@pytest.mark.parametrize("size", ["0", "-1", "long", "1.5"])
def test_a_size_that_is_none_is_a_usage_error(size, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(GOLDENS / "bert"), f"--length={size}"])
    assert "expected a number above 0 or `dynamic`" in capsys.readouterr().err


def test_a_missing_head_is_one_readable_paragraph_and_leaves_nothing(tmp_path, capsys):
    target = str(tmp_path / "x.mindir")
    command = ["export", str(GOLDENS / "nezha_base_model"), "--head", "masked_lm", "--output", target]
    assert main([*command, "--device", "cpu"]) == 1
    assert "has no masked_lm head" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
