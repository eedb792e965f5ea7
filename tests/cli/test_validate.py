"""`ms-plm validate`."""

from pathlib import Path

import pytest

from ms_plm.cli.main import main


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text("kind: pretrain\ntrain: {steps: 5}\ndata: {corpus: c}\n", encoding="utf-8")
    Path("bad.yaml").write_text("kind: pretrain\ntrain: {stps: 5}\ndata: {corpus: c}\n", encoding="utf-8")


def test_a_good_recipe_is_valid(capsys):
    assert main(["validate", "good.yaml", "train.batch=4"]) == 0
    assert capsys.readouterr().out == "good.yaml: valid (pretrain, good)\n"


def test_all_recipes_are_checked_and_all_errors_shown(capsys):
    assert main(["validate", "bad.yaml", "good.yaml", "gone.yaml"]) == 1
    out, err = capsys.readouterr()
    assert out == "good.yaml: valid (pretrain, good)\n"
    assert "bad.yaml:2: train.stps: unknown key; did you mean train.steps?" in err
    assert "bad.yaml:2: train: give one of steps and epochs." in err
    assert "gone.yaml: no such file" in err


def test_only_overrides_is_wrong_usage(capsys):
    assert main(["validate", "train.steps=5"]) == 2
    assert "name at least one recipe" in capsys.readouterr().err


def test_of_several_runs_it_is_said_how_many(capsys):
    assert main(["validate", "glue_all", "train.repeats=3"]) == 0
    assert capsys.readouterr().out == "glue_all: valid (suite, glue_all; 24 runs of 8 tasks)\n"
