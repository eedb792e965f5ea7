"""An evolutionary search: the fitness of every gene by generation, beside baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def search_picture(
    fresh: Sequence[Sequence[float]],
    kept: Sequence[Sequence[float]],
    baselines: Mapping[str, float],
    title: str,
    fitness: str = "fitness",
) -> Figure:
    """Genes as points, the best so far and the mean of each population as lines, baselines across.

    Args:
        fresh: of every generation, the fitnesses of genes that are new in it; nan is left out.
        kept: of every generation, those of genes that live on from the one before.
        baselines: name -> fitness.
        title: of the picture.
        fitness: what it is, for the axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for generations, label, face in ((fresh, "new", "C0"), (kept, "kept", "none")):
        points = [(number, value) for number, values in enumerate(generations) for value in _finite(values)]
        if points:
            axes.plot(*zip(*points, strict=True), "o", ms=4, mfc=face, mec="C0", alpha=0.6, ls="", label=label)
    best, bests, means = math.nan, [], []
    for generation in zip(fresh, kept, strict=True):
        values = [value for part in generation for value in _finite(part)]
        best = max([*values, *_finite([best])], default=math.nan)
        bests.append(best)
        means.append(sum(values) / len(values) if values else math.nan)
    axes.plot(bests, color="C3", lw=1.8, label=f"best so far: {best:.4f}")
    axes.plot(means, color="C0", lw=1.2, label="mean of the population")
    for number, (name, value) in enumerate(baselines.items()):
        if math.isfinite(value):
            style = {"color": f"C{(1, 2, 4, 5, 6)[number % 5]}", "ls": "--", "lw": 1.2}
            axes.axhline(value, label=f"{name}: {value:.4f}", **style)
    axes.set(xlabel="generation", ylabel=fitness)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(title, parse_math=False)
    return figure


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
