"""Distillation put together: general, then the two stages of a task, each going on from the folder before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from cutting import cut_in
from safetensors.numpy import load_file, save_file

import ms_plm
from ms_plm.common.errors import UserError
from ms_plm.models.folder import open_folder
from ms_plm.models.heads import Projection

GENERAL = """\
kind: general_distill
model:
  hidden_size: 16
  num_hidden_layers: 1
  num_attention_heads: 4
  intermediate_size: 32
  max_relative_position: 8
data:
  corpus: {base}/corpus
  cache: {base}/cache
  max_length: 24
  nsp: false
  masking: {{mask_share: 0, random_share: 0}}
train: {{steps: 12, batch: 8, seed: 3, optimizer: {{learning_rate: 5.0e-3}}, checkpoint: {{every: 5, keep: 2}}}}
method: {{teacher: {{from: {teacher}}}, losses: {{embedding: 1, hidden: 1, attention: 1}}}}
evaluate: {{every: 6, samples: 16}}
impl: {{device: cpu, eval_batch: 8}}
log: {{every: 1}}
"""
TASK = """\
kind: task_distill
model: {{from: {student}}}
data:
  own: {{train: {base}/train.tsv, dev: {base}/dev.tsv, text: sentence, label: mood}}
  max_length: 16
  lengths: 1
train:
  epochs: 2
  batch: 16
  seed: 3
  optimizer: {{learning_rate: 5.0e-3}}
  checkpoint: {{every: 1000, best: {best}}}
method: {{teacher: {{from: {teacher}}}, losses: {losses}}}
impl: {{device: cpu, eval_batch: 8}}
log: {{every: 5}}
"""


def records(folder: Path, kind: str) -> list[dict]:
    return [record for record in tiny_run.figures(folder) if record["kind"] == kind]


@pytest.fixture(scope="module")
def general(base: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("general")
    recipe = folder / "general.yaml"
    recipe.write_text(GENERAL.format(base=base, teacher=tiny_run.whole_run(base) / "model"), encoding="utf-8")
    ms_plm.run(recipe, {"output.folder": str(folder / "run")})
    return folder


@pytest.fixture(scope="module")
def teacher(moods: Path) -> Path:
    """A model that was fine-tuned on the task."""
    return moods


def stage(folder: Path, teacher: Path, student: Path, losses: str, best: str, **changes: object):
    recipe = folder / "stage.yaml"
    values = {"base": teacher, "teacher": teacher / "run/model", "student": student, "losses": losses, "best": best}
    recipe.write_text(TASK.format(**values), encoding="utf-8")
    return ms_plm.run(recipe, {"output.folder": str(folder / "run"), **changes})


@pytest.fixture(scope="module")
def inside(general: Path, teacher: Path, tmp_path_factory) -> Path:
    """The student after the first stage."""
    folder = tmp_path_factory.mktemp("inside")
    stage(folder, teacher, general / "run/model", "{embedding: 1, hidden: 1, attention: 1}", "loss")
    return folder


def test_general_distillation_lowers_every_term_on_held_out_text(general: Path) -> None:
    first, *_, last = records(general / "run", "evaluate")
    assert last["step"] == 12
    for term in ("embedding", "hidden", "attention"):
        assert last[term] < first[term]
    assert last["loss"] == pytest.approx(sum(last[term] for term in ("embedding", "hidden", "attention")))


def test_the_student_keeps_its_projections_and_loads_without_them(general: Path) -> None:
    opened = open_folder(general / "run/model")
    assert opened.projection == Projection("projections", 32)
    assert not opened.has("pooler")
    model, _ = ms_plm.load(general / "run/model")
    assert not [name for name, _ in model.parameters_and_names() if "projection" in name]


def test_a_distillation_that_was_cut_goes_on_bit_for_bit(general: Path, tmp_path: Path) -> None:
    recipe, folder = general / "general.yaml", tmp_path / "run"
    with cut_in(8):
        ms_plm.run(recipe, {"output.folder": str(folder)})
    assert ms_plm.run(recipe, {"output.folder": str(folder)}, resume=True).finished
    assert tiny_run.figures(folder) == tiny_run.figures(general / "run")
    assert tiny_run.same_weights(folder / "model", general / "run/model")


def test_the_first_stage_goes_on_with_the_projections_of_general_distillation(general: Path, inside: Path) -> None:
    assert "new weights" not in (inside / "run/train.log").read_text(encoding="utf-8")
    before, after = (tiny_run.weights(folder / "run/model") for folder in (general, inside))
    name = "fit_denses.1.weight"
    assert 0 < np.abs(before[name] - after[name]).max() < 60 * 5e-3  # Adam moves a number by the rate at most
    first, *_, last = records(inside / "run", "evaluate")
    assert last["loss"] < first["loss"]


def test_the_second_stage_teaches_the_task(teacher: Path, inside: Path, tmp_path: Path) -> None:
    result = stage(
        tmp_path, teacher, inside / "run/model", "{prediction: {temperature: 2}}", "metric", **{"train.epochs": 4}
    )
    found = records(tmp_path / "run", "evaluate")
    assert result.figures["accuracy"] >= 0.85
    assert found[-1]["accuracy"] > found[0]["accuracy"]
    saved = json.loads((tmp_path / "run/model/config.json").read_text(encoding="utf-8"))
    assert saved["label2id"] == {"glad": 0, "sad": 1}
    assert open_folder(tmp_path / "run/model").projection is None


def test_answers_that_were_asked_for_once_teach_the_same(teacher: Path, inside: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ms_plm.distill.answers.default_cache_folder", lambda: tmp_path / "cache")
    losses, steps = "{prediction: {temperature: 2}, labels: 0.5}", {"train.steps": 6, "log.every": 1}
    runs = {}
    for name, cache in (("asked", False), ("first", True), ("again", True), ("damaged", True)):
        (tmp_path / name).mkdir()
        if name == "damaged":
            (file,) = (tmp_path / "cache/answers").iterdir()
            content = file.read_bytes()
            file.write_bytes(content[:-4] + bytes(4))  # the last logit: the file can still be read
        changes = {**steps, "method.teacher.cache": cache}
        stage(tmp_path / name, teacher, inside / "run/model", losses, "metric", **changes)
        runs[name] = [record["loss"] for record in records(tmp_path / name / "run", "train")]
    assert len(list((tmp_path / "cache/answers").iterdir())) == 1
    assert runs["first"] == runs["again"]
    np.testing.assert_allclose(runs["first"], runs["asked"], rtol=1e-5)
    assert "answers are read from" in (tmp_path / "again/run/train.log").read_text(encoding="utf-8")
    assert "is damaged: the teacher is asked again" in (tmp_path / "damaged/run/train.log").read_text(encoding="utf-8")
    assert file.read_bytes() == content
    assert runs["damaged"] == runs["first"]


def test_a_task_distillation_that_was_cut_goes_on_bit_for_bit(teacher: Path, inside: Path, tmp_path) -> None:
    losses, changes = "{hidden: 1, prediction: 1, labels: 0.5}", {"train.steps": 12, "train.checkpoint.every": 5}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    stage(tmp_path / "whole", teacher, inside / "run/model", losses, "metric", **changes)
    with cut_in(8):
        stage(tmp_path / "cut", teacher, inside / "run/model", losses, "metric", **changes)
    folder = tmp_path / "cut/run"
    ms_plm.run(tmp_path / "cut/stage.yaml", {"output.folder": str(folder), **changes}, resume=True)
    assert tiny_run.figures(folder) == tiny_run.figures(tmp_path / "whole/run")
    assert tiny_run.same_weights(folder / "model", tmp_path / "whole/run/model")


def test_teacher_and_student_are_compared_in_the_report_where_that_is_asked(
    teacher, inside, tmp_path, monkeypatch
) -> None:
    compared = []

    def table(folders: list[Path]) -> str:
        compared.append(folders)
        if len(compared) == 2:
            raise UserError("no place for exported files.")
        return "| a table |"

    monkeypatch.setattr("ms_plm.export.comparison_table", table)
    found = {}
    for name in ("made", "failed"):
        (tmp_path / name).mkdir()
        changes = {"train.steps": 1, "output.compare": True}
        result = stage(tmp_path / name, teacher, inside / "run/model", "{prediction: 1}", "metric", **changes)
        found[name] = result.exit_code, (tmp_path / name / "run/report.md").read_text(encoding="utf-8")
    assert compared[0] == [teacher / "run/model", tmp_path / "made/run/model"]
    assert found["made"][0] == 0
    assert "Teacher and student: \n\n| a table |" in found["made"][1]
    assert found["failed"][0] == 1
    assert "Teacher and student: FAILED: no place for exported files." in found["failed"][1]
    assert (tmp_path / "failed/run/model/model.safetensors").is_file()


def renamed(teacher: Path, to: Path, labels: dict[str, str]) -> Path:
    """The teacher with other names of its labels."""
    to.mkdir()
    for file in (teacher / "run/model").iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    config = json.loads((to / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = labels
    config["label2id"] = {name: int(number) for number, name in labels.items()}
    (to / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return to


def test_labels_are_matched_by_name_in_the_teachers_order(teacher: Path, inside: Path, tmp_path: Path) -> None:
    turned = renamed(teacher, tmp_path / "turned", {"0": "sad", "1": "glad"})
    weights = load_file(turned / "model.safetensors")
    for leaf in ("weight", "bias"):
        weights[f"classifier.{leaf}"] = np.ascontiguousarray(weights[f"classifier.{leaf}"][::-1])
    save_file(weights, turned / "model.safetensors", {"format": "pt"})
    (tmp_path / "student").mkdir()
    more = {"method.teacher.from": str(turned), "train.steps": 1, "train.optimizer.learning_rate": 1e-12}
    losses = "{prediction: 1, labels: 1}"
    stage(tmp_path / "student", teacher, inside / "run/model", losses, "metric", **more)
    saved = json.loads((tmp_path / "student/run/model/config.json").read_text(encoding="utf-8"))
    assert saved["label2id"] == {"sad": 0, "glad": 1}


def test_what_cannot_be_compared_is_refused_before_training(base: Path, general: Path, teacher: Path, tmp_path) -> None:
    student, losses = general / "run/model", "{hidden: 1, attention: 1}"

    def refused(text: str, losses: str = losses, **changes: object) -> None:
        with pytest.raises(UserError) as caught:
            stage(tmp_path, teacher, student, losses, "loss", **changes)
        assert text in str(caught.value)
        assert not (tmp_path / "run").exists()

    other = renamed(teacher, tmp_path / "other", {"0": "happy", "1": "sad"})
    pretrained = tiny_run.whole_run(base) / "model"
    named = renamed(teacher, tmp_path / "named", {"0": "glad", "1": "sad"})
    words = renamed(teacher, tmp_path / "words", {"0": "glad", "1": "sad"})
    lines = (words / "vocab.txt").read_text(encoding="utf-8").splitlines()
    lines[10], lines[11] = lines[11], lines[10]
    (words / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fresh = {"model.num_attention_heads": 2, "model.hidden_size": 16, "model.num_hidden_layers": 1}
    refused("no sequence classification head: it was not fine-tuned", **{"method.teacher.from": str(pretrained)})
    refused("its labels are happy, sad, those of the data are glad, sad", **{"method.teacher.from": str(other)})
    told = json.loads((named / "config.json").read_text(encoding="utf-8"))
    told["provenance"]["task"] = "glue/rte"
    (named / "config.json").write_text(json.dumps(told), encoding="utf-8")
    refused("its head was trained on glue/rte", **{"method.teacher.from": str(named)})
    refused("they differ from id 10 on", **{"method.teacher.from": str(words)})
    refused("found [1, 1]", **{"method.layer_map": [1, 1]})
    refused("method.projection: none, but hidden_size is 16", **{"method.projection": "none"})
    refused("width 16 of the student", "{relations: {heads: 3}}")
    refused("hidden_size of the student is 16, of the teacher 32", **{"method.initial_layers": [1]})
    refused("layer 1 of the student has 2 heads, layer 1 of the teacher 4", **{"model.from": None, **fresh})


def test_a_fresh_student_has_nothing_of_its_folder(general: Path, tmp_path: Path) -> None:
    start = {"model": {"from": str(general / "run/model"), "fresh": True}, "train.steps": 1}
    changes = {**start, "train.optimizer.learning_rate": 1e-12, "output.folder": str(tmp_path / "run")}
    ms_plm.run(general / "general.yaml", changes)
    before, after = (tiny_run.weights(folder / "run/model") for folder in (general, tmp_path))
    assert before.keys() == after.keys()
    assert all(np.abs(before[name] - after[name]).max() > 1e-3 for name in before if before[name].ndim > 1)
    assert all(value.max() - value.min() < 1e-9 for value in after.values() if value.ndim == 1)


def test_a_students_head_of_another_task_is_replaced(teacher: Path, tmp_path: Path) -> None:
    student = renamed(teacher, tmp_path / "student", {"0": "glad", "1": "sad"})
    told = json.loads((student / "config.json").read_text(encoding="utf-8"))
    told["provenance"]["task"] = "glue/rte"
    (student / "config.json").write_text(json.dumps(told), encoding="utf-8")
    stage(tmp_path, teacher, student, "{prediction: 1}", "metric", **{"train.steps": 1})
    assert "new weights for sequence_classification" in (tmp_path / "run/train.log").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_learns_as_full_precision_does(general: Path, tmp_path: Path, precision: str) -> None:
    ms_plm.run(general / "general.yaml", {"output.folder": str(tmp_path / "run"), "impl.precision": precision})
    found, full = (records(folder, "evaluate")[-1] for folder in (tmp_path / "run", general / "run"))
    for term in ("embedding", "hidden", "attention"):
        assert found[term] == pytest.approx(full[term], rel=0.02)
        assert found[term] != full[term]


@pytest.mark.slow
def test_micro_batches_change_nothing_but_rounding(general: Path, tmp_path: Path) -> None:
    ms_plm.run(general / "general.yaml", {"output.folder": str(tmp_path / "run"), "impl.micro_batch": 2})
    found, whole = (tiny_run.weights(folder / "run/model") for folder in (tmp_path, general))
    assert max(np.abs(found[name] - whole[name]).max() for name in whole) < 1e-5
