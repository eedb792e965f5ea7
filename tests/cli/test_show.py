"""`ms-plm show`."""

from pathlib import Path

import pytest

from ms_plm.cli.main import main
from ms_plm.config.loading import load_recipe


@pytest.fixture
def child(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(
        "kind: pretrain\ntrain:\n  steps: 5\ndata: {corpus: c, masking: {ratio: 0.2}}\n", encoding="utf-8"
    )
    Path("child.yaml").write_text("base: base.yaml\ntrain: {batch: 8}\n", encoding="utf-8")
    return "child.yaml"


def lines(capsys) -> dict[str, str]:
    found = {}
    for line in capsys.readouterr().out.splitlines()[1:]:
        text, _, origin = line.partition("  # ")
        found[text.strip()] = origin.strip()
    return found


def test_every_value_is_shown_with_its_origin(child, capsys):
    assert main(["show", child, "train.seed=4"]) == 0
    shown = lines(capsys)
    assert shown["steps: 5"] == "base.yaml:3"
    assert shown["batch: 8"] == "child.yaml:2"
    assert shown["seed: 4"] == "command line"
    assert shown["clip_norm: 1.0"] == "default"
    assert shown['name: "child"'] == "the file's name"
    assert shown["ratio: 0.2"] == "base.yaml:4"
    assert shown["train:"] == ""


def test_set_leaves_out_the_defaults(child, capsys):
    assert main(["show", child, "--set"]) == 0
    assert "default" not in lines(capsys).values()


def test_what_is_shown_is_a_recipe_again(child, capsys):
    assert main(["show", child]) == 0
    Path("again.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_recipe("again.yaml") == load_recipe(child)


def test_a_model_from_a_folder_is_shown_as_such(child, capsys):
    assert main(["show", child, "model.from=runs/x/model"]) == 0
    shown = lines(capsys)
    assert shown['from: "runs/x/model"'] == "command line"
    assert not any(text.startswith("hidden_size") for text in shown)


def test_keys_explains_every_key_with_its_default(capsys):
    assert main(["show", "--keys"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["train.optimizer.name"].split()[1:] == ['"adamw"', "adamw,", "lamb"]
    assert rows["impl.micro_batch"].split()[1] == "null"
    assert "sequences per update over all devices" in rows["train.batch"]
    assert {"kind", "model.from", "data.text.files", "method.objective", "output.export.format"} <= set(rows)


def test_neither_a_recipe_nor_keys_is_wrong_usage(capsys):
    assert main(["show"]) == 2
    assert "name a recipe" in capsys.readouterr().err


def test_a_recipes_precision_is_told_in_full(child, capsys):
    assert main(["show", child, "impl.precision=fp16", "impl.device=ascend"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("# impl.precision fp16: products in float16; parameters, layer_norm, softmax")
    assert "doctor --soc" in last


def test_a_suite_shows_its_tasks_what_it_sets_for_all_and_its_runs(child, capsys):
    assert main(["show", "glue_all", "train.repeats=2"]) == 0
    text = capsys.readouterr().out
    assert text.endswith("# 16 runs of 8 tasks\n")
    Path("again.yaml").write_text(text, encoding="utf-8")
    assert load_recipe("again.yaml") == load_recipe("glue_all", {"train.repeats": 2})
    assert "repeats: 2" in text


def test_a_recipe_of_several_runs_shows_how_many(child, capsys):
    assert main(["show", child, "grid.train.batch=[4, 8]", "train.repeats=3"]) == 0
    text = capsys.readouterr().out
    assert text.endswith("# 6 runs: 2 combinations x 3 seeds\n")


def test_keys_of_a_suite_are_explained(capsys):
    assert main(["show", "--keys", "suite"]) == 0
    text = capsys.readouterr().out
    assert "suite.tasks.figures" in text
    assert "data.max_length" not in text
