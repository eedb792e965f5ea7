"""Recipes: bases, overrides, origins, and every message that a wrong one gives."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ms_plm.common.errors import UsageError, UserError
from ms_plm.config.loading import load_recipe, resolve_recipe, save_resolved

BASE = """\
kind: pretrain
description: the base
model:
  hidden_size: 64
  num_attention_heads: 4
data:
  corpus: somewhere
  masking:
    ratio: 0.2
train:
  steps: 100
  batch: 8
  schedule:
    warmup_steps: 10
output:
  examples: ["a [MASK]", "b [MASK]"]
"""


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """A function that writes recipe files into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            Path(f"{name}.yaml").write_text(text, encoding="utf-8")

    write(base=BASE)
    return write


def complaint(name: str, overrides=None) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(name, overrides)
    return str(caught.value)


def test_a_recipe_is_read_into_typed_frozen_objects(recipes):
    recipe = load_recipe("base.yaml")
    assert (recipe.name, recipe.train.steps, recipe.data.masking.ratio) == ("base", 100, 0.2)
    assert recipe.output.examples == ("a [MASK]", "b [MASK]")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.train.steps = 5


def test_a_child_inherits_values_but_not_name_and_description(recipes):
    recipes(child="base: base.yaml\nmodel: {hidden_size: 128}\noutput: {examples: ['c [MASK]']}\n")
    child = load_recipe("child.yaml")
    assert (child.name, child.description) == ("child", "")
    assert (child.model.hidden_size, child.model.num_attention_heads) == (128, 4)
    assert child.output.examples == ("c [MASK]",)  # lists are replaced whole


def test_a_base_is_found_beside_the_file_that_names_it(recipes, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "child.yaml").write_text("base: ../base.yaml\n", encoding="utf-8")
    monkeypatch.chdir("/")
    assert load_recipe(tmp_path / "sub" / "child.yaml").train.steps == 100


def test_bases_may_be_stacked(recipes):
    recipes(middle="base: base.yaml\ntrain: {batch: 16}\n", child="base: middle.yaml\ntrain: {seed: 9}\n")
    train = load_recipe("child.yaml").train
    assert (train.steps, train.batch, train.seed) == (100, 16, 9)


def test_a_circle_of_bases_is_refused(recipes):
    recipes(a="base: b.yaml\n", b="base: a.yaml\n")
    assert "b.yaml:1: base: goes round in a circle: a.yaml -> b.yaml -> a.yaml" in complaint("a.yaml")


@pytest.mark.parametrize(
    ("base", "message"),
    [("[a, b]", "expected the name of one recipe file, found"), ("gone.yaml", "no such file: gone.yaml")],
)
def test_a_wrong_base_is_named(recipes, base, message):
    recipes(child=f"\nbase: {base}\n")
    text = complaint("child.yaml")
    assert text.startswith("child.yaml:2: base: ")
    assert message in text


@pytest.mark.parametrize("overrides", [["train.epochs=2.5"], {"train.epochs": 2.5}])
def test_epochs_above_clear_steps_below(recipes, overrides):
    train = load_recipe("base.yaml", overrides).train
    assert (train.steps, train.epochs) == (None, 2.5)


def test_the_same_holds_in_a_child_and_for_sources_of_data_and_warm_up(recipes):
    recipes(child="base: base.yaml\ntrain: {epochs: 1, schedule: {warmup_ratio: 0.1}}\ndata: {text: {files: [x]}}\n")
    child = load_recipe("child.yaml")
    assert (child.train.steps, child.train.epochs) == (None, 1)
    assert (child.train.schedule.warmup_steps, child.train.schedule.warmup_ratio) == (None, 0.1)
    assert child.data.corpus is None
    assert child.data.text[0].files == ("x",)


def test_both_in_one_layer_is_an_error(recipes):
    recipes(both=BASE.replace("steps: 100", "steps: 100\n  epochs: 2"))
    assert complaint("both.yaml") == "both.yaml:10: train: give one of steps and epochs."
    assert "give one of steps and epochs" in complaint("base.yaml", ["train.steps=1", "train.epochs=2"])


def test_continuing_from_a_folder_drops_the_inherited_configuration(recipes):
    model = load_recipe("base.yaml", ["model.from=runs/x/model"]).model
    assert model.from_ == "runs/x/model"
    assert model.model_fields_set == {"from_"}
    assert "remove hidden_size" in complaint("base.yaml", ["model.from=x", "model.hidden_size=32"])


def test_null_removes_an_inherited_value(recipes):
    recipes(child="base: base.yaml\noutput: {export: {length: 64}}\n")
    assert load_recipe("child.yaml").output.export.length == 64
    assert load_recipe("child.yaml", ["output.export=null"]).output.export is None


def test_overrides_are_yaml_values(recipes):
    recipe = load_recipe(
        "base.yaml",
        ["train.optimizer.learning_rate=1e-3", "data.nsp=false", 'output.examples=["x [MASK]"]', "impl.kernels={a: b}"],
    )
    assert recipe.train.optimizer.learning_rate == 1e-3
    assert recipe.data.nsp is False
    assert recipe.output.examples == ("x [MASK]",)
    assert recipe.impl.kernels == {"a": "b"}


def test_overriding_does_not_change_what_the_caller_passed(recipes):
    overrides = {"model": {"hidden_size": 32}, "model.num_hidden_layers": 3}
    assert load_recipe("base.yaml", overrides).model.num_hidden_layers == 3
    assert overrides == {"model": {"hidden_size": 32}, "model.num_hidden_layers": 3}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["train.steps"], "expected key=value, such as train.steps=100"),
        (["=3"], "expected a key such as train.steps"),
        (["train..steps=3"], "expected a key such as train.steps"),
        (["base=other.yaml"], "base can only be set in a file"),
        (["train.steps=1", "train.steps=2"], "train.steps is given twice"),
        (["train=1", "train.steps=2"], "train is given as a whole beside it"),
    ],
)
def test_a_malformed_override_is_a_usage_error(recipes, items, message):
    with pytest.raises(UsageError, match="command line") as caught:
        load_recipe("base.yaml", items)
    assert message in str(caught.value)


def test_an_override_that_is_not_yaml_says_to_quote(recipes):
    assert "command line: output.examples:1: this is not YAML" in complaint("base.yaml", ["output.examples=[a"])


def test_a_mapping_cannot_reach_into_a_list(recipes):
    recipes(many=BASE.replace("corpus: somewhere", "text: [{files: [a]}, {files: [b]}]"))
    text = complaint("many.yaml", ["data.text.dedup=true"])
    assert text.startswith("command line: data.text is a list in many.yaml:7; a list is replaced as a whole")


def test_everything_wrong_is_reported_at_once_with_its_place(recipes):
    recipes(child="base: base.yaml\nmodel:\n  num_layers: 3\nimpl:\n  precision: fp61\ndata:\n  max_length: 4\n")
    lines = complaint("child.yaml", ["train.stepz=3", "log.every=0"]).splitlines()
    assert lines[0] == "child.yaml: 5 things are wrong."
    assert sorted(line.strip() for line in lines[1:]) == [
        "child.yaml:3: model.num_layers: unknown key; did you mean model.num_hidden_layers?",
        "child.yaml:5: impl.precision: expected fp32, fp16 or bf16, found 'fp61'. Did you mean fp16?",
        "child.yaml:7: data.max_length: expected greater than or equal to 8, found 4.",
        "command line: log.every: expected greater than 0, found 0.",
        "command line: train.stepz: unknown key; did you mean train.steps?",
    ]


def test_a_value_that_a_section_cannot_hold_points_to_the_base_it_came_from(recipes):
    recipes(bad=BASE.replace("ratio: 0.2", "ratio: 2"), child="base: bad.yaml\n")
    assert complaint("child.yaml") == "bad.yaml:9: data.masking.ratio: expected less than 1, found 2."


def test_origins_say_who_set_what(recipes):
    recipes(child="base: base.yaml\ntrain:\n  batch: 16\n")
    resolved = resolve_recipe("child.yaml", ["train.seed=3", "data.text={files: [x]}"])
    origins = {".".join(path): str(origin) for path, origin in resolved.origins.items()}
    assert origins["model.hidden_size"] == "base.yaml:4"
    assert origins["train.batch"] == "child.yaml:3"
    assert origins["train.seed"] == origins["data.text.files"] == "command line"
    assert "data.corpus" not in origins
    assert "train.clip_norm" not in origins


def test_a_resolved_recipe_reads_back_equal(recipes, tmp_path):
    cases = (
        load_recipe("base.yaml"),
        load_recipe("base.yaml", ["model.from=x"]),
        load_recipe("base.yaml", ["data.text=[{files: [a], columns: ['1e-4', no]}, {files: [b]}]", "name=春"]),
        load_recipe("base.yaml", ["output.export={length: dynamic}", "impl.kernels={attention: reference}"]),
    )
    for recipe in cases:
        save_resolved(recipe, tmp_path / "resolved.yaml")
        assert load_recipe(tmp_path / "resolved.yaml") == recipe


def test_a_run_folder_stands_for_its_recipe(recipes, tmp_path):
    (tmp_path / "runs" / "r").mkdir(parents=True)
    save_resolved(load_recipe("base.yaml"), tmp_path / "runs" / "r" / "recipe.yaml")
    recipe = load_recipe("runs/r")
    assert recipe.output.folder == "runs/r"  # where it stands, not where it was started
    assert recipe.model_copy(update={"output": load_recipe("base.yaml").output}) == load_recipe("base.yaml")
    assert load_recipe("runs/r", ["output.folder=runs/other"]).output.folder == "runs/other"
