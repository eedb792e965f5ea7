"""`ms-plm evaluate`."""

import json
import math
import shutil

import pytest
from golden_files import GOLDENS
from tiny_corpus import make_corpus

from ms_plm.cli.main import main

NEZHA = str(GOLDENS / "nezha_k8")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    return str(make_corpus(tmp_path_factory.mktemp("evaluate"), GOLDENS / "nezha_k8").folder)


@pytest.fixture
def cached(tmp_path):
    return ["--cache", str(tmp_path / "cache"), "--length", "24", "--device", "cpu"]


def test_figures_of_model_and_baselines_stand_in_a_table_and_in_json(corpus, cached, tmp_path, capsys):
    file = tmp_path / "figures.json"
    arguments = ["evaluate", NEZHA, corpus, *cached, "--baselines", "--json", str(file)]
    assert main([*arguments, "--batch", "4"]) == 0
    shown = capsys.readouterr().out
    written = json.loads(file.read_text(encoding="utf-8"))
    figures = written["figures"]
    assert figures["perplexity"] == pytest.approx(math.exp(figures["masked_lm_loss"]))
    for key in ("masked_lm_loss", "perplexity", "accuracy", "accuracy_words", "next_sentence_accuracy"):
        assert f"{figures[key]:.4f}" in shown
    assert set(written["baselines"]) == {"most frequent token", "both neighbours"}
    assert all(name in shown for name in written["baselines"])
    assert f"{written['samples']} samples of length 24, {written['positions']} predicted positions" in shown
    assert written["positions"] > written["samples"] == written["sequences"]
    assert written["model"] == NEZHA

    assert main([*arguments, "--batch", "7"]) == 0
    again = json.loads(file.read_text(encoding="utf-8"))
    assert again["figures"] == pytest.approx(figures, rel=1e-5)
    assert again["baselines"] == written["baselines"]
    assert again["positions"] == written["positions"]


def test_a_model_without_next_sentence_head_reads_packed_text(corpus, cached, tmp_path, capsys):
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(GOLDENS / "nezha_k8", tmp_path / "run" / "model")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "seq_relationship" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert main(["evaluate", str(folder.parent), corpus, *cached]) == 0
    assert "next sentence" not in capsys.readouterr().out


RECIPE = """\
kind: pretrain
data:
  corpus: {corpus}
  cache: {cache}
  max_length: 20
  short_sample_probability: 0.5
  masking: {{ratio: 0.3, ngram: 2, mask_share: 0.5}}
train: {{steps: 1, batch: 4}}
evaluate: {{samples: 12}}
"""


@pytest.fixture
def run(corpus, tmp_path):
    """A run folder with a result and a checkpoint, and the figures that the run itself would report."""
    from ms_plm.config.loading import load_recipe
    from ms_plm.data.loader import EvaluationBatches
    from ms_plm.data.sources import EVALUATION_SEED, open_data
    from ms_plm.models.folder import load
    from ms_plm.tasks.runner import PretrainingEvaluator

    folder = tmp_path / "run"
    for name in ("model", "checkpoints/step-000001"):
        shutil.copytree(GOLDENS / "nezha_k8", folder / name)
    (folder / "recipe.yaml").write_text(RECIPE.format(corpus=corpus, cache=tmp_path / "cache"), encoding="utf-8")
    recipe = load_recipe(folder / "recipe.yaml")
    data = open_data(recipe.data, recipe.evaluate, recipe.train.seed, 1)
    model, tokenizer = load(folder / "model", "pretraining")
    batches = EvaluationBatches(data.held_out, data.masking, EVALUATION_SEED, 4, recipe.evaluate.samples)
    return folder, PretrainingEvaluator(model, True, tokenizer).evaluate(batches).as_dict()


def _written(capsys, folder, corpus, file, *options) -> dict:
    assert main(["evaluate", str(folder), corpus, "--device", "cpu", "--json", str(file), *options]) == 0
    return json.loads(file.read_text(encoding="utf-8")) | {"shown": capsys.readouterr().out}


@pytest.mark.parametrize("inside", [".", "model", "checkpoints/step-000001"])
def test_a_runs_own_settings_give_its_own_figures(run, corpus, tmp_path, capsys, inside):
    folder, expected = run
    written = _written(capsys, folder / inside, corpus, tmp_path / "figures.json")
    assert written["positions"] == expected["positions"]
    assert written["figures"] == pytest.approx(expected["figures"], rel=1e-5)
    assert (written["length"], written["samples"], written["ratio"]) == (20, 12, 0.3)
    assert f"as in {folder}/recipe.yaml" in written["shown"]


def test_options_take_the_place_of_a_runs_settings(run, corpus, tmp_path, capsys):
    options = ["--length", "16", "--samples", "7", "--masking", "token", "--ratio", "0.2", "--packed"]
    written = _written(capsys, run[0], corpus, tmp_path / "figures.json", *options)
    shown = {key: written[key] for key in ("length", "samples", "masking", "ratio", "pairs")}
    assert shown == {"length": 16, "samples": 7, "masking": "token", "ratio": 0.2, "pairs": False}


def test_a_corpus_of_another_vocabulary_is_refused(cached, tmp_path, capsys):
    other = make_corpus(tmp_path / "other", GOLDENS / "nezha_k8", lower_case=False)
    assert main(["evaluate", NEZHA, str(other.folder), *cached]) == 1
    assert "prepared with another vocabulary" in capsys.readouterr().err


def test_a_corpus_without_held_out_documents_is_refused_with_the_remedy(cached, tmp_path, capsys):
    whole = make_corpus(tmp_path / "whole", GOLDENS / "nezha_k8", holdout=0.0)
    assert main(["evaluate", NEZHA, str(whole.folder), *cached]) == 1
    assert "no held-out documents" in capsys.readouterr().err


def test_a_length_beyond_absolute_positions_is_refused(corpus, cached, capsys):
    bert = str(GOLDENS / "bert")
    assert main(["evaluate", bert, corpus, *cached[:2], "--length", "100000", "--device", "cpu"]) == 1
    assert "absolute positions" in capsys.readouterr().err


def test_a_folder_without_a_masked_lm_head_is_refused(corpus, cached, capsys):
    assert main(["evaluate", str(GOLDENS / "nezha_base_model"), corpus, *cached]) == 1
    assert "has no masked_lm head" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["evaluate", NEZHA, "nowhere"], 1, "no prepared corpus here"),
        (["evaluate", "nowhere", "corpus"], 1, "nowhere: no such model folder"),
        (["evaluate", NEZHA, "corpus", "--length", "0"], 2, "--length: expected a number above 0"),
        (["evaluate", NEZHA, "corpus", "--ratio", "1.5"], 2, "--ratio: expected a share between 0 and 1"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, code, message):
    assert main(arguments) == code
    assert message in capsys.readouterr().err
