"""A run in a process of its own: what is passed on to it, and what becomes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import tiny_run

import ms_plm
from ms_plm.common.files import read_json
from ms_plm.series import process
from ms_plm.series.process import command_of, run_in_process

CHILD = """\
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
pathlib.Path("ready").write_text("")
for _ in range(1200):  # a signal just before a sleep begins is noticed after it
    time.sleep(0.05)
"""


def test_the_command_is_one_that_can_be_typed(tmp_path: Path) -> None:
    command = command_of(tmp_path / "seed-2", ["train.budget_minutes=3"])
    assert command[1:] == ["-m", "ms_plm", "run", str(tmp_path / "seed-2"), "train.budget_minutes=3", "--resume"]


def test_a_signal_is_passed_on_and_the_exit_code_comes_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "command_of", lambda *_: [sys.executable, "-c", CHILD])

    class Signals(list):
        """One signal, as soon as the child waits."""

        def __len__(self) -> int:
            return int((tmp_path / "ready").exists())

    assert run_in_process(tmp_path, [], Signals(), wait=0.02) == 7


def test_a_run_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ms_plm.series import process\n"
        f"process.command_of = lambda *_: [sys.executable, '-c', {CHILD!r} ]\n"
        "process.run_in_process('.', [], [])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=tiny_run.environment())
    tiny_run.kill_when(parent, (tmp_path / "ready").exists)
    parent.wait()
    deadline = time.monotonic() + 10
    while left := _alive_in(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _alive_in(folder: Path) -> list[int]:
    """Processes whose current folder this is."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.readlink(entry / "cwd") == str(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_repeats_of_a_real_run(base: Path, tmp_path: Path) -> None:
    """The first seed was run before, by itself; the second one is run here, in a process."""
    whole, folder = tiny_run.whole_run(base), tmp_path / "run"
    changes = {"output.folder": str(folder), "train.repeats": 2}
    ms_plm.run(base / "tiny.yaml", changes, plan=True)
    shutil.copytree(whole, folder / "seed-3", dirs_exist_ok=True)
    result = ms_plm.run(base / "tiny.yaml", changes, resume=True)
    assert (result.finished, result.exit_code) == (True, 0)
    losses = {run["run"]: run["figures"]["loss"] for run in read_json(folder / "figures.json")["runs"]}
    assert list(losses) == ["seed-3", "seed-4"]
    assert losses["seed-3"] != losses["seed-4"]
    best = min(losses, key=losses.get)
    assert tiny_run.same_weights(folder / "model", folder / best / "model")
    model, _ = ms_plm.load(folder / "model", head="masked_lm")
    assert model.config.provenance["chosen"]["run"] == best
    assert tiny_run.last_step(folder / "seed-4") == tiny_run.STEPS
