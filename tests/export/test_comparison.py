"""Models side by side. One new process is started; nothing is asserted on time but that there is some."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from golden_files import GOLDENS, task_folder
from safetensors.numpy import load_file, save_file

from ms_plm.common.errors import UserError
from ms_plm.common.processor import cores
from ms_plm.export import comparison, comparison_table, mindir
from ms_plm.export.comparison import compare_models
from ms_plm.export.latency import take_turns
from ms_plm.export.process import ProcessFailed
from ms_plm.export.verify import verify

SMALL = task_folder("bert", "sequence_classification")
"""1 layer x 16, 16 positions; the other one, `bert`, has 2 x 32 and 256 positions."""


@pytest.fixture(scope="module", autouse=True)
def _device():
    ms.set_device("CPU")
    ms.set_context(mode=0)


def recorded(source: Path, target: Path, **provenance) -> Path:
    """A copy of a model folder whose config.json records something."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**config, "provenance": provenance}), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A teacher of 2 x 32 and a student of 1 x 16 that has 16 positions, with figures."""
    base = tmp_path_factory.mktemp("runs")
    figures = {"loss": 0.5, "accuracy": 0.75, "metric": 0.75}
    teacher = recorded(GOLDENS / "bert", base / "teacher" / "model", task="sst-2", figures=figures)
    student = recorded(SMALL, base / "student" / "model", task="sst-2", figures={"loss": None, "accuracy": 0.5})
    return teacher, student


@pytest.fixture(scope="module")
def compared(folders, tmp_path_factory):
    """At a length that both have, measured in a new process, and at one that is too long for the student."""
    files = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mindir, "_in_new_process", lambda file, cases: verify(file, cases, "CPU"))
        return compare_models(folders, (32, 16), threads=1, rounds=2, calls=3, files=files), files


@pytest.fixture
def exports(monkeypatch):
    """What would have been exported, on an idle machine; the second model is twice as fast, the third three times."""
    found = []

    def export_mindir(folder, output, head, batch, length):
        found.append((folder.name, head, batch, length))
        return SimpleNamespace(path=str(output), bytes=1000)

    def run_module(module, arguments, folder, threads):
        plan = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        calls = plan["rounds"] * plan["calls"]
        return [[[1e-3 / (index + 1)] * calls for index, _ in enumerate(files)] for files in plan["files"]]

    monkeypatch.setattr(comparison, "export_mindir", export_mindir)
    monkeypatch.setattr(comparison, "run_module", run_module)
    monkeypatch.setattr(comparison, "_load", lambda: 0.0)
    return found


def test_models_are_told_apart_by_size_flops_latency_and_figures(compared):
    found, _ = compared
    teacher, student = found.models
    assert (teacher.name, student.name) == ("teacher", "student")
    assert found.head == "encoder"
    assert found.lengths == (16, 32)
    assert teacher.sizes.parameters > student.sizes.parameters > 0
    assert teacher.flops[32] > teacher.flops[16] > student.flops[16]
    assert {n: len(values) for n, values in teacher.seconds.items()} == {16: 6, 32: 6}
    assert all(value > 0 for values in teacher.seconds.values() for value in values)
    assert set(student.mindir_bytes) == set(student.seconds) == {16}
    assert teacher.figures == {"loss": 0.5, "accuracy": 0.75}
    assert student.figures == {"accuracy": 0.5}


def test_a_failed_export_is_named_and_the_rest_is_there(compared):
    found, _ = compared
    (problem,) = found.problems
    assert problem.startswith("student at length 32: length: 32, but ")
    assert "has 16 absolute positions" in problem
    assert f"NOT DONE: {problem}" in found.table()


def test_the_table_has_a_column_for_each_model_and_says_what_it_depends_on(compared):
    found, _ = compared
    lines = found.table().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    table = {title: values for title, *values in rows}
    assert table[""] == ["teacher", "student"]
    assert table["layers x hidden"] == ["2 x 32 (4 heads, 48)", "1 x 16 (2 heads, 24)"]
    teacher, student = (model.sizes.parameters for model in found.models)
    assert table["parameters"][1].endswith(f"({teacher / student:.2f}x)")
    assert table["accuracy"] == ["0.7500", "0.5000"]
    assert table["loss"] == ["0.5000", "-"]
    assert table["latency, length 16, min"][0].endswith(" ms")
    assert table["latency, length 16, min"][1].endswith("x)")
    assert table["latency, length 32, median"][1] == "-"
    assert len({len(line) for line in lines if line.startswith("|")}) == 1  # columns stand below each other
    text = found.table()
    for part in ("this machine", "1 thread;", "2 rounds of 3 calls", "load average", "batch 1"):
        assert part in text


def test_ratios_are_the_firsts_value_divided_by_each(compared):
    found, _ = compared
    rows = {row.title: row for row in found.rows()}
    first, second = rows["FLOPs, length 16"].values
    assert rows["FLOPs, length 16"].ratios == (1.0, first / second)
    assert rows["latency, length 32, min"].ratios == (1.0, None)
    titles, ratios = found.ratios()
    assert dict(zip(titles, ratios["student"], strict=True))["FLOPs, length 16"] == first / second
    assert "accuracy" not in titles


def test_the_json_file_holds_every_call(compared, tmp_path):
    found, _ = compared
    found.write(tmp_path / "sizes.json")
    written = json.loads((tmp_path / "sizes.json").read_text(encoding="utf-8"))
    teacher, student = written["models"]
    assert teacher["seconds"]["16"] == list(found.models[0].seconds[16])
    assert teacher["config"]["hidden_size"] == 32
    assert student["parameters"] == found.models[1].sizes.parameters
    assert student["ratios"]["parameters"] == teacher["parameters"] / student["parameters"]
    assert written["machine"]["threads"] == 1
    assert written["problems"] == list(found.problems)


def test_files_of_the_same_weights_are_used_again_and_others_are_not(compared, folders, exports, tmp_path):
    _, files = compared
    shutil.copytree(files, tmp_path / "files")
    compare_models(folders, [16], files=tmp_path / "files")
    assert exports == []
    other = tmp_path / "student"
    shutil.copytree(folders[1], other)
    tensors = load_file(other / "model.safetensors")
    tensors["classifier.bias"] = tensors["classifier.bias"] + np.float32(1)
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    compare_models([folders[0], other], [16], files=tmp_path / "files")
    assert exports == [("student", "encoder", 1, 16)]
    (damaged,) = (tmp_path / "files").glob("teacher_encoder_16_*.mindir")
    damaged.write_bytes(b"cut")
    compare_models(folders, [16], files=tmp_path / "files")
    assert exports[1:] == [("model", "encoder", 1, 16)]


def test_models_with_the_same_head_for_a_task_are_compared_with_it(exports):
    found = compare_models([SMALL, task_folder("nezha", "sequence_classification")], [8])
    assert found.head == "sequence_classification"
    assert [head for _, head, *_ in exports] == ["sequence_classification"] * 2
    assert found.notes == ()


def test_heads_and_tasks_that_differ_are_told(exports, tmp_path):
    one = recorded(SMALL, tmp_path / "one", task="sst-2", figures={"accuracy": 0.5})
    two = recorded(task_folder("bert", "token_classification"), tmp_path / "two", task="ner", figures={"f1": 0.5})
    found = compare_models([one, two], [8])
    assert found.head == "encoder"
    assert "not of the same task: one sst-2, two ner" in found.table()
    assert "one sequence_classification, two token_classification" in found.table()


def test_a_model_without_a_head_for_a_task_makes_all_encoders(exports):
    found = compare_models([GOLDENS / "bert", SMALL], [8])
    assert [head for _, head, *_ in exports] == ["encoder"] * 2
    assert "bert none, bert_sequence_classification sequence_classification" in found.table()


def test_three_models_are_compared_with_the_first(exports):
    folders = [GOLDENS / "bert", SMALL, GOLDENS / "nezha_k8"]
    rows = {row.title: row for row in compare_models(folders, [8]).rows()}
    assert rows["latency, length 8, min"].ratios == pytest.approx((1, 2, 3))
    text = comparison_table(folders, [8])
    assert text.count("(2.00x)") >= 2


def test_a_measurement_that_fails_leaves_the_sizes(exports, monkeypatch):
    def run_module(*arguments):
        raise ProcessFailed("exit code -9: no output")

    monkeypatch.setattr(comparison, "run_module", run_module)
    found = compare_models([GOLDENS / "bert", SMALL], [8])
    assert found.problems == ("latency: the measuring process failed (exit code -9: no output)",)
    assert found.models[0].seconds == {}
    assert "| parameters" in found.table()


def test_a_busy_machine_is_told(exports, monkeypatch):
    assert "Other work" not in comparison_table([GOLDENS / "bert", SMALL], [8])
    monkeypatch.setattr(comparison, "_load", lambda: 2.0 * cores() + 1)
    assert "Other work ran on this machine" in comparison_table([GOLDENS / "bert", SMALL], [8])


def test_folders_of_the_same_name_are_told_apart_by_more_of_their_path(exports, tmp_path):
    for place in ("a", "b"):
        shutil.copytree(SMALL, tmp_path / place / "run" / "model")
    found = compare_models([tmp_path / "a" / "run" / "model", tmp_path / "b" / "run" / "model"], [8])
    assert [model.name for model in found.models] == ["a/run", "b/run"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folders": [SMALL]}, "folders: expected two or more model folders, found 1"),
        ({"folders": [SMALL, "nowhere"]}, "nowhere: no such model folder"),
        (
            {"folders": [SMALL, GOLDENS / "bert", SMALL / ".." / SMALL.name]},
            "the same folder as .*Name each model",
        ),
        ({"lengths": []}, "lengths: expected numbers above 0, found"),
        ({"lengths": [16, 0]}, "lengths: expected numbers above 0, found"),
        ({"threads": 0}, f"threads: expected 1 to {cores()}, the cores of this process, found 0"),
        ({"threads": cores() + 1}, "threads: expected 1 to"),
        ({"rounds": 0}, "rounds: expected a number above 0, found 0"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_exported(exports, changes, message):
    arguments = {"folders": [GOLDENS / "bert", SMALL], "lengths": [8], **changes}
    with pytest.raises(UserError, match=message):
        compare_models(arguments.pop("folders"), arguments.pop("lengths"), **arguments)
    assert exports == []


def test_functions_take_turns_to_and_fro_after_warming_up():
    made = []
    seconds = take_turns([lambda: made.append("a"), lambda: made.append("b")], warm_up=2, rounds=3, each=2)
    assert "".join(made) == "aabb" + "aabb" + "bbaa" + "aabb"
    assert [len(values) for values in seconds] == [6, 6]
