"""How an attempt of a job ended, from msrun's exit code and what the processes said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["done", "mistake", "lost"]
_SAID = re.compile(r"^ms-plm [\w-]+: (.*)$", re.MULTILINE)
"""How the command line ends on an error."""
_OF_THE_JOB = re.compile(
    r"unexpected \w|process \d+ of \d+|the \d+ processes of this job could not find each other|stopped\.$"
)
"""Beginnings of messages that tell of other processes, of the machine, or of a bug: none that the user has to mend."""
_CODE = re.compile(r"exit with exception\. Error code: (-?\d+)")
"""What msrun says of a worker that failed; its own exit code is always 1."""
USAGE = 2


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        verdict: done; mistake: something that the user has to mend, so that starting again is no use; lost: a process
            or a machine is gone.
        reason: for people.
    """

    verdict: Verdict
    reason: str


def judge(exit_code: int, output: str, logs: Path) -> Ending:
    """What an attempt's end means.

    Args:
        exit_code: msrun's.
        output: what it printed.
        logs: its --log_dir.
    """
    if exit_code == 0:
        return Ending("done", "all processes ended well")
    said = [message for text in _workers(logs) for message in _SAID.findall(text)]
    mistakes = [message for message in said if not _OF_THE_JOB.match(message)]
    codes = [int(code) for code in _CODE.findall(output)]
    if mistakes:
        return Ending("mistake", mistakes[0])
    if exit_code == USAGE or USAGE in codes:
        return Ending("mistake", f"exit code {USAGE}: the command line was not understood; see {logs}")
    if said:
        return Ending("lost", said[0])
    ended = f"a process ended with code {codes[0]}" if codes else f"msrun ended with code {exit_code}"
    return Ending("lost", f"{ended}; see {logs}")


def _workers(logs: Path) -> list[str]:
    return [path.read_text(encoding="utf-8", errors="replace") for path in sorted(logs.glob("worker_*.log"))]
