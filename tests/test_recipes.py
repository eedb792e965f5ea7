"""Every shipped recipe is valid and its header says what a user must know."""

import re

import pytest

from ms_plm.config.loading import list_recipes, load_recipe
from ms_plm.config.places import recipe_root

RECIPES = list_recipes()
HEADINGS = ("Follows", "Expected", "Hardware", "Time", "Command")


def header(name: str) -> dict[str, str]:
    """The parts of the comment at the head of a recipe: its introduction under "", the others under their headings."""
    parts, heading = {"": ""}, ""
    for line in RECIPES[name].read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := re.match(rf"# ({'|'.join(HEADINGS)}): +(.*)", line):
            heading = match.group(1)
            parts[heading] = match.group(2)
        else:
            parts[heading] += "\n" + line[1:].strip()
    return parts


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_valid_and_described(name):
    recipe = load_recipe(name)
    assert recipe.description
    assert recipe.name == name.rpartition("/")[2]
    assert name.startswith("suites/") == (recipe.kind == "suite")


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_what_it_follows_expects_and_needs_and_how_it_is_run(name):
    parts = header(name)
    assert parts[""].strip()
    for heading in HEADINGS:
        assert parts.get(heading, "").strip(), f"{name}: the header has no {heading}:"
    started = [f"{program} {name.rpartition('/')[2]}" for program in ("ms-plm run", "python -m ms_plm_ascend.launch")]
    assert any(command in parts["Command"] for command in started)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("_ascend")])
def test_an_ascend_recipe_names_its_device_and_divides_over_8(name):
    recipe = load_recipe(name)
    assert recipe.impl.device == "ascend"
    assert recipe.impl.exact_resume is False
    assert recipe.train.batch % (8 * recipe.impl.micro_batch) == 0
    assert "Not yet run on hardware" in header(name)["Hardware"]


@pytest.mark.parametrize(
    ("name", "layers", "hidden", "heads", "batch", "rate", "micro"),
    [
        ("nezha_base_pretrain_ascend", 12, 768, 12, 14400, 1.8e-4, 225),
        ("nezha_large_pretrain_ascend", 24, 1024, 16, 5120, 1e-4, 80),
    ],
)
def test_the_published_settings_are_those_of_the_report(name, layers, hidden, heads, batch, rate, micro):
    recipe = load_recipe(name)
    model, train = recipe.model, recipe.train
    assert (model.num_hidden_layers, model.hidden_size, model.num_attention_heads) == (layers, hidden, heads)
    assert model.intermediate_size == 4 * hidden
    assert (train.batch, train.optimizer.name, train.optimizer.learning_rate) == (batch, "lamb", rate)
    assert (train.schedule.warmup_steps, recipe.impl.micro_batch, recipe.impl.precision) == (1800, micro, "fp16")
    assert (recipe.data.max_length, recipe.data.masking.strategy) == (128, "whole_word")


@pytest.mark.parametrize(
    ("absolute", "relative"),
    [
        ("bert_tiny_pretrain_zh", "nezha_tiny_pretrain_zh"),
        ("bert_base_pretrain_ascend", "nezha_base_pretrain_ascend"),
    ],
)
def test_bert_differs_from_nezha_in_its_positions_only(absolute, relative):
    def rest(name: str) -> dict:
        recipe = load_recipe(name)
        positions = {"model_type", "position_embedding_type", "max_position_embeddings"}
        values = recipe.model_dump(exclude={"name", "description"})
        values["model"] = {key: value for key, value in values["model"].items() if key not in positions}
        return values

    assert rest(absolute) == rest(relative)
    assert load_recipe(absolute).model.position_embedding == "absolute"
    assert load_recipe(relative).model.position_embedding == "functional_relative"


def test_recipes_hold_no_python():
    files = [path.name for path in recipe_root().rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert all(name.endswith(".yaml") or name == "__init__.py" for name in files)
