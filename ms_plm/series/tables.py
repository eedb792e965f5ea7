"""Tables of repeats and grids in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ms_plm.series.figures import Summary


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Markdown, the first `left` columns aligned to the left, numbers to the right."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float, std: float | None = None) -> str:
    """With four digits; a dash for what is no number."""
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" + ("" if std is None or math.isnan(std) else f" ± {std:.4f}")


def repeats_table(summary: Summary) -> str:
    """Every seed's figures, their mean, sample standard deviation and the best run."""
    names, best = summary.names(), summary.best()
    rows = [[r.run, *(number(r.figures.get(name, math.nan)) for name in names)] for r in summary.repeats]
    if len(summary.repeats) > 1:
        rows.append(["**mean**", *(number(summary.mean(name)) for name in names)])
        rows.append(["standard deviation (n-1)", *(number(summary.std(name)) for name in names)])
    rows.append([f"best: {best.run}", *(number(best.figures.get(name, math.nan)) for name in names)])
    return table(["run", *names], rows)


def grid_table(found: Mapping[str, Summary], missing: Sequence[str], points: Mapping[str, Mapping[str, Any]]) -> str:
    """Every combination with its mean figures, the best one first; those that failed last."""
    order = sorted(found, key=lambda name: -found[name].rank(found[name].mean(found[name].decides)))
    first = found[order[0]]
    decides = first.deciding()
    names = [name for name in first.names() if name == decides] + [n for n in first.names() if n != decides]
    keys = list(next(iter(points.values())))
    rows = []
    for name in order:
        summary = found[name]
        values = [_value(points[name][key]) for key in keys]
        rows.append([*values, *(number(summary.mean(n), summary.std(n)) for n in names), str(len(summary.repeats))])
    rows += [[*(_value(points[name][key]) for key in keys), *["failed"] * len(names), "0"] for name in missing]
    return table([*keys, *names, "runs"], rows, len(keys))


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
