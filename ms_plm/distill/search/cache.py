"""Every evaluated map on disk, a JSON line each: what was evaluated once is never evaluated again."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.common.files import full_disk_named
from ms_plm.distill.search.space import Gene

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What a map came to.

    Attributes:
        gene: the map.
        seed: of the proxy's data, dropout and heads.
        fitness: mean of `figures`; nan where one of them is.
        figures: of every task.
        seconds: it took.
    """

    gene: Gene
    seed: int
    fitness: float
    figures: Mapping[str, float]
    seconds: float


def fingerprint(setting: Mapping[str, Any]) -> str:
    """Of everything that a fitness depends on, but for map and seed."""
    return hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:16]


class EvaluationCache:
    """Evaluations of one proxy setting, in memory and in a file, with the time that the searches took.

    A search begins when this is made.

    Args:
        path: of the file; there may be none yet.
        setting: fingerprint of the proxy setting.

    Raises:
        UserError: the file holds evaluations of another setting.
        DamagedFileError: a line before the last one is damaged.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting
        self._known: dict[tuple[Gene, int], Evaluation] = {}
        self._begun, self._elapsed = time.monotonic(), {}
        if path.exists():
            self._read()
        self._start = len(self._elapsed)

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Evaluation]:
        """In the order in which they were added."""
        return iter(self._known.values())

    @property
    def seconds(self) -> float:
        """From the beginning of each start to its last evaluation, over all starts."""
        return sum(self._elapsed.values())

    def get(self, gene: Gene, seed: int) -> Evaluation | None:
        """The evaluation of a map with a seed, if there is one."""
        return self._known.get((gene, seed))

    def add(self, evaluation: Evaluation) -> None:
        """Remember an evaluation; when this returns it is on disk.

        Raises:
            UserError: the disk is full.
        """
        self._elapsed[self._start] = round(time.monotonic() - self._begun, 3)
        line = {
            "gene": list(evaluation.gene),
            "seed": evaluation.seed,
            "fitness": _number(evaluation.fitness),
            "figures": {name: _number(value) for name, value in evaluation.figures.items()},
            "seconds": round(evaluation.seconds, 3),
            "start": self._start,
            "elapsed": self._elapsed[self._start],
            "setting": self.setting,
        }
        with full_disk_named(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[evaluation.gene, evaluation.seed] = evaluation

    def _read(self) -> None:
        content = self.path.read_bytes()
        lines = content.splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("not finished")
                values = json.loads(line)
                setting, evaluation = values["setting"], _parsed(values)
                start, elapsed = int(values["start"]), float(values["elapsed"])
            except (ValueError, KeyError, TypeError) as error:
                if number < len(lines):
                    raise DamagedFileError(
                        f"{self.path}:{number}: not a line of an evaluated map ({error}). Remove that line: its map is "
                        "evaluated again."
                    ) from error
                log.warning("%s:%d: the last line is damaged (cut while it was written): left out", self.path, number)
                os.truncate(self.path, len(content) - len(line))
                return
            if setting != self.setting:
                raise UserError(
                    f"{self.path}:{number}: this map was evaluated in another setting (fingerprint {setting}, this "
                    f"search has {self.setting}): teacher, data, tasks or training have changed, so its fitness cannot "
                    "be compared. Search in another output.folder, or anew with --overwrite."
                )
            self._known[evaluation.gene, evaluation.seed] = evaluation
            self._elapsed[start] = elapsed


def _parsed(values: Mapping[str, Any]) -> Evaluation:
    figures = {name: _value(value) for name, value in values["figures"].items()}
    gene = tuple(int(layer) for layer in values["gene"])
    return Evaluation(gene, int(values["seed"]), _value(values["fitness"]), figures, float(values["seconds"]))


def _number(value: float) -> float | None:
    """JSON has no nan."""
    return float(value) if math.isfinite(value) else None


def _value(value: float | None) -> float:
    return math.nan if value is None else float(value)
