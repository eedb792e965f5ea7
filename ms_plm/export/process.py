"""Running a module of ours in a new process, where nothing of this one's MindSpore is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LAUNCHER = ("MS_ROLE", "MS_SCHED_HOST", "MS_SCHED_PORT", "MS_WORKER_NUM", "MS_NODE_ID", "RANK_ID", "RANK_SIZE")
"""Settings of msrun that a process of its own must not see."""
SECONDS = 1800
"""Longest time that a new process may take."""


class ProcessFailed(RuntimeError):
    """The process ended with an error or took too long; says which, for the middle of a sentence."""


def run_module(module: str, arguments: Sequence[str], folder: Path, threads: int | None = None) -> Any:
    """Run `python -m MODULE ARGUMENTS` and read the last line of its output as JSON.

    Args:
        module: of this package.
        arguments: of the command line; paths are absolute.
        folder: where the process stands: libraries drop files there.
        threads: the process has as many cores, and OpenMP as many threads; None: as here.

    Raises:
        ProcessFailed: see there.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _LAUNCHER}
    package = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
    environment.setdefault("GLOG_v", "3")
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", module, *arguments]
    try:
        with _fewer_cores(threads):
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise ProcessFailed(f"it took more than {SECONDS} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
        raise ProcessFailed(f"exit code {done.returncode}: {lines[-1].strip()[:500]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def _fewer_cores(count: int | None) -> Iterator[None]:
    """Let this thread, and so the processes that it starts, run on the first cores only (Linux)."""
    allowed = os.sched_getaffinity(0) if count and hasattr(os, "sched_getaffinity") else set()
    if not count or count >= len(allowed):
        yield
        return
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
