"""Suites: which value of which layer a task's recipe has, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe, save_resolved, task_recipe
from ms_plm.config.recipe import Recipe

SUITE = """\
kind: suite
model: {from: M}
data: {folder: ROOT}
train: {batch: 16, repeats: 2}
suite:
  tasks:
    - {recipe: bert_base_rte, title: RTE, folder: [RTE, rte]}
    - {recipe: mine.yaml, overrides: {train.batch: 8, train: {clip_norm: 2}}}
"""
MINE = "kind: finetune\ndata: {task: glue/mrpc, folder: x}\ntrain: {steps: 7, batch: 64}\n"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text(SUITE, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    return tmp_path / "all.yaml"


def recipes(path: Path, changes: dict | None = None) -> list[Recipe]:
    found = load_recipe(path, changes)
    return [task_recipe(found, task) for task in found.suite.tasks]


def test_a_tasks_values_lie_over_the_suites_and_those_over_the_recipes(suite: Path) -> None:
    first, second = recipes(suite)
    assert (first.name, first.train.batch, first.train.epochs, first.train.repeats) == ("bert_base_rte", 16, 4, 2)
    assert (second.name, second.train.batch, second.train.steps, second.train.clip_norm) == ("mine", 8, 7, 2)
    assert {recipe.model.from_ for recipe in (first, second)} == {"M"}


def test_the_command_line_lies_over_everything(suite: Path) -> None:
    changes = {"train.batch": 4, "train.steps": 2, "grid.data.max_length": [32, 64]}
    for recipe in recipes(suite, changes):
        assert (recipe.train.batch, recipe.train.steps, recipe.train.epochs) == (4, 2, None)
        assert recipe.grid == {"data": {"max_length": [32, 64]}}
    assert recipes(suite, changes)[1].train.clip_norm == 2


def test_a_tasks_folder_is_found_by_its_usual_names(suite: Path, tmp_path: Path) -> None:
    root = str(tmp_path / "data")
    assert [r.data.folder for r in recipes(suite, {"data.folder": root})] == [f"{root}/RTE", f"{root}/mine"]
    (tmp_path / "data" / "rte").mkdir(parents=True)
    assert recipes(suite, {"data.folder": root})[0].data.folder == f"{root}/rte"


STAGES = {
    "suite.tasks": [
        {"recipe": "bert_base_mrpc", "name": "first", "folder": ["."]},
        {
            "recipe": "dynabert_small_mrpc_width",
            "name": "second",
            "folder": ["."],
            "uses": {"model.from": "first", "method.teacher.from": "model"},
        },
    ]
}


def test_a_task_goes_on_from_one_before_it(suite: Path) -> None:
    """What it uses stands above what is set for all, the command line included."""
    first, second = recipes(suite, {**STAGES, "model.from": "mine"})
    assert first.model.from_ == "mine"
    assert second.model.from_ == "runs/all/first/model"
    assert second.method.teacher.from_ == "mine"
    assert first.data.folder == second.data.folder == "ROOT"
    assert recipes(suite, {**STAGES, "output.folder": "x"})[1].model.from_ == "x/first/model"


def test_a_saved_suite_reads_as_the_same_anywhere(suite: Path, tmp_path: Path) -> None:
    first = load_recipe(suite, {"train.batch": 4})
    (tmp_path / "run").mkdir()
    save_resolved(first, tmp_path / "run" / "recipe.yaml")
    again = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert again == first
    assert (first.form, first.several, first.parent) == ("suite", True, "M")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"train.optimzer.name": "lamb"}, "command line: train.optimzer: unknown key; did you mean train.optimizer?"),
        ({"suite.absnt": "fail"}, "suite.absnt: unknown key; did you mean suite.absent?"),
        ({"suite.absent": "no"}, "suite.absent: expected skip or fail, found 'no'."),
        ({"train.epochs": "many"}, "task 1 (bert_base_rte): all: train.epochs: expected number, found 'many'"),
        ({"suite.tasks": []}, "suite.tasks: "),
        ({"suite.tasks": [{"recipe": "glue_all"}]}, "is a suite itself"),
        ({"suite.tasks": [{"recipe": "bert_bse_rte"}]}, "Did you mean finetune/bert_base_rte?"),
        ({"suite.tasks": [{"recipe": "bert_base_rte"}] * 2}, "bert_base_rte stands twice; give each of them a name"),
        ({"suite.tasks": [{"recipe": "bert_base_rte", "colum": 1}]}, "suite.tasks.colum: unknown key"),
        (
            {"suite.tasks": [{"recipe": "bert_base_rte", "uses": {"model.from": "bert_base_rte"}}]},
            "bert_base_rte: uses.model.from: bert_base_rte is none before it; expected model",
        ),
        ({"output.examples": ["[MASK]"]}, "output.examples: unknown key"),
        ({"grid.train.seed": [1, 2]}, "set train.repeats for several seeds"),
    ],
)
def test_a_suite_that_cannot_be_is_refused_when_it_is_read(suite: Path, changes: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(suite, changes)
    assert text in str(caught.value)


def test_a_value_that_is_wrong_for_all_tasks_is_told_once(suite: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("glue_all", {"train.epochs": "many"})
    assert str(caught.value).count("many") == 1
