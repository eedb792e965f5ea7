"""Tiny runs by several processes that msrun starts; as a program: carries out several runs in one job.

    msrun ... python tiny_job.py '[["run", RECIPE, "output.folder=FOLDER", ...], ...]'

Starting a job is what takes long, not the runs in it.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from safetensors.numpy import load_file

SETTINGS = {
    "train.steps": 10,
    "train.optimizer.learning_rate": 1e-4,
    "train.schedule": {"name": "constant"},
    "train.checkpoint": {"every": 1, "keep": 20},
    "evaluate.every": 5,
}


def arguments(recipe: Path, folder: Path, *flags: str, **changes: object) -> list[str]:
    """Of `ms-plm` for a run with `SETTINGS` and some changes."""
    overrides = [f"{key}={json.dumps(value)}" for key, value in {**SETTINGS, **changes}.items()]
    return ["run", str(recipe), f"output.folder={folder}", *overrides, *flags]


def msrun(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start two processes of `python COMMAND` by msrun; it ends when both have. Their logs lie beside the folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return subprocess.Popen(
        [
            *("msrun", "--worker_num=2", "--local_worker_num=2", "--master_addr=127.0.0.1", f"--master_port={port}"),
            *("--join=True", f"--log_dir={folder.parent / (folder.name + '_logs')}", "--cluster_time_out=60"),
            *("python", *command),
        ],
        env=tiny_run.environment(),
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(recipe: Path, folder: Path, *flags: str, **changes: object) -> subprocess.Popen[str]:
    """Start one run in two processes."""
    return msrun(folder, "-m", "ms_plm", *arguments(recipe, folder, *flags, **changes))


def run_all(folder: Path, runs: Sequence[list[str]], timeout: float) -> str:
    """Carry out several runs, one after the other, in one job of two processes; what it printed."""
    job = msrun(folder, __file__, json.dumps(runs))
    output = job.communicate(timeout=timeout)[0]
    assert job.returncode == 0, output + logs_of(folder)
    return output


def logs_of(folder: Path) -> str:
    """What the processes of a job said."""
    return "\n".join(path.read_text(errors="replace") for path in folder.parent.glob(f"{folder.name}_logs/*.log"))


def cut_after(step: int, run: Path, to: Path) -> Path:
    """A copy of a run as if it had been killed after a step."""
    shutil.copytree(run, to)
    shutil.rmtree(to / "model")
    for later in range(step + 1, SETTINGS["train.steps"] + 1):
        shutil.rmtree(to / "checkpoints" / f"step-{later:06d}")
    return to


def state(run: Path, step: int) -> dict[str, np.ndarray]:
    """The training state in a checkpoint."""
    return load_file(run / f"checkpoints/step-{step:06d}/training_state.safetensors")


def same_training(one: Path, other: Path) -> dict[str, float]:
    """Assert that two runs are the same up to rounding; the largest differences seen."""
    seen: dict[str, float] = {}
    # dropout is on: other masks would change gradients by as much as they are
    first, second = state(one, 1), state(other, 1)
    for name in (name for name in first if name.startswith("first_moment.")):
        difference, largest = np.abs(first[name] - second[name]).max(), np.abs(first[name]).max()
        assert difference <= max(1e-5 * largest, 0.1 * 1e-7), name  # a moment is a tenth of its gradient
        seen["gradient"] = max(seen.get("gradient", 0.0), float(difference / max(largest, 1e-2)))
    first, second = (tiny_run.weights(f / "model") for f in (one, other))
    seen["parameter"] = max(float(np.abs(first[name] - second[name]).max()) for name in first)
    assert seen["parameter"] <= 1e-5
    seen["loss"] = 0.0
    for a, b in zip(tiny_run.figures(one), tiny_run.figures(other), strict=True):
        assert (a["step"], a["kind"]) == (b["step"], b["kind"])
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-5)
        seen["loss"] = max(seen["loss"], abs(a["loss"] - b["loss"]))
        if a.pop("kind") == "evaluate":
            assert a == pytest.approx({key: b[key] for key in a}, rel=1e-4)
    return seen


def assert_same_bits(one: Path, other: Path) -> None:
    """Weights and the last checkpoint's training state of two runs are the same bits, figures are equal to 1e-6.

    (MindSpore tries numbers of threads in an operation's first 15 calls, and its logarithm of 4 values rounds otherwise
    on 2 threads: a resumed run begins to count anew, so a next-sentence loss may differ in its last digits.)
    """
    for a, b in zip(tiny_run.figures(one), tiny_run.figures(other), strict=True):
        a, b = ({**record.pop("losses", {}), **record} for record in (a, b))
        assert a.keys() == b.keys()
        assert all(a[key] == b[key] or abs(a[key] - b[key]) <= 1e-6 * abs(b[key]) for key in a)
    assert tiny_run.same_weights(one / "model", other / "model")
    last = f"checkpoints/step-{SETTINGS['train.steps']:06d}/training_state.safetensors"
    assert (one / last).read_bytes() == (other / last).read_bytes()


def _carry_out(runs: Sequence[list[str]]) -> int:
    """In each process of a job: the exit code of the first run that fails, else 0."""
    import mindspore

    from ms_plm.cli.main import main

    for one in runs:
        if code := main(one):
            return code
        mindspore.set_device = lambda *device: None  # in a group, processes but the first refuse to be told it again
    return 0


if __name__ == "__main__":
    from ms_plm.training.parallel import serve_as_scheduler

    if not serve_as_scheduler():
        sys.exit(_carry_out(json.loads(sys.argv[1])))
