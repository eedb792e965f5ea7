"""Grids: both ways of writing them, the points, their folders' names, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.grid import flat, nested, point_name, points
from ms_plm.config.loading import load_recipe, save_resolved

RECIPE = """\
kind: finetune
model: {from: M}
data: {task: glue/rte, folder: RTE}
train: {epochs: 3, batch: 32}
grid:
  train.optimizer.learning_rate: [2e-5, 3e-5]
  train:
    batch: [16, 32]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_dotted_keys_and_sections_mean_the_same(recipe: Path) -> None:
    grid = load_recipe(recipe).grid
    assert grid == {"train": {"optimizer": {"learning_rate": [2e-5, 3e-5]}, "batch": [16, 32]}}
    assert nested({".".join(path): values for path, values in flat(grid)}) == grid


def test_every_combination_is_a_point_the_last_key_varying_fastest(recipe: Path) -> None:
    found = [tuple(point.values()) for point in points(load_recipe(recipe).grid)]
    assert found == [(2e-5, 16), (2e-5, 32), (3e-5, 16), (3e-5, 32)]


def test_the_command_line_replaces_the_values_of_a_key_and_adds_keys(recipe: Path) -> None:
    changes = ["grid.train.optimizer.learning_rate=[1e-5]", "grid.data.max_length=[64, 128]"]
    grid = load_recipe(recipe, changes).grid
    assert {".".join(k): v for k, v in flat(grid)} == {
        "train.optimizer.learning_rate": [1e-5],
        "train.batch": [16, 32],
        "data.max_length": [64, 128],
    }


def test_a_grid_survives_being_saved(recipe: Path, tmp_path: Path) -> None:
    first = load_recipe(recipe)
    save_resolved(first, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml", {"name": "r"}) == first
    assert (first.form, first.several) == ("grid", True)


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ({"train": {"optimizer": {"learning_rate": [2e-5]}, "batch": [16]}}, ["learning_rate-2e-05_batch-16"]),
        ({"train": {"epochs": [2, 2.5]}}, ["epochs-2", "epochs-2.5"]),
        ({"method": {"patience": [None, 2]}}, ["patience-null", "patience-2"]),
        ({"model": {"from": ["runs/a/model", "runs/b/model"]}}, ["from-runs-a-model", "from-runs-b-model"]),
        ({"model": {"from": ["a/b", "a b"]}}, ["from-1", "from-2"]),  # names that would be the same are numbered
        ({"a": {"every": [1]}, "b": {"every": [2]}}, ["a.every-1_b.every-2"]),
        ({"train": {"optimizer": [{"name": "lamb"}, {"name": "adamw"}]}}, ["optimizer-1", "optimizer-2"]),
    ],
)
def test_folders_are_named_by_what_is_varied(grid: dict, names: list[str]) -> None:
    assert [point_name(point, grid) for point in points(grid)] == names


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"grid.train.bach": [1, 2]}, "grid.train.bach: unknown key; did you mean grid.train.batch?"),
        ({"grid.train.epochs": 3}, "grid.train.epochs: expected a list of values to try, such as [1, 2], found 3."),
        ({"grid.train.epochs": []}, "grid.train.epochs: expected a list of values"),
        ({"grid.train.seed": [1, 2]}, "grid.train.seed: cannot be varied: set train.repeats for several seeds."),
        ({"grid.output.folder": ["a", "b"]}, "grid.output.folder: cannot be varied"),
        ({"grid.train.batch": [8, 8]}, "grid.train.batch: 8 stands twice."),
        ({"grid.train.batch": [8, "many"]}, "batch-many: train.batch: expected integer, found 'many'."),
        ({"grid.train.batch": [8, 12], "impl.micro_batch": 8}, "train.batch 12 is not a multiple of micro_batch 8"),
        ({"grid.train.batch": list(range(1, 34))}, "2 x 33 = 66 combinations; at most 64 are run."),
        ({"train.repeats": 0}, "train.repeats: expected greater than or equal to 1"),
        ({"grid": 3}, "grid: expected a section"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_when_it_is_read(recipe: Path, changes: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, changes)
    assert text in str(caught.value)
    assert str(caught.value).startswith(("command line", str(recipe)))


def test_a_key_in_both_forms_is_refused(recipe: Path) -> None:
    recipe.write_text(RECIPE + "  train.batch: [8]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"r.yaml: grid: train.batch is given twice"):
        load_recipe(recipe)
