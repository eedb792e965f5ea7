"""What every worker of the benches does: read its options, run steps on demand, and say what they took.

The other end is `_workers.py`. Standard library only, so that any interpreter can run it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


def worker_arguments(description: str | None, **defaults: int | str) -> argparse.Namespace:
    """Options by name with their defaults, whose type is theirs."""
    parser = argparse.ArgumentParser(description=description)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    return parser.parse_args()


def serve(step: Callable[[int], Any], about: str, warm_up: int = 3, base_mb: float = 0.0) -> None:
    """Warm up, report, then run as many steps as each line of stdin asks for and answer with their times.

    Memory is the largest resident set since the first step began, compilation included, what was built before counted
    with what it still holds.

    Args:
        step: runs step number n to its end and returns what is to be kept of it, such as a loss.
        about: versions and choices, for the report.
        warm_up: steps before the report; the first one compiles.
        base_mb: taken off the memory.
    """
    forget_peak()
    seconds, answers = _timed(step, range(warm_up))
    _say(ready=about, first_step_seconds=seconds[0], answers=answers, peak_mb=peak_mb() - base_mb)
    done = warm_up
    for line in sys.stdin:
        seconds, answers = _timed(step, range(done, done + int(line)))
        done += len(seconds)
        _say(seconds=seconds, answers=answers, peak_mb=peak_mb() - base_mb)


def decline(reason: str) -> NoReturn:
    """End this worker: what it is to measure does not exist here."""
    _say(unavailable=reason)
    sys.exit(0)


def resident_mb() -> float:
    """Resident memory of this process now."""
    return _status("VmRSS") or peak_mb()


def peak_mb() -> float:
    """Largest resident memory of this process since `forget_peak`, or since it began where that does not work."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak() -> None:
    """Let `peak_mb` begin anew (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return None


def _timed(step: Callable[[int], Any], numbers: range) -> tuple[list[float], list[Any]]:
    seconds, answers = [], []
    for number in numbers:
        started = time.perf_counter()
        answers.append(step(number))
        seconds.append(time.perf_counter() - started)
    return seconds, answers


def _say(**values: object) -> None:
    # a line of its own prefix: libraries print to stdout as they please
    print("@" + json.dumps(values), flush=True)
