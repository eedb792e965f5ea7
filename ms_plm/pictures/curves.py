"""Learning curves: what training and held-out data say over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHARE = 0.04
"""Length of the smoothing, as a share of all records."""


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Exponential mean of values so far, float64 `[n]`; the first ones are not drawn towards 0.

    Half of the weight is on the last 4 % of the records or so: Adam's bias correction (Kingma and Ba 2015) applied to
    a running mean.
    """
    keep = 0.5 ** (1 / max(1.0, _SHARE * len(values)))
    mean, weight, found = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(mean / weight)
    return np.array(found)


def best_record(records: Sequence[Mapping[str, Any]], best_step: int | None, metric: str | None) -> Mapping | None:
    """The evaluation to be marked.

    Args:
        records: evaluations.
        best_step: which one the run took; None: it took none, so the best after training began.
        metric: what decides then, the larger the better; None: the loss.
    """
    if best_step is not None:
        return next((record for record in records if record["step"] == best_step), None)
    by = metric or "loss"
    later = [record for record in records if record["step"] > 0 and record.get(by) is not None]
    return max(later, key=lambda record: record[by] if metric else -record[by], default=None)


def learning_curves(
    records: Sequence[Mapping[str, Any]],
    title: str,
    metric: str | None = None,
    metric_title: str | None = None,
    best_step: int | None = None,
    updates_per_epoch: float | None = None,
) -> Figure:
    """Training and held-out loss over the steps, and below it a held-out figure where there is one.

    Args:
        records: of metrics.jsonl, kinds `train` and `evaluate`; a value that was not finite is None and left out.
        title: of the picture.
        metric: the figure of evaluations that is drawn below.
        metric_title: for people; default: its name.
        best_step: the evaluation that is marked, see `best_record`.
        updates_per_epoch: for an axis of epochs beside that of steps.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    evaluations = [record for record in records if record["kind"] == "evaluate"]
    below = metric is not None and any(record.get(metric) is not None for record in evaluations)
    figure = Figure(figsize=(7.5, 6.5 if below else 4), layout="constrained")
    panels = figure.subplots(2 if below else 1, sharex=True, squeeze=False, height_ratios=[3, 2] if below else None)
    panels = list(panels[:, 0])
    steps, losses = _points(records, "train", "loss")
    if steps:
        panels[0].plot(steps, losses, color="C0", lw=0.6, alpha=0.4, label="training")
        panels[0].plot(steps, smoothed(losses), color="C0", lw=1.6, label="training, smoothed")
    best = best_record(evaluations, best_step, metric if below else None)
    for axes, name, shown in zip(panels, ("loss", metric), ("loss (all terms)", metric_title or metric), strict=False):
        points = _points(records, "evaluate", name)
        if points[0]:
            axes.plot(*points, color="C1", marker="o", ms=3, label="held out")
        if best is not None and best.get(name) is not None:
            label = f"best step {best['step']}: {best[name]:.4f}"
            axes.plot([best["step"]], [best[name]], "*", color="C3", ms=12, ls="", label=label)
        axes.set_ylabel(shown)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title, parse_math=False)
    if updates_per_epoch:
        length = updates_per_epoch
        epochs = panels[0].secondary_xaxis("top", functions=(lambda step: step / length, lambda epoch: epoch * length))
        epochs.set_xlabel("epoch")
    return figure


def _points(records: Sequence[Mapping[str, Any]], kind: str, name: str) -> tuple[list[int], list[float]]:
    """Steps, and the values there that are numbers."""
    found = [(r["step"], r[name]) for r in records if r["kind"] == kind and r.get(name) is not None]
    found = [(step, value) for step, value in found if math.isfinite(value)]
    return [step for step, _ in found], [value for _, value in found]
