"""A job is started again after a loss, from its newest good checkpoint, and only as long as that helps."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fake_msrun
import psutil
import pytest

from ms_plm_ascend.launch import supervise
from ms_plm_ascend.launch.__main__ import main

ROOT = Path(__file__).resolve().parents[3]
RECIPE = """\
kind: pretrain
model: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 4, intermediate_size: 48}
data: {text: {files: [%s]}, tokenizer: %s}
train: {steps: 20, batch: 8}
"""
LOST = "process 0 of 2: process 1 ended without a goodbye. The job ends; the newest checkpoint is good."


def free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        return probe.getsockname()[1]


class Scene:
    """A recipe, a run folder and a fake msrun in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        text, vocabulary = folder / "text.txt", folder / "vocab.txt"
        text.write_text("a .\n")
        vocabulary.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n.\n")
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(RECIPE % (text, vocabulary))

    def arguments(self, *more: str) -> list[str]:
        words = [str(self.recipe), f"output.folder={self.run}", "--device", "cpu", "--devices", "2"]
        return [*words, "--master-port", str(free_port()), *more]

    def start(self, monkeypatch: pytest.MonkeyPatch, plan: list[dict], *more: str) -> int:
        for name, value in fake_msrun.install(self.folder, plan).items():
            monkeypatch.setenv(name, value)
        return main(self.arguments(*more))

    @property
    def started(self) -> list[list[str]]:
        """What each attempt ran, behind msrun's own options."""
        return [call["argv"][call["argv"].index("python") :] for call in fake_msrun.calls(self.folder)]

    @property
    def attempts(self) -> list[dict]:
        lines = (self.folder / "run.logs" / "attempts-node0.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_a_job_that_ends_well_is_started_once(scene: Scene, monkeypatch) -> None:
    assert scene.start(monkeypatch, [{"step": 20}]) == 0
    (words,) = scene.started
    expected = ["python", "-m", "ms_plm", "run", str(scene.recipe), f"output.folder={scene.run}", "impl.device=cpu"]
    assert words == expected
    assert [(a["verdict"], a["to_step"]) for a in scene.attempts] == [("done", 20)]


def test_after_each_loss_it_goes_on_from_the_newest_checkpoint(scene: Scene, monkeypatch) -> None:
    plan = [{"step": 5, "code": 1}, {"step": 9, "code": 137}, {"step": 20}]
    assert scene.start(monkeypatch, plan) == 0
    assert ["--resume" in words for words in scene.started] == [False, True, True]
    steps = [(a["attempt"], a["from_step"], a["to_step"], a["verdict"]) for a in scene.attempts]
    assert steps == [(1, 0, 5, "lost"), (2, 5, 9, "lost"), (3, 9, 20, "done")]
    for number in (1, 2, 3):
        folder = scene.folder / "run.logs" / f"attempt-{number:02d}"
        assert (folder / "worker_0.log").is_file()
        assert (folder / "msrun-node0.log").read_text() == "fake msrun\n"


def test_an_attempt_that_gets_no_further_is_the_last(scene: Scene, monkeypatch, told) -> None:
    assert scene.start(monkeypatch, [{"step": 5, "code": 1}, {"code": 1}, {"step": 20}]) == 1
    assert len(scene.started) == 2
    assert "no checkpoint beyond step 5" in told.text


def test_a_loss_before_the_first_checkpoint_is_not_tried_again(scene: Scene, monkeypatch, told) -> None:
    assert scene.start(monkeypatch, [{"code": 1}, {"step": 20}]) == 1
    assert len(scene.started) == 1
    assert "no checkpoint beyond step 0" in told.text


def test_a_damaged_checkpoint_is_no_progress(scene: Scene, monkeypatch) -> None:
    plan = [{"step": 5, "code": 1}, {"damaged": 9, "code": 1}, {"step": 20}]
    assert scene.start(monkeypatch, plan) == 1
    assert [a["to_step"] for a in scene.attempts] == [5, 5]


def test_it_is_started_again_at_most_so_often(scene: Scene, monkeypatch, told) -> None:
    plan = [{"step": step, "code": 1} for step in (1, 2, 3, 4)]
    assert scene.start(monkeypatch, plan, "--relaunch", "2") == 1
    assert len(scene.started) == 3
    assert "--relaunch 2 is used up" in told.text
    assert "step 3" in told.text


def test_relaunch_0_means_once(scene: Scene, monkeypatch) -> None:
    assert scene.start(monkeypatch, [{"step": 5, "code": 1}], "--relaunch", "0") == 1
    assert len(scene.started) == 1


def test_what_the_user_has_to_mend_is_not_tried_again(scene: Scene, monkeypatch, told) -> None:
    message = "training diverged: the gradients of 10 updates in a row are not finite"
    plan = [{"step": 5, "code": 1, "worker": f"step 5\nms-plm run: {message}\n"}, {"step": 20}]
    assert scene.start(monkeypatch, plan) == 1
    assert len(scene.started) == 1
    assert message in told.text
    assert scene.attempts[0]["verdict"] == "mistake"


def test_only_the_first_start_may_overwrite(scene: Scene, monkeypatch) -> None:
    scene.run.mkdir()
    (scene.run / "recipe.yaml").write_text("kind: pretrain\n")
    plan = [{"step": 5, "code": 1, "anew": True}, {"step": 20}]
    assert scene.start(monkeypatch, plan, "--overwrite") == 0
    assert [words[-1] for words in scene.started] == ["--overwrite", "--resume"]


def test_an_old_run_that_could_not_be_overwritten_is_not_gone_on_with(scene: Scene, monkeypatch) -> None:
    """The job died before it trained, so the old run is back: its checkpoint is no progress of this job."""
    old = scene.run / "checkpoints" / "step-000500"
    old.mkdir(parents=True)
    record = {"step": 500, "files": {}}
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    (old / "trainer.json").write_text(json.dumps({**record, "digest": digest}))
    assert supervise.newest_step(scene.run) == 500
    assert scene.start(monkeypatch, [{"code": 1}, {"step": 20}], "--overwrite") == 1
    assert len(scene.started) == 1


def test_a_second_command_resumes_and_keeps_the_logs_of_the_first(scene: Scene, monkeypatch) -> None:
    plan = [{"step": 5, "code": 1}, {"step": 9, "code": 1}, {"step": 20}]
    assert scene.start(monkeypatch, plan, "--relaunch", "0") == 1
    assert main(scene.arguments("--resume")) == 0
    assert [(a["attempt"], a["from_step"]) for a in scene.attempts] == [(1, 0), (2, 5), (3, 9)]


def test_a_record_that_a_kill_cut_costs_that_line_alone(scene: Scene, monkeypatch, told) -> None:
    plan = [{"step": 5, "code": 1}, {"step": 9, "code": 1}, {"step": 20}]
    assert scene.start(monkeypatch, plan, "--relaunch", "0") == 1
    record = scene.folder / "run.logs" / "attempts-node0.jsonl"
    record.write_bytes(record.read_bytes() + '{"attempt": 2, "reason": "ü'.encode()[:-1])
    assert main(scene.arguments("--resume")) == 0
    assert "attempts-node0.jsonl: line 2 is cut" in told.text
    assert [(a["attempt"], a["from_step"]) for a in scene.attempts] == [(1, 0), (2, 5), (3, 9)]


def test_an_attempt_after_which_every_checkpoint_is_damaged_is_noted(scene: Scene, monkeypatch, capsys) -> None:
    assert scene.start(monkeypatch, [{"damaged": 5, "code": 1}]) == 1
    assert "every checkpoint is damaged" in capsys.readouterr().err
    assert [(a["attempt"], a["to_step"], a["verdict"]) for a in scene.attempts] == [(1, None, "lost")]


def test_an_existing_run_is_refused_before_anything_starts(scene: Scene, monkeypatch, capsys) -> None:
    (scene.run / "checkpoints").mkdir(parents=True)
    assert scene.start(monkeypatch, [{}]) == 1
    assert "--resume" in capsys.readouterr().err
    assert scene.started == []


def test_the_port_is_waited_for_before_the_next_start(scene: Scene, monkeypatch) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(supervise, "port_free", lambda port: next(answers))
    monkeypatch.setattr(supervise.time, "sleep", lambda seconds: None)
    assert scene.start(monkeypatch, [{"step": 5, "code": 1}, {"step": 20}]) == 0
    assert next(answers, None) is None


def test_a_port_that_stays_in_use_ends_it(scene: Scene, monkeypatch, told) -> None:
    monkeypatch.setattr(supervise, "port_free", lambda port: False)
    monkeypatch.setattr(supervise, "PORT_SECONDS", 0)
    assert scene.start(monkeypatch, [{"step": 5, "code": 1}, {"step": 20}]) == 1
    assert "still in use" in told.text
    assert len(scene.started) == 1


def test_processes_that_a_dead_msrun_left_behind_are_ended(scene: Scene, monkeypatch) -> None:
    plan = [{"step": 5, "code": 1, "leaves": 60}, {"step": 20}]
    begun = time.monotonic()
    assert scene.start(monkeypatch, plan) == 0
    assert time.monotonic() - begun < 30
    pid = int((scene.folder / "worker.pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_workers_are_told_to_stop_and_the_job_is_not_started_again(scene: Scene) -> None:
    variables = fake_msrun.install(scene.folder, [{"step": 5, "lives": 60}, {"step": 20}])
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    launcher = subprocess.Popen(
        [sys.executable, "-m", "ms_plm_ascend.launch", *scene.arguments()],
        env={**os.environ, **variables, "PYTHONPATH": python_path},
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (scene.folder / "alive").exists() and time.monotonic() < until:
        time.sleep(0.02)
    launcher.send_signal(signal.SIGTERM)
    _, words = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert (scene.folder / "told").exists()
    assert len(scene.started) == 1
    assert "stopped by SIGTERM at step 5" in words
