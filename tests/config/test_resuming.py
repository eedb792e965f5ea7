"""Which recipe a run that exists may go on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe, save_resolved
from ms_plm.config.resuming import check_same

GIVEN = {"model.from": "M", "data.folder": "RTE"}
REPEATED = {"train.repeats": 2}


def again(tmp_path: Path, before: dict, after: dict) -> None:
    save_resolved(load_recipe("bert_base_rte", {**GIVEN, **before}), tmp_path / "recipe.yaml")
    check_same(tmp_path / "recipe.yaml", load_recipe("bert_base_rte", {**GIVEN, **after}))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"model.from": "elsewhere/M", "impl.micro_batch": 8, "train.budget_minutes": 3}),
        (REPEATED, {"train.repeats": 5, "impl.micro_batch": 8, "train.budget_minutes": 3, "output.checkpoints": False}),
        ({"grid.train.batch": [8]}, {"grid.train.batch": [8, 16], "train.repeats": 3}),
        ({"data.augmented": "a.jsonl"}, {"data.augmented": "moved/a.jsonl"}),
    ],
)
def test_what_changes_no_result_may_change_and_runs_may_be_added(tmp_path: Path, before: dict, after: dict) -> None:
    again(tmp_path, before, after)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({}, {"train.batch": 8}, "train.batch was 32, is 8"),
        (REPEATED, {**REPEATED, "train.seed": 2}, "train.seed was 1, is 2"),
        (REPEATED, {**REPEATED, "data.folder": "other"}, "data.folder was 'RTE', is 'other'"),
        (REPEATED, {**REPEATED, "train.checkpoint.best": "loss"}, "train.checkpoint.best was 'metric', is 'loss'"),
        ({}, REPEATED, "was started as one run and is now repeats"),
        ({"grid.train.batch": [8]}, {}, "was started as a grid and is now one run"),
    ],
)
def test_what_would_mix_results_is_refused(tmp_path: Path, before: dict, after: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        again(tmp_path, before, after)
    assert text in str(caught.value)
    assert str(tmp_path / "recipe.yaml") in str(caught.value)


def tasks(folder: str, rows: int = 100) -> dict:
    return {"method.tasks": [{"task": "glue/sst-2", "folder": folder, "rows": rows}]}


def test_the_tasks_of_a_search_may_lie_elsewhere_and_be_no_others(tmp_path: Path) -> None:
    given = {"method.teacher.from": "T", "data.corpus": "C"}
    save_resolved(load_recipe("elm_small_search", {**given, **tasks("SST-2")}), tmp_path / "recipe.yaml")
    check_same(tmp_path / "recipe.yaml", load_recipe("elm_small_search", {**given, **tasks("moved/SST-2")}))
    with pytest.raises(UserError, match=r"method\.tasks\.0\.rows was 100, is 200"):
        check_same(tmp_path / "recipe.yaml", load_recipe("elm_small_search", {**given, **tasks("SST-2", 200)}))


def test_a_run_beside_others_may_not_have_another_parent(tmp_path: Path) -> None:
    save_resolved(load_recipe("bert_base_rte", GIVEN), tmp_path / "recipe.yaml")
    other = load_recipe("bert_base_rte", {**GIVEN, "model.from": "N", "evaluate.every_epochs": 0.5, "log.every": 7})
    check_same(tmp_path / "recipe.yaml", other)
    with pytest.raises(UserError, match="evaluate.every_epochs was 1.0, is 0.5; model.from was 'M', is 'N'"):
        check_same(tmp_path / "recipe.yaml", other, beside_others=True)
