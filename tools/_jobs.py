"""Jobs under one folder that are done once, each in a process of its own: what scripts of long comparisons share."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, write_json
from ms_plm.config.loading import load_recipe, save_resolved
from ms_plm.config.resuming import check_same
from ms_plm.series.figures import FIGURES
from ms_plm.series.process import run_command, run_in_process
from ms_plm.training.log import METRICS


class Jobs:
    """Jobs under one folder; those that are finished are not done again, runs that were cut go on.

    Args:
        work: the folder.
        minutes: no job begins after so many; None: all of them.
        common: changes of every recipe.
        signals: names of those that this process has received, see `ms_plm.training.loop.stop_signals`.
    """

    def __init__(self, work: Path, minutes: float | None, common: dict[str, Any], signals: Sequence[str]) -> None:
        self.work, self.minutes, self.common, self.signals = work.resolve(), minutes, common, signals
        self.started = time.monotonic()

    def run(self, name: str, recipe: str, changes: dict[str, Any]) -> Path | None:
        """The model of a run; None: the time is up.

        Raises:
            SystemExit: a signal came; the run failed; or its folder holds one with other values. The job is named.
        """
        folder = self.work / name
        saved, remedy = folder / "recipe.yaml", ""
        try:
            wanted = load_recipe(recipe, {**self.common, **changes, "output.folder": str(folder)})
            remedy = f" (For all jobs: another --work; for this one alone: remove {folder}.)"
            if (folder / METRICS).is_file():
                check_same(saved, wanted, beside_others=True)
        except UserError as error:
            raise SystemExit(f"job {name}: {error}{remedy}") from error
        if is_finished(folder):
            return folder / "model"
        if not self._begins(name):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        save_resolved(wanted, saved)
        code = run_in_process(folder, [], self.signals)
        return folder / "model" if self._ended(name, code, is_finished(folder)) else None

    def command(self, name: str, arguments: Sequence[object]) -> Path | None:
        """The file that an `ms-plm` command makes, whose name stands last among its arguments; otherwise as `run`."""
        made = self.work / name
        if made.is_file():
            return made
        if not self._begins(name):
            return None
        made.parent.mkdir(parents=True, exist_ok=True)
        code = run_command([sys.executable, "-m", "ms_plm", *map(str, arguments), str(made)], self.signals)
        return made if self._ended(name, code, made.is_file()) else None

    def is_late(self) -> bool:
        """Whether the time is up."""
        return self.minutes is not None and time.monotonic() - self.started > 60 * self.minutes

    def _begins(self, name: str) -> bool:
        if self.signals:
            raise SystemExit(f"{self.signals[0]} received before job {name}. The same command goes on there.")
        if late := self.is_late():
            print(f"{name}: not begun, the time is up", flush=True)
        else:
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        return not late

    def _ended(self, name: str, code: int, finished: bool) -> bool:
        """Whether a job is done; False: it was cut by its own budget."""
        if self.signals:
            raise SystemExit(f"{self.signals[0]} received in job {name}. The same command goes on from there.")
        if finished and code:
            print(f"{name}: trained, but what was to be made of it failed; see its report.md", flush=True)
        if finished or code == 0:
            return finished
        how = f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"
        raise SystemExit(f"job {name} {how}; why is said above. Once that is mended, the same command goes on.")


class Record:
    """What finished jobs gave, in a small file that outlives their folders and goes from machine to machine.

    Args:
        path: JSON, made when there is something to hold.
        settings: what all figures of a table share.

    Attributes:
        figures: setting or column -> seed -> what it gave.

    Raises:
        SystemExit: the file holds figures of other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self.figures: dict[str, dict[str, Any]] = {}
        self._read()

    def _read(self) -> None:
        if not self.path.is_file():
            return
        held = read_json(self.path)
        self.figures = held["figures"]
        for key in sorted({*held["settings"], *self.settings}):
            was, given = held["settings"].get(key), self.settings.get(key)
            if was != given:
                raise SystemExit(
                    f"{self.path}: its figures are of {key} {was}, this call has {given}. Give another file."
                )

    def has(self, name: str, seed: int) -> bool:
        """Whether a job's figures are known."""
        return str(seed) in self.figures.get(name, {})

    def add(self, name: str, seed: int, figures: Any) -> None:
        """Hold the figures of a job, on disk too, beside those that another process has added meanwhile."""
        self._read()
        self.figures.setdefault(name, {})[str(seed)] = figures
        write_json(self.path, {"settings": self.settings, "figures": self.figures})


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return (folder / FIGURES).is_file()


def figures_of(folder: Path) -> dict[str, float]:
    """What the model of a finished run was measured at."""
    return read_json(folder / "model" / "config.json")["provenance"]["figures"]


def shown(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard error; `sign` as in a format."""
    if not values:
        return "-"
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.4f}{error}"
