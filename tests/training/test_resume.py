"""Runs that are cut and resumed, dropout on: the same losses and weights, bit for bit, as the run that was not cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from tiny_run import STEPS, figures, same_weights

import ms_plm
from ms_plm.common.errors import UserError
from ms_plm.training.step import TrainingStep


@pytest.fixture(scope="module")
def whole(base: Path) -> Path:
    return tiny_run.whole_run(base)


def run(base: Path, folder: Path, resume: bool = False, **overrides: object):
    return ms_plm.run(base / "tiny.yaml", {**overrides, "output.folder": str(folder)}, resume=resume)


def in_update(monkeypatch: pytest.MonkeyPatch, number: int, what: Callable[[], None]) -> None:
    """Let something happen in this process after so many updates."""
    update, calls = TrainingStep.__call__, [0]

    def counted(step: TrainingStep, *arguments: object):
        calls[0] += 1
        if calls[0] == number:
            what()
        return update(step, *arguments)

    monkeypatch.setattr(TrainingStep, "__call__", counted)


@pytest.fixture(scope="module")
def terminated(base: Path) -> Path:
    """A run that SIGTERM stopped in its seventh update, with three updates that were not reported yet."""
    folder = base / "terminated"
    with pytest.MonkeyPatch.context() as patch:
        in_update(patch, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
        result = run(base, folder, **{"log.every": 4})
    assert (result.finished, result.exit_code, result.model_folder) == (False, 1, None)
    assert result.summary == (
        f"Stopped at step 7: SIGTERM received. A checkpoint is in {folder}/checkpoints. "
        f"Continue with: ms-plm run {folder} --resume"
    )
    return folder


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_an_exception_in_mid_epoch_costs_nothing_but_time(base, whole, tmp_path, monkeypatch) -> None:
    def fail() -> None:
        raise RuntimeError("no more memory")

    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        in_update(patch, 9, fail)
        with pytest.raises(RuntimeError, match="no more memory"):
            run(base, folder)
    assert tiny_run.last_step(folder) == 8  # the checkpoints were at 5 and, the best, at 6
    assert run(base, folder, resume=True).finished
    assert figures(folder) == figures(whole)
    assert same_weights(folder / "model", whole / "model")
    # and so is all that a further resume would need
    states = [(f / f"checkpoints/step-{STEPS:06d}/training_state.safetensors").read_bytes() for f in (folder, whole)]
    assert states[0] == states[1]


def test_a_terminated_run_goes_on_where_it_was_whatever_the_interval_of_reports(whole, terminated, tmp_path) -> None:
    folder = copy(terminated, tmp_path / "again")
    result = ms_plm.run(folder, {"output.folder": str(folder)}, resume=True)  # a run folder is its own recipe
    assert result.finished
    assert same_weights(folder / "model", whole / "model")
    every = [record for record in figures(whole) if record["kind"] == "train"]
    for record in (record for record in figures(folder) if record["kind"] == "train"):
        covered = every[record["step"] - 4 : record["step"]]
        terms = [list(one["losses"].values()) for one in covered]
        assert list(record["losses"].values()) == np.mean(terms, axis=0).tolist()
        assert record["gradient_norm"] == covered[-1]["gradient_norm"]
    assert [r["step"] for r in figures(folder)] == [0, 4, 6, 8, 12, 12]
    evaluations = [[r for r in figures(f) if r["kind"] == "evaluate"] for f in (folder, whole)]
    assert evaluations[0] == evaluations[1]


def test_a_run_may_go_on_with_another_micro_batch_and_other_workers(base, whole, terminated, tmp_path) -> None:
    folder = copy(terminated, tmp_path / "again")
    impl = {"impl.micro_batch": 2, "impl.workers": 0, "impl.eval_batch": 5, "log.every": 1}
    assert run(base, folder, resume=True, **impl).finished
    expected = {r["step"]: r for r in figures(whole) if r["kind"] == "train"}
    for record in figures(folder):
        if record["kind"] == "train" and record["step"] > 8:  # 8 holds the unreported ones before
            assert record["loss"] == pytest.approx(expected[record["step"]]["loss"], rel=1e-5)
    ours, theirs = (tiny_run.weights(f / "model") for f in (folder, whole))
    assert max(np.abs(ours[name] - theirs[name]).max() for name in ours) < 1e-4


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(base, whole, terminated, tmp_path) -> None:
    folder = copy(terminated, tmp_path / "again")
    weights = folder / "checkpoints" / "step-000007" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 5)
    assert run(base, folder, resume=True, **{"log.every": 1}).finished
    told = (folder / "train.log").read_text(encoding="utf-8")
    assert f"damaged checkpoint passed over: {weights}" in told
    assert "resumed from" in told
    assert "(step 6)" in told
    assert figures(folder)[-5:] == figures(whole)[-5:]
    assert same_weights(folder / "model", whole / "model")


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("train.seed", 4, "train.seed was 3, is 4"),
        ("train.batch", 16, "train.batch was 8, is 16"),
        ("train.steps", 20, "train.steps was 12, is 20"),
        ("data.max_length", 16, "data.max_length was 24, is 16"),
        ("data.masking.strategy", "token", "data.masking.strategy was 'whole_word', is 'token'"),
        ("model.hidden_size", 64, "model.hidden_size was 32, is 64"),
        ("train.optimizer.name", "lamb", "train.optimizer.name was 'adamw', is 'lamb'"),
    ],
)
def test_what_decides_the_result_may_not_change(base, terminated, key, value, named) -> None:
    before = figures(terminated)
    with pytest.raises(UserError, match="started with another recipe") as error:
        run(base, terminated, resume=True, **{key: value})
    assert named in str(error.value)
    assert figures(terminated) == before


def test_data_that_changed_under_the_same_name_is_refused(base, terminated, tmp_path) -> None:
    corpus = copy(base / "corpus", tmp_path / "corpus")
    folder = copy(terminated, tmp_path / "again")
    recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
    (folder / "recipe.yaml").write_text(recipe.replace(str(base / "corpus"), str(corpus)), encoding="utf-8")
    shutil.rmtree(corpus)
    text = tiny_run.write_text(tmp_path / "text.txt", tiny_run.documents(seed=5))
    section = tiny_run.TextSection(files=(str(text),), holdout=0.2, segmenter="none")
    tiny_run.prepare([section], tiny_run.tokenizer(), corpus)
    with pytest.raises(UserError, match="data_fingerprint.*the data or the seed has changed"):
        ms_plm.run(folder, {"output.folder": str(folder)}, resume=True)


def test_there_must_be_a_run_to_resume(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run to resume"):
        run(base, tmp_path / "nothing", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"recipe\.yaml: missing; this is not a run folder"):
        run(base, tmp_path / "other", resume=True)


# ---- real processes ----

KILL = """
import os, signal, threading
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""
IN_UPDATE = """
from ms_plm.training.step import TrainingStep
update, calls = TrainingStep.__call__, [0]
def counted(*arguments):
    calls[0] += 1
    if calls[0] == {number}:
        threading.Timer({delay}, die).start()
    return update(*arguments)
TrainingStep.__call__ = counted
"""
WHILE_WRITING = """
import {module} as module
original, calls = module.{name}, [0]
def counted(*arguments, **keywords):
    made = original(*arguments, **keywords)
    calls[0] += 1
    if calls[0] == {number}:
        die()
    return made
module.{name} = counted
"""
RUN = """
import sys
from ms_plm.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def killed(base: Path, folder: Path, how: str, *arguments: str) -> None:
    """Run the command line in a process that kills itself with SIGKILL."""
    command = ["run", str(base / "tiny.yaml"), f"output.folder={folder}", *arguments]
    process = subprocess.run(
        [tiny_run.sys.executable, "-c", KILL + how + RUN, *command],
        env=tiny_run.environment(),
        cwd=base,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert process.returncode == -signal.SIGKILL, process.stdout + process.stderr


def test_a_process_killed_in_an_update_costs_nothing_but_time(base: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    killed(base, folder, IN_UPDATE.format(number=9, delay=0.0))
    assert 6 <= tiny_run.last_step(folder) < STEPS
    assert run(base, folder, resume=True).finished
    assert figures(folder) == figures(whole)
    assert same_weights(folder / "model", whole / "model")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "delay"), [(1, 0.2), (2, 0.0), (6, 0.003), (10, 0.01)])
def test_a_kill_at_any_moment_costs_nothing_but_time(base, whole, tmp_path, number, delay) -> None:
    folder = tmp_path / "killed"
    killed(base, folder, IN_UPDATE.format(number=number, delay=delay))
    assert run(base, folder, resume=True).finished
    assert figures(folder) == figures(whole)
    assert same_weights(folder / "model", whole / "model")


@pytest.mark.slow
def test_a_run_killed_in_one_checkpoint_after_the_other_costs_nothing_but_time(base, whole, tmp_path) -> None:
    folder = tmp_path / "killed"
    checkpoint, files = "ms_plm.training.checkpoint", "ms_plm.common.files"
    moments = [
        (checkpoint, "write_model_files", 1),  # weights written, state not: the first checkpoint of all
        (checkpoint, "write_tensors", 1),  # state written, nothing hashed
        (checkpoint, "sha256_file", 3),
        (checkpoint, "write_json", 1),  # complete, but under its temporary name
        (files, "fsync_path", 9),
        (checkpoint, "write_json", 2),  # one checkpoint further
    ]
    arguments: list[str] = []
    for module, name, number in moments:
        killed(base, folder, WHILE_WRITING.format(module=module, name=name, number=number), *arguments)
        arguments = ["--resume"]
    assert list((folder / "checkpoints").glob(".step-*"))  # what the last kill left
    assert run(base, folder, resume=True).finished
    assert not list((folder / "checkpoints").glob(".*"))
    assert figures(folder) == figures(whole)
    assert same_weights(folder / "model", whole / "model")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_from_outside_ends_with_1_and_the_command_that_goes_on(base, whole, tmp_path, number) -> None:
    folder = tmp_path / "stopped"
    process = tiny_run.start(base / "tiny.yaml", folder, "train.steps=5000", "log.every=1")
    tiny_run.kill_when(process, lambda: tiny_run.last_step(folder) >= 3, number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert output.rstrip().endswith(f"Continue with: ms-plm run {folder} --resume")
    assert "SIGTERM received" in output  # once it has compiled, MindSpore turns SIGINT into SIGTERM
    assert list((folder / "checkpoints").glob("step-*/trainer.json"))
