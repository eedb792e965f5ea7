"""Which runs a recipe is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe, save_resolved
from ms_plm.series.plan import plan, runs_of, write_recipes

GIVEN = {"model.from": "MODEL", "data.folder": "RTE"}


def names(recipe, folder: Path) -> list[str]:
    return [str(leaf.folder.relative_to(folder)) for leaf in plan(recipe, folder, look=False).leaves()]


def test_seeds_follow_each_other_from_the_first(tmp_path: Path) -> None:
    recipe = load_recipe("bert_base_rte", {**GIVEN, "train.repeats": 3, "train.seed": 7})
    assert names(recipe, tmp_path) == ["seed-7", "seed-8", "seed-9"]
    leaves = list(plan(recipe, tmp_path).leaves())
    assert [leaf.recipe.train.seed for leaf in leaves] == [7, 8, 9]
    assert {leaf.recipe.train.repeats for leaf in leaves} == {1}
    assert [leaf.recipe.output.folder for leaf in leaves] == [str(leaf.folder) for leaf in leaves]


def test_repeats_stand_inside_a_grid_and_both_inside_a_suite(tmp_path: Path) -> None:
    changes = {"grid.train.batch": [16, 32], "train.repeats": 2}
    suite = load_recipe("glue_all", changes)
    found = names(suite, tmp_path)
    assert len(found) == 32
    assert found[:3] == [
        "bert_base_mnli/batch-16/seed-1",
        "bert_base_mnli/batch-16/seed-2",
        "bert_base_mnli/batch-32/seed-1",
    ]
    assert runs_of(suite) == "32 runs of 8 tasks"
    assert runs_of(load_recipe("bert_base_rte", {**GIVEN, **changes})) == "4 runs: 2 combinations x 2 seeds"
    assert runs_of(load_recipe("bert_base_rte", {**GIVEN, "train.repeats": 5})) == "5 runs: 5 seeds"


def test_a_point_of_a_grid_obeys_what_excludes_each_other(tmp_path: Path) -> None:
    recipe = load_recipe("bert_base_rte", {**GIVEN, "grid.train.steps": [10, 20]})
    leaves = plan(recipe, tmp_path).leaves()
    assert [(leaf.recipe.train.steps, leaf.recipe.train.epochs) for leaf in leaves] == [(10, None), (20, None)]


def test_what_is_made_of_a_model_is_made_of_the_result_only(tmp_path: Path) -> None:
    more = {"output.export": {"head": "encoder"}, "output.examples": ["a [MASK]"], "train.repeats": 2}
    for leaf in plan(load_recipe("bert_base_rte", {**GIVEN, **more}), tmp_path).leaves():
        assert (leaf.recipe.output.export, leaf.recipe.output.examples) == (None, ())


def test_every_folder_holds_the_recipe_of_its_run(tmp_path: Path) -> None:
    recipe = load_recipe("bert_base_rte", {**GIVEN, "grid.train.batch": [16, 32], "train.repeats": 2})
    top = plan(recipe, tmp_path)
    write_recipes(top)
    for leaf in top.leaves():
        assert load_recipe(leaf.folder) == leaf.recipe
    assert load_recipe(tmp_path / "batch-16") == top.children[0].recipe
    assert top.children[0].recipe.form == "repeats"


def test_nothing_is_written_where_one_run_was_another(tmp_path: Path) -> None:
    recipe = load_recipe("bert_base_rte", {**GIVEN, "train.repeats": 2})
    other = plan(load_recipe("bert_base_rte", {**GIVEN, "train.repeats": 2, "train.batch": 8}), tmp_path)
    second = list(other.leaves())[1]
    second.folder.mkdir()
    save_resolved(second.recipe, second.folder / "recipe.yaml")
    with pytest.raises(UserError, match="seed-2.*train.batch was 8, is 32"):
        write_recipes(plan(recipe, tmp_path))
    assert not (tmp_path / "seed-1").exists()


def test_a_column_of_a_figure_that_the_task_has_not_is_refused() -> None:
    task = {"recipe": "bert_base_rte", "figures": ["f1"]}
    with pytest.raises(UserError, match="bert_base_rte: glue/rte has no figure 'f1'; it has metric, accuracy"):
        runs_of(load_recipe("glue_all", {"suite.tasks": [task]}))


def test_what_goes_on_from_a_task_that_is_skipped_is_skipped(tmp_path: Path) -> None:
    tasks = [
        {"recipe": "bert_base_rte", "name": "rte", "folder": ["RTE"]},
        {"recipe": "bert_base_mrpc", "name": "mrpc", "folder": ["RTE"], "uses": {"model.from": "rte"}},
    ]
    with pytest.raises(UserError, match="mrpc: rte, which it goes on from, is skipped"):
        plan(load_recipe("glue_all", {"suite.tasks": tasks, "data.folder": str(tmp_path)}), tmp_path / "run")


def test_columns_of_every_shipped_suite_are_figures_of_its_tasks() -> None:
    assert runs_of(load_recipe("glue_all")) == "8 runs of 8 tasks"
    assert "tasks" in runs_of(load_recipe("clue_all"))
