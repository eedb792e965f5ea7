"""Bars of ratios: how many times smaller or faster models are than the one that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ratio_figure(titles: Sequence[str], ratios: Mapping[str, Sequence[float | None]], reference: str) -> Figure:
    """A group of bars for each quantity, in it a bar for each model with its number; a line stands at 1.

    Args:
        titles: of the quantities.
        ratios: model to the reference's value divided by its own, one a quantity; None: not known, no bar.
        reference: name of the model that the others are compared with.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.2 + len(titles) * (0.25 + 0.22 * len(ratios))), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / max(1, len(ratios))
    for number, (name, values) in enumerate(ratios.items()):
        known = [(index, value) for index, value in enumerate(values) if value]
        places = [index + (number - (len(ratios) - 1) / 2) * height for index, _ in known]
        bars = axes.barh(places, [value for _, value in known], height, color=f"C{number}", label=name)
        axes.bar_label(bars, [f"{value:.2f}x" for _, value in known], padding=3, fontsize=8)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_yticks(range(len(titles)), titles, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("times smaller or faster")
    axes.set_title(f"compared with {reference}", fontsize=10, parse_math=False)
    for text in axes.legend(fontsize=8, loc="best").get_texts():
        text.set_parse_math(False)
    return figure
