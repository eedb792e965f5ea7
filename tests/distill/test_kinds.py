"""Distillation of every kind of task, as whole runs: what the teacher knows the student knows afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_kinds
import tiny_run
import yaml

import ms_plm

KINDS = {
    "pairs": (lambda folder: tiny_kinds.pairs_data(folder, number=False), "accuracy", 8),
    "regression": (lambda folder: tiny_kinds.pairs_data(folder, number=True), "pearson", 6),
    "tags": (tiny_kinds.tags_data, "entity_f1", 6),
    "answers": (tiny_kinds.questions_data, "squad_f1", 6),
}
"""Kind -> what writes its files, the figure that is looked at, epochs."""


def evaluations(folder: Path) -> list[dict]:
    return [record for record in tiny_run.figures(folder) if record["kind"] == "evaluate"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_what_its_teacher_was_taught(base: Path, tmp_path: Path, kind: str) -> None:
    """Without labels of its own: those of a regression are even wrong."""
    write, figure, epochs = KINDS[kind]
    recipe = tiny_kinds.recipe(tmp_path, base, write(tmp_path), epochs)
    ms_plm.run(recipe, {"output.folder": str(tmp_path / "teacher")})
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    values["kind"] = "task_distill"
    values["method"] = {
        "teacher": {"from": str(tmp_path / "teacher/model")},
        "losses": {"hidden": 1, "attention": 1, "prediction": 1},
    }
    recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
    if kind == "regression":
        lines = (tmp_path / "train.tsv").read_text(encoding="utf-8").splitlines()
        wrong = [lines[0], *(line[:-1] + "0" for line in lines[1:])]
        (tmp_path / "train.tsv").write_text("\n".join(wrong) + "\n", encoding="utf-8")
    ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")})
    known, (before, after) = evaluations(tmp_path / "teacher")[-1][figure], evaluations(tmp_path / "run")
    assert known > 0.7
    assert after[figure] > 0.9 * known
    assert not np.isfinite(before[figure]) or before[figure] < 0.8 * known
