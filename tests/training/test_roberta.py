"""RoBERTa is fine-tuned, saved, used and exported with the code of the other families."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_moods
import tiny_run
from golden_files import GOLDENS
from safetensors.numpy import load_file
from tiny_elastic import recipe_file

import ms_plm
from ms_plm.cli.main import main


def parent(folder: Path) -> Path:
    """`roberta` with dropout."""
    shutil.copytree(GOLDENS / "roberta", folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A short run on texts."""
    folder = tmp_path_factory.mktemp("roberta")
    recipe = tiny_moods.recipe_file(folder, parent(folder / "parent"))
    short = {"train.epochs": 2, "train.optimizer.learning_rate": 3e-3, "output.folder": str(folder / "run")}
    ms_plm.run(recipe, short)
    return folder / "run"


def test_a_classifier_is_learned(run: Path) -> None:
    found = [record["loss"] for record in tiny_run.figures(run) if record["kind"] == "evaluate"]
    assert found[-1] < 0.9 * found[0]


def test_the_result_has_the_names_of_transformers(run: Path) -> None:
    config = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    assert (config["architectures"], config["pad_token_id"]) == (["RobertaForSequenceClassification"], 1)
    tensors = load_file(run / "model" / "model.safetensors")
    expected = load_file(GOLDENS / "tasks" / "roberta_sequence_classification" / "model.safetensors")
    assert {name for name in expected if ".layer." not in name} == {name for name in tensors if ".layer." not in name}
    assert (run / "model" / "merges.txt").is_file()


@pytest.mark.slow
def test_it_predicts(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["predict", str(run), "da ba de", "da de", "--json", "--device", "cpu"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["text"] for item in found] == ["da ba de", "da de"]
    assert all(item["label"] in ("glad", "sad") for item in found)


def test_it_goes_on_as_a_model_for_choices(run: Path) -> None:
    """The pooler, which was the classifier's, is new then."""
    model, _ = ms_plm.load(run / "model", "multiple_choice", new_head=True)
    kept = dict(model.parameters_and_names())["encoder.layers.1.output.weight"].asnumpy()
    tensors = load_file(run / "model" / "model.safetensors")
    np.testing.assert_array_equal(kept, tensors["roberta.encoder.layer.1.output.dense.weight"])
    pooler = dict(model.parameters_and_names())["pooler.dense.weight"].asnumpy()
    assert not np.array_equal(pooler, tensors["classifier.dense.weight"])


@pytest.mark.slow
def test_it_becomes_elastic(run: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, run.parent, run / "model")
    ms_plm.run(recipe, {"train.steps": 6, "method.depths": [1.0, 0.5], "output.folder": str(tmp_path / "run")})
    first, *_, last = (record for record in tiny_run.figures(tmp_path / "run") if record["kind"] == "evaluate")
    assert {key for key in first if "[" in key} == {f"accuracy[{w}x{d}]" for w in ("1", "0.5") for d in ("1", "0.5")}
    assert last["metric"] >= first["metric"]
    assert main(["extract", str(tmp_path / "run"), "--width", "0.5", "--output", str(tmp_path / "half")]) == 0
    model, _ = ms_plm.load(tmp_path / "half", "sequence_classification")
    assert (model.config.model_type, model.config.layer_heads) == ("roberta", (2, 2))
