"""A run in a process of its own.

MindSpore keeps the graphs that it compiled, with their weights and moments, as long as its process lives: ten runs of a
model of 16 million parameters in one process grew it by 200 MB each.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_ON_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG


def _end_with_parent() -> None:
    """Ask the kernel for a signal when the process that plans is gone, or two runs could write in one folder later."""
    _LIBC.prctl(_ON_DEATH_OF_PARENT, signal.SIGTERM)


def start(command: Sequence[str], more: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen:
    """Start a process that finds the same packages and does not outlive this one.

    Args:
        command: begins with the interpreter.
        more: of its environment.
        options: of `subprocess.Popen`.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), **(more or {})}
    before: Callable[[], None] | None = _end_with_parent if _LIBC is not None else None
    return subprocess.Popen(command, env=environment, preexec_fn=before, **options)


def command_of(folder: Path, overrides: Sequence[str]) -> list[str]:
    """What starts the run in a folder."""
    return [sys.executable, "-m", "ms_plm", "run", str(folder), *overrides, "--resume"]


def run_in_process(folder: Path, overrides: Sequence[str], signals: Sequence[str], wait: float = 0.2) -> int:
    """Carry out the recipe in a run folder by `ms-plm run FOLDER --resume`; what it logs appears as if it were ours.

    Args:
        folder: holds recipe.yaml, and whatever an earlier attempt has left.
        overrides: `key=value`.
        signals, wait: see `run_command`.

    Returns:
        Its exit code; negative where a signal ended it.
    """
    return run_command(command_of(folder, overrides), signals, wait, stdout=subprocess.DEVNULL)


def run_command(command: Sequence[str], signals: Sequence[str], wait: float = 0.2, **options: Any) -> int:
    """Carry out a command.

    Args:
        command: begins with the interpreter.
        signals: names of signals that this process receives while it waits; each is passed on as SIGTERM.
        wait: seconds between looks.
        options: of `subprocess.Popen`.

    Returns:
        Its exit code; negative where a signal ended it.
    """
    child = start(command, **options)
    try:
        told = 0
        while True:
            try:
                return child.wait(wait)
            except subprocess.TimeoutExpired:
                if len(signals) > told:
                    told = len(signals)
                    child.terminate()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
