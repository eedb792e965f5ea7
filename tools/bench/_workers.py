"""Contestants that take turns in one run.

Each is a process that holds what it measures and runs steps on demand (`_serving.py`). It is stopped while another one
runs, so that all have the machine for themselves and other work on it hits all alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contestant:
    """A worker's script and its options; `torch`: it needs the interpreter with PyTorch."""

    script: str
    options: dict[str, Any] = field(default_factory=dict)
    torch: bool = False


class WorkerFailed(RuntimeError):
    """A worker cannot run here, or ended by itself."""


class Worker:
    """A process that runs steps on demand and is stopped meanwhile."""

    def __init__(self, name: str, python: str, script: str, options: dict[str, Any]) -> None:
        self.name, self.seconds, self.answers, self.peak_mb = name, [], [], 0.0
        self._folder = tempfile.TemporaryDirectory()  # for what libraries leave where they stand
        threads = str(options["threads"])
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "GLOG_v": "3",
            "TORCHINDUCTOR_CACHE_DIR": f"{self._folder.name}/inductor",  # empty: the first step compiles
        }
        if script.startswith("_mindspore"):
            environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line and ms_plm.run set it
        command = [python, str(HERE / script), *(f"--{key}={value}" for key, value in options.items())]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment,
            cwd=self._folder.name,
            preexec_fn=os.setpgrp,  # a group of its own: signals reach the helpers that it starts, too
        )
        try:
            self.ready = self._listen()
            if "unavailable" in self.ready:
                raise WorkerFailed(self.ready["unavailable"])
        except BaseException:
            self.close()
            raise
        self.peak_mb = self.ready["peak_mb"]
        self._signal(signal.SIGSTOP)

    def run(self, steps: int) -> None:
        """Run steps and keep their times, their answers and the process's largest memory."""
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # killed meanwhile: there is no answer then
            self.process.stdin.write(f"{steps}\n")
        answer = self._listen()
        self._signal(signal.SIGSTOP)
        self.seconds += answer["seconds"]
        self.answers += answer["answers"]
        self.peak_mb = answer["peak_mb"]

    def close(self) -> None:
        """End the process and what it started."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        self._folder.cleanup()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _listen(self) -> dict[str, Any]:
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        code = self.process.wait()
        hint = "killed, probably for want of memory" if code == -signal.SIGKILL else "its message is above"
        raise WorkerFailed(f"ended with exit code {code}; {hint}")


class Race:
    """Workers that take turns; a context that ends them all.

    Attributes:
        workers: by name, those that run.
        left_out: by name, why others do not.
    """

    def __init__(self, torch_python: str | None) -> None:
        self.torch_python = torch_python and os.path.abspath(shutil.which(torch_python) or torch_python)
        self.workers: dict[str, Worker] = {}
        self.left_out: dict[str, str] = {}

    def __enter__(self) -> Race:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def add(self, name: str, contestant: Contestant, options: dict[str, Any]) -> None:
        """Start a contestant and tell its first step, or why it is left out."""
        python = self.torch_python if contestant.torch else sys.executable
        try:
            self._check_memory()
            worker = Worker(name, python, contestant.script, {**options, **contestant.options})
        except WorkerFailed as failure:
            self.left_out[name] = str(failure)
            print(f"  {name}: left out: {failure}", flush=True)
        else:
            self.workers[name] = worker
            first = worker.ready["first_step_seconds"]
            print(f"  {name}: {worker.ready['ready']}; first step {first:.1f} s", flush=True)

    def run(self, rounds: int, steps: int) -> None:
        """Let all take their turns, to and fro."""
        for number in range(rounds):
            order = list(self.workers.values())
            for worker in order if number % 2 == 0 else order[::-1]:
                try:
                    worker.run(steps)
                except WorkerFailed as failure:
                    self.left_out[worker.name] = str(failure)
                    self.workers.pop(worker.name).close()
                    print(f"  {worker.name}: left out: {failure}", flush=True)

    def _check_memory(self) -> None:
        # stopped workers keep theirs; a machine without swap kills one of them instead of refusing
        free, largest = available_mb(), max((worker.peak_mb for worker in self.workers.values()), default=0.0)
        if free is not None and free < 1.2 * largest:
            raise WorkerFailed(f"{free:.0f} MB are free, and the largest so far took {largest:.0f} MB; name fewer")


def available_mb() -> float | None:
    """Memory that can be had on this machine now; None where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    return None
