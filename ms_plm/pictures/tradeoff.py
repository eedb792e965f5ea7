"""What a model's size costs: a figure of merit over parameters, FLOPs and latency, a point for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCALES = {
    "parameters": ("parameters, M", 1e6),
    "flops": ("FLOPs of a forward, G", 1e9),
    "latency": ("latency, ms", 1e-3),
}
_NAMED = 16
"""Up to so many points have their names beside them."""


@dataclass(frozen=True)
class Point:
    """A model.

    Attributes:
        name: beside the point.
        group: points of one are joined by a line.
        values: by quantity: `parameters`, `flops`, `latency` (seconds), and figures of merit.
    """

    name: str
    group: str
    values: Mapping[str, float]


def tradeoff_figure(
    points: Sequence[Point], merit: str, costs: Sequence[str], chosen: Point | None = None, others: Sequence[Point] = ()
) -> Figure:
    """A panel for each cost.

    Args:
        points: the models.
        merit: the figure that is better where it is higher.
        costs: quantities of `Point.values`, each a panel.
        chosen: is marked.
        others: are shown without names, such as those that were tried on the way.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(costs), 4.2), layout="constrained")
    groups = list(dict.fromkeys(point.group for point in points))
    for axes, cost in zip(figure.subplots(1, len(costs), squeeze=False)[0], costs, strict=True):
        title, unit = _SCALES[cost]
        if others:
            across, up = ([p.values[name] for p in others] for name in (cost, merit))
            axes.scatter([value / unit for value in across], up, s=8, color="0.7", label="tried")
        for group in groups:
            own = sorted((p for p in points if p.group == group), key=lambda p: p.values[cost])
            across, up = [p.values[cost] / unit for p in own], [p.values[merit] for p in own]
            axes.plot(across, up, marker="o", linewidth=1, markersize=4, label=group)
        if len(points) <= _NAMED:
            for point in points:
                where = point.values[cost] / unit, point.values[merit]
                axes.annotate(point.name, where, (3, 4), textcoords="offset points", fontsize=6, parse_math=False)
        if chosen is not None:
            where = chosen.values[cost] / unit, chosen.values[merit]
            axes.plot(
                *where, marker="o", markersize=11, fillstyle="none", color="black", label=f"chosen: {chosen.name}"
            )
        axes.set(xlabel=title, ylabel=merit.replace("_", " "))
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="lower right")
    return figure
