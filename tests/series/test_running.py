"""Several runs as one, from the recipe to the report: what is carried out, skipped, continued, chosen and told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import ms_plm
from ms_plm.common.errors import UsageError, UserError
from ms_plm.config.loading import load_recipe

RTE = "bert_base_rte"


def figures(folder: Path) -> dict:
    return json.loads((folder / "figures.json").read_text(encoding="utf-8"))


def start(fake, overrides: dict | None = None, recipe: str = RTE, **options):
    changes = {"model.from": "MODEL", "data.folder": "RTE", "output.folder": str(fake.top), **(overrides or {})}
    return ms_plm.run(recipe, changes, **options)


def test_every_seed_is_a_run_and_the_result_is_the_best_one(fake) -> None:
    fake.value = lambda recipe: {1: 0.5, 2: 0.9, 3: 0.7}[recipe.train.seed]
    result = start(fake, {"train.repeats": 3})
    assert fake.carried == ["seed-1", "seed-2", "seed-3"]
    assert (result.finished, result.exit_code, result.model_folder) == (True, 0, fake.top / "model")
    assert result.figures["accuracy"] == pytest.approx(0.7)
    assert (fake.top / "model" / "model.safetensors").read_text() == "seed-2"
    found = figures(fake.top)
    assert (found["best"], found["count"]) == ("seed-2", 3)
    assert found["std"]["accuracy"] == pytest.approx(0.2)  # of 0.5, 0.7, 0.9, divided by n - 1
    report = (fake.top / "report.md").read_text(encoding="utf-8")
    assert "| **mean** | 0.3000 |" in report
    assert "`model/` is that of seed-2: the run with the highest accuracy (0.9000) of 3 runs." in report
    assert "the mean is the one to report" in report
    assert result.summary.endswith(f"Next: ms-plm predict {fake.top}/model 'a text'")


def test_the_model_says_what_it_was_best_of_and_the_runs_own_does_not(fake) -> None:
    start(fake, {"train.repeats": 2})
    config = json.loads((fake.top / "model" / "config.json").read_text(encoding="utf-8"))
    chosen = config["provenance"]["chosen"]
    assert (chosen["run"], chosen["of"], chosen["by"], chosen["value"]) == ("seed-2", 2, "metric", 0.52)
    own = json.loads((fake.top / "seed-2" / "model" / "config.json").read_text(encoding="utf-8"))
    assert "chosen" not in own["provenance"]


def test_a_signal_stops_the_whole_and_resume_goes_on_there(fake) -> None:
    fake.ends["seed-2"] = "signal"
    result = start(fake, {"train.repeats": 3})
    assert (result.finished, result.exit_code) == (False, 1)
    assert result.summary == (
        f"Stopped: SIGTERM received in run 2 of 3: seed-2. Continue with: ms-plm run {fake.top} --resume"
    )
    assert not (fake.top / "figures.json").exists()
    fake.carried.clear()
    assert ms_plm.run(fake.top, resume=True).finished
    assert fake.carried == ["seed-2", "seed-3"]
    log = (fake.top / "train.log").read_text(encoding="utf-8")
    assert "run 1 of 3: seed-1: finished before" in log
    assert "run 2 of 3: seed-2 (goes on)" in log


def test_more_seeds_may_be_added_later(fake) -> None:
    start(fake, {"train.repeats": 2})
    start(fake, {"train.repeats": 4}, resume=True)
    assert fake.carried == ["seed-1", "seed-2", "seed-3", "seed-4"]
    assert figures(fake.top)["count"] == 4


def test_a_run_that_fails_is_left_out_and_tried_again(fake) -> None:
    fake.ends["seed-2"] = 1
    result = start(fake, {"train.repeats": 3})
    assert fake.carried == ["seed-1", "seed-2", "seed-3"]
    assert (result.finished, result.exit_code) == (False, 1)
    assert f"seed-2 failed: ended with code 1; see {fake.top}/seed-2/train.log" in result.summary
    assert figures(fake.top)["missing"] == ["seed-2"]
    fake.carried.clear()
    assert start(fake, {"train.repeats": 3}, resume=True).exit_code == 0
    assert fake.carried == ["seed-2"]
    assert figures(fake.top)["missing"] == []


def test_where_the_first_run_cannot_begin_nothing_is_left(fake) -> None:
    fake.ends["seed-1"] = "no start"
    with pytest.raises(UserError, match="seed-1, the first run, ended with code 1 before it began"):
        start(fake, {"train.repeats": 3})
    assert fake.carried == ["seed-1"]
    assert not fake.top.exists()


def test_the_time_is_that_of_the_whole_command(fake) -> None:
    fake.ends["seed-2"] = "budget"
    result = start(fake, {"train.repeats": 3, "train.budget_minutes": 60})
    assert (result.finished, result.exit_code) == (False, 0)
    assert "train.budget_minutes is used up in run 2 of 3: seed-2" in result.summary
    first, second = (float(given[0].removeprefix("train.budget_minutes=")) for given in fake.overrides)
    assert 59 < second < first <= 60
    assert ms_plm.run(fake.top, {"train.budget_minutes": 30}, resume=True).finished


def test_a_grid_is_a_table_sorted_by_the_mean_and_its_best_point_gives_the_model(fake) -> None:
    fake.value = lambda r: (
        0.5 + (r.train.optimizer.learning_rate == 3e-5) * 0.1 + r.train.batch / 1000 + r.train.seed / 100
    )
    grid = {"grid.train.optimizer.learning_rate": [2e-5, 3e-5], "grid.train.batch": [16, 32], "train.repeats": 2}
    result = start(fake, grid)
    assert fake.carried[:3] == [
        "learning_rate-2e-05_batch-16/seed-1",
        "learning_rate-2e-05_batch-16/seed-2",
        "learning_rate-2e-05_batch-32/seed-1",
    ]
    assert len(fake.carried) == 8
    assert (fake.top / "model" / "model.safetensors").read_text() == "learning_rate-3e-05_batch-32/seed-2"
    assert result.figures["accuracy"] == pytest.approx(0.647)
    rows = [line for line in (fake.top / "report.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert rows[0].startswith("| train.optimizer.learning_rate | train.batch | accuracy | loss |")
    assert [row.split(" | ")[:2] for row in rows[2:]] == [
        ["| 3e-05", "32"],
        ["| 3e-05", "16"],
        ["| 2e-05", "32"],
        ["| 2e-05", "16"],
    ]
    assert "| 0.6470 ± 0.0071 |" in rows[2]
    point = fake.top / "learning_rate-3e-05_batch-32"
    assert (point / "model" / "model.safetensors").read_text() == "learning_rate-3e-05_batch-32/seed-2"
    found = figures(fake.top)
    assert [item["values"]["train.batch"] for item in found["points"]] == [16, 32, 16, 32]
    assert found["best"] == "learning_rate-3e-05_batch-32/seed-2"


def test_without_held_out_figures_the_first_run_is_the_result(fake) -> None:
    fake.value = lambda recipe: math.nan
    start(fake, {"train.repeats": 2})
    assert (fake.top / "model" / "model.safetensors").read_text() == "seed-1"


def test_a_suite_gives_the_row_of_papers(fake, glue: Path) -> None:
    result = start(fake, {"data.folder": str(glue), "train.repeats": 2}, "glue_all")
    assert len(fake.carried) == 16
    report = (fake.top / "report.md").read_text(encoding="utf-8")
    assert "| model | MNLI-m/mm | QQP | QNLI | SST-2 | CoLA | STS-B | MRPC | RTE | avg |" in report
    cell = "51.5±0.7"
    assert f"| MODEL | {cell}/{cell} |{f' {cell} |' * 8}" in report
    assert "| MODEL |" in result.summary
    found = figures(fake.top)
    assert found["average"] == pytest.approx(0.515)
    assert found["average_std"] == pytest.approx(0.00707, abs=1e-5)
    assert [column["state"] for column in found["columns"]] == ["finished"] * 8
    assert (fake.top / "bert_base_mnli" / "model").is_dir()
    assert not (fake.top / "model").exists()


def test_small_tasks_can_start_from_the_model_of_mnli(fake, glue: Path) -> None:
    start(fake, {"data.folder": str(glue)}, "glue_all_from_mnli")
    starts = {name: load_recipe(fake.top / name / "recipe.yaml").model.from_ for name in fake.carried}
    warm = {name for name, place in starts.items() if place == f"{fake.top}/bert_base_mnli/model"}
    assert warm == {"bert_base_rte", "bert_base_sts-b", "bert_base_mrpc"}
    assert {place for name, place in starts.items() if name not in warm} == {"MODEL"}


def test_tasks_without_files_are_skipped_and_said(fake, glue: Path) -> None:
    (glue / "MNLI" / "dev_mismatched.tsv").unlink()
    (glue / "QQP").rename(glue / "elsewhere")
    result = start(fake, {"data.folder": str(glue)}, "glue_all")
    assert result.exit_code == 0
    assert len(fake.carried) == 6
    assert "| - | 51.0 |" in result.summary
    assert "6 of 8 tasks are there; their average, 51.0, is none to compare with." in result.summary
    log = (fake.top / "train.log").read_text(encoding="utf-8")
    assert "bert_base_qqp is skipped" in log
    assert "no dev_mismatched.tsv (dev_mismatched)" in log
    (glue / "elsewhere").rename(glue / "qqp")  # found under another usual name, and added to what is there
    start(fake, {"data.folder": str(glue)}, "glue_all", resume=True)
    assert fake.carried[6:] == ["bert_base_qqp"]


def test_a_suite_may_insist_on_all_of_its_tasks(fake, glue: Path) -> None:
    (glue / "QQP").rename(glue / "elsewhere")
    with pytest.raises(UserError, match="1 of 8 tasks are not there: bert_base_qqp: .*suite.absent=skip"):
        start(fake, {"data.folder": str(glue), "suite.absent": "fail"}, "glue_all")
    with pytest.raises(UserError, match="8 of 8 tasks are not there"):
        start(fake, {"data.folder": str(glue / "nowhere")}, "glue_all")
    assert not fake.top.exists()


def test_a_task_that_fails_leaves_the_others_and_a_dash(fake, glue: Path) -> None:
    fake.ends["bert_base_rte"] = -11
    result = start(fake, {"data.folder": str(glue)}, "glue_all")
    assert result.exit_code == 1
    assert len(fake.carried) == 8
    assert "bert_base_rte failed: was ended by signal 11" in result.summary
    assert "- RTE: failed" in result.summary


def test_a_plan_makes_the_folders_and_starts_nothing(fake) -> None:
    result = start(fake, {"train.repeats": 2}, plan=True)
    assert fake.carried == []
    assert f"  ms-plm run {fake.top}/seed-2 --resume" in result.summary
    assert (fake.top / "seed-2" / "recipe.yaml").is_file()
    assert start(fake, {"train.repeats": 2}, resume=True).finished
    with pytest.raises(UsageError, match="--plan: bert_base_rte is one run"):
        start(fake, {"output.folder": "elsewhere"}, plan=True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"train.repeats": 2, "train.batch": 8}, "train.batch was 32, is 8"),
        ({"train.repeats": 2, "model.from": "OTHER"}, "model.from was 'MODEL', is 'OTHER'"),
        ({"train.repeats": 1}, "was started as repeats .* and is now one run"),
        ({"train.repeats": 2, "grid.train.batch": [8]}, "was started as repeats .* and is now a grid"),
    ],
)
def test_other_values_or_another_form_are_refused_on_resume(fake, changes: dict, text: str) -> None:
    start(fake, {"train.repeats": 2}, plan=True)
    with pytest.raises(UserError, match=text):
        start(fake, changes, resume=True)


def test_overwrite_starts_anew(fake) -> None:
    start(fake, {"train.repeats": 2})
    start(fake, {"train.repeats": 2, "train.batch": 8}, overwrite=True)
    assert fake.carried == ["seed-1", "seed-2"] * 2


def test_msrun_is_refused_with_the_way_to_do_it(fake, monkeypatch) -> None:
    for role in ("MS_WORKER", "MS_SCHED"):
        monkeypatch.setenv("MS_ROLE", role)
        with pytest.raises(UserError, match="cannot be started by msrun.*--plan"):
            start(fake, {"train.repeats": 2})
    assert not fake.top.exists()
