"""What a search says: the table of accuracy, size and latency, and the picture."""

from __future__ import annotations

from typing import Any

from ms_plm.elastic.figures import point
from ms_plm.elastic.search.searching import Candidate, Found
from ms_plm.pictures.tradeoff import Point
from ms_plm.series.tables import number, table


def found_table(found: Found, metrics: tuple[str, ...]) -> str:
    """All of the grid, and what was chosen, against the first row."""
    rows = [*found.grid]
    if found.chosen is not None and found.chosen not in rows:
        rows.append(found.chosen)
    first, timed = rows[0], any(row.seconds is not None for row in rows)
    head = ["sub-network", "layers", *metrics, "parameters, M", "FLOPs, G", *(["latency, ms"] if timed else [])]
    lines = []
    for row in rows:
        name = row.part.name + (" (chosen)" if row == found.chosen else "")
        cells = [name, str(len(row.part.layers)), *(number(row.figures[metric]) for metric in metrics)]
        cells += [f"{row.cost.parameters / 1e6:.2f}", f"{row.cost.flops / 1e9:.3f} ({_times(first, row)})"]
        if timed:
            mark = "" if row.measured or row.seconds is None else " (told)"
            cells.append("-" if row.seconds is None else f"{row.seconds * 1e3:.2f}{mark}")
        lines.append(cells)
    return table(head, lines)


def _times(first: Candidate, row: Candidate) -> str:
    return f"{first.cost.flops / row.cost.flops:.2f}x"


def found_points(found: Found, metric: str) -> dict[str, Any]:
    """The arguments of `ms_plm.pictures.tradeoff.tradeoff_figure`."""
    costs = ["parameters", "flops"] + (["latency"] if all(c.seconds is not None for c in found.grid) else [])
    return {
        "points": [_point(each, metric) for each in found.grid],
        "merit": metric,
        "costs": costs,
        "chosen": _point(found.chosen, metric) if found.chosen else None,
        "others": [_point(each, metric) for each in found.tried],
    }


def _point(each: Candidate, metric: str) -> Point:
    latency = {} if each.seconds is None else {"latency": each.seconds}
    return point(each.part, each.cost, {metric: each.figures[metric], **latency})


def as_dict(found: Found) -> dict[str, Any]:
    """For JSON."""

    def one(each: Candidate) -> dict[str, Any]:
        part = each.part
        return {
            "name": part.name,
            "layers": part.layers,
            "heads": part.heads,
            "intermediate": part.intermediate,
            "parameters": each.cost.parameters,
            "flops": each.cost.flops,
            "seconds": each.seconds,
            "measured": each.measured,
            "figures": each.figures,
        }

    return {
        "grid": [one(each) for each in found.grid],
        "tried": [one(each) for each in found.tried],
        "chosen": one(found.chosen) if found.chosen else None,
    }
