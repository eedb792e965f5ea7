"""`ms-plm predict`."""

import io
import json
import logging
import shutil

import pytest
from golden_files import GOLDENS

from ms_plm.cli.main import main

NEZHA = str(GOLDENS / "nezha_k8")


def test_candidates_of_every_mask_stand_below_the_text(capsys):
    assert main(["predict", NEZHA, "a [MASK] b [MASK].", "[MASK]", "--top-k", "2", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] if line.startswith(" ") else line for line in lines] == [
        "a [MASK] b [MASK].",
        "[MASK] 1:",
        "[MASK] 2:",
        "[MASK]",
        "[MASK]:",
    ]
    first = lines[1].split()[2:]
    assert len(first) == 4
    assert 1 >= float(first[1]) >= float(first[3]) > 0


def test_lines_of_standard_input_become_json_objects(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a [MASK]\n\n[MASK] b\n"))
    assert main(["predict", NEZHA, "--json", "--top-k", "1", "--device", "cpu"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["text"] for item in objects] == ["a [MASK]", "[MASK] b"]
    for item in objects:
        (mask,) = item["masks"]
        (candidate,) = mask["candidates"]
        assert item["filled"] == item["text"].replace("[MASK]", candidate["token"].removeprefix("##"))


def test_a_run_folder_stands_for_its_model_and_the_log_stays_as_it_was(tmp_path, capsys):
    shutil.copytree(GOLDENS / "nezha_k8", tmp_path / "run" / "model")
    before = logging.getLogger("ms_plm.kernels").level
    assert main(["predict", str(tmp_path / "run"), "[MASK]", "--device", "cpu"]) == 0
    assert logging.getLogger("ms_plm.kernels").level == before
    assert "[MASK]" in capsys.readouterr().out


def test_a_run_without_a_result_is_told_from_other_folders(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("kind: pretrain\n", encoding="utf-8")
    assert main(["predict", str(tmp_path), "[MASK]"]) == 1
    assert "this run has no result yet" in capsys.readouterr().err
    (tmp_path / "recipe.yaml").unlink()
    assert main(["predict", str(tmp_path), "[MASK]"]) == 1
    assert "not a model folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no mask here", "--device", "cpu"], 1, "text 1: expected [MASK] at least once"),
        (["[MASK]", "--top-k", "0"], 2, "--top-k: expected a number above 0"),
        ([], 2, "no text"),
    ],
)
def test_wrong_arguments_are_named(capsys, monkeypatch, arguments, code, message):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["predict", NEZHA, *arguments]) == code
    assert message in capsys.readouterr().err
