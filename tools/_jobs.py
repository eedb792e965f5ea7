"""Runs under one folder that are done once: what the scripts of long comparisons share."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ms_plm
from ms_plm.common.files import read_json
from ms_plm.series.figures import FIGURES


class Jobs:
    """Run folders under one folder; those that are finished are not run again, cut ones go on.

    Args:
        work: the folder.
        minutes: no job begins after so many; None: all of them.
        common: changes of every recipe.
    """

    def __init__(self, work: Path, minutes: float | None, common: dict[str, Any]) -> None:
        self.work, self.minutes, self.common, self.started = work, minutes, common, time.monotonic()

    def run(self, name: str, recipe: str, changes: dict[str, Any]) -> Path | None:
        """The model of a job, which is carried out unless it is finished; None: the time is up."""
        folder = self.work / name
        if is_finished(folder):
            return folder / "model"
        if self.is_late():
            return None
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        resume = (folder / "checkpoints").is_dir()
        changes = {**self.common, **changes, "output.folder": str(folder)}
        ms_plm.run(recipe, changes, resume=resume, overwrite=folder.is_dir() and not resume)
        return folder / "model"

    def is_late(self) -> bool:
        """Whether the time is up."""
        return self.minutes is not None and time.monotonic() - self.started > 60 * self.minutes


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return (folder / FIGURES).is_file()


def figures_of(folder: Path) -> dict[str, float]:
    """What the model of a finished run was measured at."""
    return read_json(folder / "model" / "config.json")["provenance"]["figures"]


def shown(values: Sequence[float]) -> str:
    """Mean and standard error."""
    if not values:
        return "-"
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{error}"
