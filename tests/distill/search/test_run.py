"""A search as a run: what it leaves, how it goes on, what it refuses, the verb."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import tiny_search
from fake_workers import FakeWorkers

import ms_plm
from ms_plm.cli.main import main
from ms_plm.common.errors import UserError
from ms_plm.distill.search import run as run_module

FILES = {"search.jsonl", "contribution.json", "layer_map.json", "report.md", "recipe.yaml", "train.log"}


@pytest.fixture
def workers(monkeypatch):
    made = FakeWorkers((0, 2), ["own accuracy"])
    monkeypatch.setattr(run_module, "Workers", made)
    return made


@pytest.fixture(scope="module")
def made(base, tmp_path_factory) -> Path:
    """A recipe with its teacher and its task."""
    folder = tmp_path_factory.mktemp("search")
    tiny_search.recipe(base, folder / "recipe")
    return folder


def start(made: Path, folder: Path, changes: dict | None = None, **options):
    return ms_plm.run(made / "recipe" / "recipe.yaml", {"output.folder": str(folder), **(changes or {})}, **options)


def evaluations(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "search.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_search_leaves_a_map_every_evaluation_and_a_report(made, workers, tmp_path):
    folder = tmp_path / "run"
    result = start(made, folder)
    assert (result.finished, result.exit_code, result.model_folder) == (True, 0, None)
    assert {path.name for path in folder.iterdir()} >= FILES
    found = json.loads((folder / "layer_map.json").read_text(encoding="utf-8"))
    assert found["layer_map"] == [0, 2]
    assert found["baselines"] == {"uniform": [1, 3], "last layer": [0, 3], "contribution": [1, 3]}
    assert len(evaluations(folder)) == 7 + 3  # the best map and two different baselines with another seed
    assert result.figures == {"fitness": found["fitness"]}
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# tiny\n")
    assert "| uniform, contribution | (1, 3) |" in report
    assert result.summary.endswith("method.layer_map='[0, 2]', RECIPE being of kind general_distill")
    log = (folder / "train.log").read_text(encoding="utf-8")
    assert "generation 0: 4 of 7 maps evaluated" in log


def test_a_search_that_was_cut_goes_on_where_it_was(made, workers, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    start(made, whole)
    count = len(workers.asked)
    workers.asked.clear()
    workers.fails = 4
    with pytest.raises(UserError, match="worker 1 of 1 ended with code 3"):
        start(made, folder)
    assert len(evaluations(folder)) == 3  # and the layers that were skipped
    workers.fails = float("inf")
    assert start(made, folder, resume=True).finished
    assert len(workers.asked) == count
    maps = [json.loads((one / "layer_map.json").read_text(encoding="utf-8")) for one in (folder, whole)]
    assert all(found.pop("seconds") >= 0 and (found["maps"], found["processes"]) == (7, 2) for found in maps)
    assert maps[0] == maps[1]
    reports = [(one / "report.md").read_text(encoding="utf-8").splitlines() for one in (folder, whole)]
    assert all(one == other or "over all starts" in one for one, other in zip(*reports, strict=True))
    assert any("over all starts, compiling included, by 2 processes" in line for line in reports[0])


def test_a_signal_stops_it_and_says_how_to_go_on(made, workers, tmp_path, monkeypatch):
    folder, answer = tmp_path / "run", workers._answer

    def with_signal(job):
        if len(workers.asked) == 3:
            signal.raise_signal(signal.SIGTERM)
        return answer(job)

    monkeypatch.setattr(workers, "_answer", with_signal)
    result = start(made, folder)
    assert (result.finished, result.exit_code) == (False, 1)
    assert result.summary == f"Stopped: SIGTERM received. Continue with: ms-plm search-layer-map {folder} --resume"
    assert len(evaluations(folder)) == 2


def test_a_search_without_time_left_is_cut_but_has_not_failed(made, workers, tmp_path):
    result = start(made, tmp_path / "run", {"train.budget_minutes": 1e-9})
    assert (result.finished, result.exit_code) == (False, 0)
    assert "train.budget_minutes is used up" in result.summary


def test_more_maps_may_be_evaluated_later(made, workers, tmp_path):
    folder = tmp_path / "run"
    start(made, folder)
    before = len(workers.asked)
    changes = {"method.evolution.evaluations": 9, "method.processes": 1}
    start(made, folder, changes, resume=True)
    assert len(workers.asked) - before == 2
    assert len({tuple(line["gene"]) for line in evaluations(folder)}) == 9


def test_it_does_not_go_on_in_another_setting(made, workers, tmp_path):
    folder = tmp_path / "run"
    start(made, folder)
    with pytest.raises(UserError, match="train.steps was 3, is 4"):
        start(made, folder, {"train.steps": 4}, resume=True)
    other = tmp_path / "other"
    shutil.copytree(made, other)
    task = other / "train.tsv"
    task.write_text(task.read_text(encoding="utf-8").replace("glad", "sad", 1), encoding="utf-8")
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace(str(made), str(other)), encoding="utf-8")
    with pytest.raises(UserError, match="search.jsonl:1: this map was evaluated in another setting"):
        ms_plm.run(folder, resume=True)


def test_a_teacher_that_reads_text_otherwise_is_another_setting(base, tmp_path):
    recipe = tiny_search.recipe(base, tmp_path / "run")
    before = run_module.setting_of(recipe)
    settings = tmp_path / "teacher/tokenizer_config.json"
    settings.write_text(settings.read_text(encoding="utf-8").replace('"do_lower_case": true', '"do_lower_case": false'))
    after = run_module.setting_of(recipe)
    assert [key for key in before if before[key] != after[key]] == ["teacher"]


def test_what_cannot_begin_leaves_no_folder(made, workers, tmp_path):
    workers.fails = 0
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="worker 1"):
        start(made, folder)
    with pytest.raises(UserError, match="the student has 4 layers, its teacher 3"):
        start(made, folder, {"model.num_hidden_layers": 4})
    assert not folder.exists()


def test_a_search_in_which_every_map_comes_to_nothing_says_so(made, workers, tmp_path, monkeypatch):
    def nothing(job):
        return [3.0, 0.0, 1.0] if job.get("skipped") else {"figures": {"own accuracy": float("nan")}, "seconds": 1.0}

    monkeypatch.setattr(workers, "_answer", nothing)
    with pytest.raises(UserError, match="no map came to a figure on every task"):
        start(made, tmp_path / "run")


def test_the_verb_carries_it_out_and_no_other_kind(made, workers, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["search-layer-map", str(made / "recipe" / "recipe.yaml"), f"output.folder={folder}"]) == 0
    assert "| found | (0, 2) |" in capsys.readouterr().out
    assert main(["search-layer-map", "quickstart"]) == 2
    assert "quickstart is of kind pretrain; expected search_layer_map" in capsys.readouterr().err


@pytest.mark.slow
def test_real_processes_search_and_a_killed_search_ends_as_one_that_was_not(made, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(made, whole).finished
    start(made, cut, {"train.budget_minutes": 1e-9})  # makes the folder
    lines = (whole / "search.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (cut / "search.jsonl").write_text("".join(lines[:3]) + lines[3][:20], encoding="utf-8")
    changes = {"train.budget_minutes": None, "method.processes": 1}
    assert start(made, cut, changes, resume=True).finished

    def figures(folder: Path) -> dict:
        return {(tuple(line["gene"]), line["seed"]): line["figures"] for line in evaluations(folder)}

    assert figures(cut) == figures(whole)
    maps = [json.loads((folder / "layer_map.json").read_text(encoding="utf-8")) for folder in (cut, whole)]
    assert all(found.pop("seconds") > 0 for found in maps)
    assert [found.pop("processes") for found in maps] == [1, 2]
    assert maps[0] == maps[1]
