"""Recipes of kind `elastic` put together: width, width and depth, extraction, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_run

import ms_plm
from ms_plm.cli.main import main
from ms_plm.common.errors import UserError
from ms_plm.models.folder import open_folder
from ms_plm.training.step import TrainingStep

RECIPE = """\
kind: elastic
model: {{from: {model}}}
data:
  own: {{train: {base}/train.tsv, dev: {base}/dev.tsv, text: sentence, label: mood}}
  max_length: 16
  lengths: 1
train:
  epochs: 1
  batch: 32
  seed: 3
  optimizer: {{learning_rate: 3.0e-3}}
  checkpoint: {{every: 5, keep: 9, best: metric}}
method:
  widths: [1.0, 0.5]
  depths: {depths}
  rewire: {{on: {rewire}, rows: 64}}
  teacher: {{from: {teacher}}}
  losses: {{prediction: 1.0, embedding: 0.1, hidden: 0.1}}
impl: {{device: cpu, eval_batch: 8}}
log: {{every: 5}}
"""


def recipe_file(folder: Path, moods: Path, model: Path, depths: str = "[1.0]", rewire: str = "train") -> Path:
    path = folder / "elastic.yaml"
    values = {"base": moods, "model": model, "teacher": moods / "run/model", "depths": depths, "rewire": rewire}
    path.write_text(RECIPE.format(**values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def wide(moods: Path, tmp_path_factory) -> Path:
    """The run folder of the width stage."""
    folder = tmp_path_factory.mktemp("elastic")
    ms_plm.run(recipe_file(folder, moods, moods / "run/model"), {"output.folder": str(folder / "run")})
    return folder / "run"


def evaluations(run: Path) -> list[dict]:
    return [record for record in tiny_run.figures(run) if record["kind"] == "evaluate"]


def test_narrow_sub_networks_learn_and_the_whole_stays_good(wide: Path) -> None:
    first, *_, last = evaluations(wide)
    assert first["accuracy[1x1]"] > 0.9  # rewired: the fine-tuned model, unchanged
    assert last["accuracy[1x1]"] > 0.9
    assert last["accuracy[0.5x1]"] >= first["accuracy[0.5x1]"]
    assert last["loss"] < first["loss"]
    recorded = json.loads((wide / "model/config.json").read_text())["provenance"]["figures"]
    assert recorded["accuracy"] == recorded["accuracy[1x1]"], "what is recorded with a model is the whole one's"
    assert last["metric"] == pytest.approx((last["accuracy[1x1]"] + last["accuracy[0.5x1]"]) / 2)


def test_the_folder_says_which_parts_it_works_in_and_the_picture_is_drawn(wide: Path) -> None:
    provenance = json.loads((wide / "model/config.json").read_text())["provenance"]
    assert provenance["elastic"] == {"widths": [1.0, 0.5], "depths": [1.0]}
    assert (wide / "subnetworks.png").read_bytes().startswith(b"\x89PNG")
    assert "accuracy of 0.5x1" in (wide / "report.md").read_text()


@pytest.mark.slow
def test_a_teacher_that_answered_before_teaches_the_same(moods: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the answers go there
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    alone = {"method.losses.embedding": None, "method.losses.hidden": None, "train.steps": 3, "train.epochs": None}
    for cache in (False, True):
        ms_plm.run(recipe, {**alone, "method.teacher.cache": cache, "output.folder": str(tmp_path / f"run{cache}")})
    one, other = (open_folder(tmp_path / f"run{cache}/model").weights.tensors for cache in (False, True))
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], atol=1e-5, err_msg=name)
    assert list((tmp_path / ".cache/ms_plm/answers").glob("*.safetensors"))


@pytest.mark.slow
def test_an_elastic_run_that_was_cut_goes_on_bit_for_bit(wide: Path, moods: Path, tmp_path: Path, monkeypatch) -> None:
    update, calls = TrainingStep.__call__, [0]

    def breaking(step: TrainingStep, *arguments: object):
        calls[0] += 1
        if calls[0] == 8:
            raise KeyboardInterrupt
        return update(step, *arguments)

    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    monkeypatch.setattr(TrainingStep, "__call__", breaking)
    with pytest.raises(KeyboardInterrupt):
        ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")})
    monkeypatch.undo()
    ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")}, resume=True)
    one, other = (open_folder(folder / "model").weights.tensors for folder in (wide, tmp_path / "run"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_sub_network_is_extracted_evaluated_and_trained_on(wide: Path, moods: Path, tmp_path: Path, capsys) -> None:
    assert main(["extract", str(wide), "--width", "0.5", "--output", str(tmp_path / "half")]) == 0
    assert "of the whole" in capsys.readouterr().out
    config = json.loads((tmp_path / "half/config.json").read_text())
    assert (config["layer_heads"], config["head_size"]) == ([2], 8)
    assert config["provenance"]["subnetwork"]["width"] == 0.5
    changes = {"output.folder": str(tmp_path / "on"), "model.from": str(tmp_path / "half"), "train.epochs": 1}
    result = ms_plm.run(moods / "moods.yaml", changes)
    first = evaluations(tmp_path / "on")[0]["accuracy"]
    assert first == pytest.approx(evaluations(wide)[-1]["accuracy[0.5x1]"])
    assert result.figures["accuracy"] >= 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--width", "0.3"], "leaves 1.2 of 4 heads"),
        (["--width", "0.5", "--layers", "0", "--heads", "1", "--intermediate", "4"], "not both"),
        (["--layers", "0"], "give all three"),
        ([], "say what to take"),
    ],
)
def test_extract_says_what_is_wrong(wide: Path, tmp_path: Path, capsys, arguments: list[str], said: str) -> None:
    assert main(["extract", str(wide), *arguments, "--output", str(tmp_path / "x")]) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_sub_network_never_takes_the_place_of_the_run_that_holds_the_whole(wide: Path, capsys) -> None:
    for target in (wide, wide / "model", wide.parent):
        assert main(["extract", str(wide), "--width", "0.5", "--output", str(target), "--overwrite"]) == 1
        assert "is the elastic model itself, or holds it" in capsys.readouterr().err
    assert (wide / "model/config.json").is_file()


def test_a_teacher_that_numbers_its_labels_otherwise_is_refused(moods: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(moods / "run/model", teacher)
    config = json.loads((teacher / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "sad", "1": "glad"}, {"sad": 0, "glad": 1}
    (teacher / "config.json").write_text(json.dumps(config))
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    with pytest.raises(UserError, match="numbers its labels sad, glad, model.from glad, sad"):
        ms_plm.run(recipe, {"method.teacher.from": str(teacher), "output.folder": str(tmp_path / "run")})


def test_a_teacher_of_another_task_is_refused(moods: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(moods / "run/model", teacher)
    config = json.loads((teacher / "config.json").read_text())
    config["provenance"]["task"] = "glue/rte"
    (teacher / "config.json").write_text(json.dumps(config))
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    with pytest.raises(UserError, match="its head was trained on glue/rte"):
        ms_plm.run(recipe, {"method.teacher.from": str(teacher), "output.folder": str(tmp_path / "run")})


def test_what_was_extracted_is_not_made_elastic_again(wide: Path, moods: Path, tmp_path: Path, capsys) -> None:
    main(["extract", str(wide), "--width", "0.5", "--output", str(tmp_path / "half")])
    with pytest.raises(UserError, match="is a sub-network already"):
        ms_plm.run(recipe_file(tmp_path, moods, tmp_path / "half"), {"output.folder": str(tmp_path / "run")})
    assert main(["extract", str(tmp_path / "half"), "--width", "0.5", "--output", str(tmp_path / "less")]) == 1
    assert "is a sub-network already" in capsys.readouterr().err


def test_a_model_without_the_tasks_head_is_refused(base: Path, moods: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, moods, tiny_run.whole_run(base) / "model")
    with pytest.raises(UserError, match="has no sequence classification head, so that nothing says"):
        ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_chain_of_the_readme_goes_through(wide: Path, moods: Path, tmp_path: Path) -> None:
    """Extracted, trained further, distilled, exported; the reloaded file gives what the elastic model's part gives."""
    half = tmp_path / "half"
    assert main(["extract", str(wide), "--width", "0.5", "--output", str(half)]) == 0
    exported = ["export", str(half), "--head", "sequence_classification", "--length", "16"]
    assert main([*exported, "--output", str(tmp_path / "half.mindir")]) == 0
    report = json.loads((tmp_path / "half.mindir.json").read_text())
    assert report["largest_difference"] <= 1e-5
    changes = {"output.folder": str(tmp_path / "on"), "model.from": str(half), "train.epochs": 1}
    ms_plm.run(moods / "moods.yaml", changes)
    distilled = {
        "output.folder": str(tmp_path / "tiny"),
        "data.own": {"train": f"{moods}/train.tsv", "dev": f"{moods}/dev.tsv", "text": "sentence", "label": "mood"},
        "data.task": None,
        "data.folder": None,
        "data.max_length": 16,
        "model.from": str(moods / "run/model"),
        "method.teacher.from": str(tmp_path / "on/model"),
        "train.epochs": 1,
        "output.compare": False,
    }
    assert ms_plm.run("tinybert_4l_sst2_prediction", distilled).figures["accuracy"] >= 0.5
