"""Attention maps: what every head of every layer looks at, of one model or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ms_plm.pictures.canvas import drawable, label_ticks, root_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELLED = 150
"""Up to so many tokens a large map names them."""


def attention_figure(
    models: Sequence[tuple[str, np.ndarray]],
    tokens: Sequence[str],
    ids: Sequence[int],
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
) -> Figure:
    """Maps of query (down) x key (across): an overview of layers x heads, or one large map with the tokens' names.

    All maps share one scale of colours, `root_scale`, so that weak attention shows as well.

    Args:
        models: a title and probabilities `[layers, heads, S, S]` for each; NaN where a layer has fewer heads, or is
            left out.
        tokens: names, `S` of them; those that no installed font can show become their ids.
        ids: of the tokens.
        layers, heads: numbers from 0 that are shown of each model, as far as it has them; None: all. One of each: the
            large map.
    """
    chosen = [(title, maps, _chosen(layers, maps.shape[0]), _chosen(heads, maps.shape[1])) for title, maps in models]
    if all(len(rows) <= 1 and len(columns) <= 1 for _, _, rows, columns in chosen):
        return _large(chosen, tokens, ids)
    return _overview(chosen)


def _chosen(numbers: Sequence[int] | None, count: int) -> list[int]:
    return list(range(count)) if numbers is None else [number for number in numbers if number < count]


def _overview(chosen: Sequence[tuple[str, np.ndarray, list[int], list[int]]]) -> Figure:
    """A grid for each model; fixed margins, as a layout that is solved for takes long for hundreds of maps."""
    from matplotlib.figure import Figure

    across, down = sum(len(columns) for *_, columns in chosen), max(len(rows) for _, _, rows, _ in chosen)
    cell = float(np.clip(16 / max(across, down), 0.55, 2.2))
    widths = [cell * max(1, len(columns)) + 0.5 for *_, columns in chosen]
    width, height = sum(widths) + 0.9, cell * down + 0.8
    figure = Figure(figsize=(width, height))
    left = 0.1
    image = None
    for (title, maps, rows, columns), own in zip(chosen, widths, strict=True):
        edges = {"left": (left + 0.4) / width, "right": (left + own) / width}
        edges |= {"top": 1 - 0.65 / height, "bottom": 1 - (0.65 + cell * down) / height}
        grid = figure.add_gridspec(max(1, down), max(1, len(columns)), wspace=0.06, hspace=0.06, **edges)
        middle = (edges["left"] + edges["right"]) / 2
        figure.text(middle, 1 - 0.12 / height, title, ha="center", va="top", fontsize=10, parse_math=False)
        for row, layer in enumerate(rows):
            for column, head in enumerate(columns):
                axes = figure.add_subplot(grid[row, column], label=f"{title}, layer {layer}, head {head}")
                axes.set(xticks=[], yticks=[])
                if row == 0:
                    axes.set_title(f"head {head}" if column == 0 else f"{head}", fontsize=7, pad=2)
                if column == 0:
                    axes.set_ylabel(f"layer {layer}" if row == 0 else f"{layer}", fontsize=7, labelpad=2)
                if np.isnan(maps[layer, head]).all():
                    axes.set_frame_on(False)  # this layer has fewer heads, or is left out
                else:
                    image = axes.imshow(maps[layer, head], cmap="viridis", norm=root_scale(), aspect="auto")
        left += own
    if image is not None:
        tall = min(0.9, 3 / height)
        bar = figure.add_axes([1 - 0.6 / width, 0.5 - tall / 2, 0.12 / width, tall], label="scale")
        figure.colorbar(image, cax=bar).ax.tick_params(labelsize=7)
    return figure


def _large(
    chosen: Sequence[tuple[str, np.ndarray, list[int], list[int]]], tokens: Sequence[str], ids: Sequence[int]
) -> Figure:
    from matplotlib.figure import Figure

    length = len(tokens)
    side = float(np.clip(2 + 0.22 * length, 4.5, 24))
    figure = Figure(figsize=(side * len(chosen) + 1, side + 0.4), layout="compressed")
    every = list(figure.subplots(1, len(chosen), squeeze=False)[0])
    labelled = length <= _LABELLED
    names, families = drawable(tokens, ids) if labelled else ([], [])
    size = float(np.clip(72 * 0.75 * side / (1.5 * length), 4, 9))
    image = None
    for axes, (title, maps, rows, columns) in zip(every, chosen, strict=True):
        if not rows or not columns or np.isnan(maps[rows[0], columns[0]]).all():
            axes.set_title(f"{title}: no such head", fontsize=9, parse_math=False)
            axes.set_axis_off()
            continue
        image = axes.imshow(maps[rows[0], columns[0]], cmap="viridis", norm=root_scale())
        axes.set_title(f"{title}, layer {rows[0]}, head {columns[0]}", fontsize=10, parse_math=False)
        axes.set(xlabel="looked at (key)", ylabel="from (query)")
        if labelled:
            label_ticks(axes.xaxis, names, families, size, rotation=90)
            label_ticks(axes.yaxis, names, families, size)
    if image is not None:
        figure.colorbar(image, ax=every, shrink=0.7, aspect=30, label="probability")
    return figure
