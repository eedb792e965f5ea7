"""The table of `tools/compare_finetuning.py`: means, their difference in standard errors, and what is lacking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import compare_finetuning

    return compare_finetuning


def rows(ours: list[float], theirs: list[float], task: str = "cola", metric: str = "matthews") -> list[dict]:
    made = []
    for framework, values in (("ms_plm", ours), ("transformers", theirs)):
        for seed, value in enumerate(values, 1):
            made.append({"task": task, "framework": framework, "seed": seed, "scores": {metric: value}})
    return made


def test_means_that_are_near_each_other_pass(tool) -> None:
    lines, good = tool.compared(rows([0.20, 0.24, 0.28], [0.22, 0.26, 0.30]), ["cola"])
    assert good
    # a standard error of 0.04 / sqrt(3) each, 0.0327 pooled
    assert lines[2] == "| CoLA | matthews | 0.2400 ± 0.0231 | 0.2600 ± 0.0231 | -0.0200 | -0.61 | 3/3 |"


def test_means_that_are_not_fail(tool) -> None:
    assert not tool.compared(rows([0.20, 0.21, 0.20], [0.25, 0.26, 0.25]), ["cola"])[1]


def test_a_task_that_lacks_seeds_fails_and_is_named(tool) -> None:
    lines, good = tool.compared(rows([0.20, 0.24], [0.22]), ["cola", "sst-2"])
    assert not good
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| CoLA", "| SST-2"]
    assert all("two seeds" in line for line in lines[2:])


def test_a_line_that_was_cut_is_taken_off_the_file(tool, tmp_path: Path, capsys) -> None:
    path = tmp_path / "results.jsonl"
    whole = json.dumps({"task": "cola"})
    path.write_text(f'{whole}\n{{"task": "mr', encoding="utf-8")
    assert tool.finished(path) == [{"task": "cola"}]
    assert path.read_text(encoding="utf-8") == f"{whole}\n"
    assert "its last line is cut" in capsys.readouterr().err
