"""figures.json: what a run, or several as one, were measured at; means and spreads over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, write_json
from ms_plm.config.recipe import Recipe

FIGURES = "figures.json"
"""Written last: a run that has it is finished."""


@dataclass(frozen=True)
class Repeat:
    """One run among those of which means are taken.

    Attributes:
        run: its folder within the one whose figures these are; "" for that folder itself.
        seed: its seed.
        figures: of its result on held-out data; nan where there is no number.
    """

    run: str
    seed: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """What is known of a run, or of the same run with several seeds.

    Attributes:
        decides: the figure that tells which is better.
        higher: whether more of it is better.
        repeats: the runs, in the order of their seeds.
    """

    decides: str
    higher: bool
    repeats: tuple[Repeat, ...]

    def names(self) -> list[str]:
        """Figures by which runs can be shown, in their order; `metric` is the first one of a task over again."""
        return [name for name in self.repeats[0].figures if name != "metric"]

    def mean(self, name: str) -> float:
        """Mean over the seeds; nan where a run has no such figure."""
        return statistics.fmean(self._values(name))

    def std(self, name: str) -> float | None:
        """Sample standard deviation (divided by n - 1); None for a single run."""
        values = self._values(name)
        if len(values) < 2:
            return None
        return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan

    def _values(self, name: str) -> list[float]:
        return [repeat.figures.get(name, math.nan) for repeat in self.repeats]

    def deciding(self) -> str:
        """The figure that decides by a name that says what it is."""
        if self.decides != "metric":
            return self.decides
        value = self.repeats[0].figures.get("metric")
        same = (name for name in self.names() if name != "loss" and self.repeats[0].figures[name] == value)
        return next(same, "metric")

    def best(self) -> Repeat:
        """The best run by the figure that decides; the first one of equals, and where nothing was measured."""
        return max(self.repeats, key=lambda repeat: self.rank(repeat.figures.get(self.decides, math.nan)))

    def rank(self, value: float) -> float:
        """A number that is larger for what is better; a run without the figure comes last."""
        if math.isnan(value):
            return -math.inf
        return value if self.higher else -value

    def within(self, folder: str) -> Summary:
        """The same, seen from a folder above."""
        repeats = (Repeat(f"{folder}/{r.run}".rstrip("/"), r.seed, r.figures) for r in self.repeats)
        return Summary(self.decides, self.higher, tuple(repeats))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; figures that are no numbers become None."""
        names = list(self.repeats[0].figures)
        spread = {name: self.std(name) for name in names} if len(self.repeats) > 1 else {}
        return {
            "decides": self.decides,
            "better": "higher" if self.higher else "lower",
            "count": len(self.repeats),
            "figures": _finite({name: self.mean(name) for name in names}),
            "std": _finite(spread),
            "best": self.best().run,
            "runs": [{"run": r.run, "seed": r.seed, "figures": _finite(r.figures)} for r in self.repeats],
        }


def _finite(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: finite(value) for name, value in figures.items()}


def finite(value: float | None) -> float | None:
    """For JSON: None for what is no number."""
    return value if value is not None and math.isfinite(value) else None


def decider(recipe: Recipe) -> tuple[str, bool]:
    """The figure by which a recipe's runs are compared, which is that of its checkpoints; whether more is better."""
    best = recipe.train.checkpoint.best
    if best == "none":
        inside = recipe.kind == "task_distill" and not recipe.method.losses.on_outputs
        best = "loss" if inside or recipe.kind in ("pretrain", "general_distill") else "metric"
    return best, best != "loss"


def run_summary(recipe: Recipe, folder: Path) -> Summary:
    """Figures of a finished run's result: of the step whose weights are in `model/`."""
    figures = {name: _number(value) for name, value in (_provenance(folder).get("figures") or {}).items()}
    return Summary(*decider(recipe), (Repeat("", recipe.train.seed, figures),))


def result_step(folder: Path) -> int | None:
    """After how many updates the weights of a run's result were taken."""
    return _provenance(folder).get("steps")


def _provenance(folder: Path) -> dict[str, Any]:
    return read_json(folder / "model" / "config.json").get("provenance") or {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def write_run_figures(recipe: Recipe, folder: Path) -> None:
    """Say that a run is finished, and what its result was measured at."""
    facts = {"recipe": recipe.name, "kind": recipe.kind, "steps": result_step(folder), "model": "model"}
    write_json(folder / FIGURES, {**facts, **run_summary(recipe, folder).as_dict()})


def read_summary(folder: Path) -> Summary | None:
    """What figures.json of a run, of repeats or of a grid (its best combination) says; None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FIGURES
    if not path.is_file():
        return None
    values = read_json(path)
    try:
        repeats = tuple(
            Repeat(item["run"], item["seed"], {name: _number(value) for name, value in item["figures"].items()})
            for item in values["runs"]
        )
        return Summary(values["decides"], values["better"] == "higher", repeats)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not figures of a run. Remove it and resume, which writes it again.") from error


def mean_of(values: Sequence[float]) -> float:
    """Mean; nan of nothing."""
    return statistics.fmean(values) if values else math.nan
