"""Confusion of classes: which ones a model takes for which, as a picture and as numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_plm.common.files import write_json
from ms_plm.pictures.canvas import can_draw, drawable, label_ticks, root_scale, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WITH_SHARES, _WITH_COUNTS = 16, 30
"""Up to so many classes a cell holds count and share, or the count alone."""
_LONGEST = 28
"""Characters of a class name that are shown."""


def confusion_counts(
    labels: Sequence[Hashable], expected: Sequence[Hashable], predicted: Sequence[Hashable]
) -> np.ndarray:
    """How many examples of each class were given each one: int64 `[expected, predicted]`.

    Raises:
        ValueError: a class that is none of `labels`, or lists of different lengths.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    strange = {*expected, *predicted} - numbers.keys()
    if strange:
        raise ValueError(f"classes that are not among the labels: {sorted(map(repr, strange))[:5]}")
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for true, guess in zip(expected, predicted, strict=True):
        counts[numbers[true], numbers[guess]] += 1
    return counts


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Of the examples of a class, the share that was given each one: float64 `[C, C]`; 0 where there are none."""
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def confused_pairs(counts: np.ndarray, labels: Sequence[Hashable], most: int = 20) -> list[dict[str, Any]]:
    """Pairs of different classes by how often one was taken for the other, the most frequent first.

    Args:
        counts: `[expected, predicted]`.
        labels: names.
        most: so many at most.

    Returns:
        For each `expected`, `predicted`, `count`, and `share` of the examples of the expected class.
    """
    wrong, shares = counts - np.diag(np.diag(counts)), row_shares(counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    return [
        {
            "expected": labels[true],
            "predicted": labels[guess],
            "count": int(wrong[true, guess]),
            "share": float(shares[true, guess]),
        }
        for true, guess in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[true, guess]
    ]


def confused_text(pairs: Sequence[dict[str, Any]], most: int = 5) -> str:
    """The first of `confused_pairs`, one a line."""
    return "\n".join(
        f"  {pair['expected']} taken for {pair['predicted']}: {pair['count']} ({pair['share']:.1%} of its examples)"
        for pair in pairs[:most]
    )


def confusion_figure(counts: np.ndarray, labels: Sequence[Hashable], title: str = "") -> Figure:
    """A cell a pair of classes, coloured by its share of the row (`root_scale`, so that rare mistakes show as well).

    Cells of up to 16 classes hold count and share, those of up to 30 the count; more have colours alone.

    Args:
        counts: int64 `[expected, predicted]`.
        labels: names; those that no installed font can show become their numbers.
        title: above it, with the share of right ones.
    """
    from matplotlib.figure import Figure

    size, shares = len(labels), row_shares(counts)
    inches = float(np.clip(2.5 + 0.6 * size, 5, 22))
    figure = Figure(figsize=(inches + 1, inches), layout="compressed")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", norm=root_scale())
    figure.colorbar(image, ax=axes, shrink=0.8, aspect=40, label="share of the examples of a class")
    names = [str(label) if len(str(label)) <= _LONGEST else f"{str(label)[: _LONGEST - 1]}…" for label in labels]
    shown, families = drawable(names, range(size))
    font = float(np.clip(72 * 0.8 * inches / (1.6 * size), 4.5, 10))
    upright = max(map(len, shown)) > 3 or size > _WITH_COUNTS
    label_ticks(axes.xaxis, shown, families, font, rotation=90 if upright else 0)
    label_ticks(axes.yaxis, shown, families, font)
    axes.set(xlabel="predicted", ylabel="label")
    total = max(1, int(counts.sum()))
    axes.set_title(f"{title}  {np.trace(counts) / total:.1%} of {counts.sum()} right".strip(), parse_math=False)
    if size <= _WITH_COUNTS:
        for (true, guess), count in np.ndenumerate(counts):
            text = f"{count}\n{shares[true, guess]:.0%}" if size <= _WITH_SHARES else f"{count}" if count else ""
            colour = "white" if shares[true, guess] > 0.35 else "black"
            axes.text(guess, true, text, ha="center", va="center", color=colour, fontsize=min(font, 9))
    return figure


def draw_confusion(
    labels: Sequence[Hashable],
    expected: Sequence[Hashable],
    predicted: Sequence[Hashable],
    path: str | Path,
    title: str = "",
) -> list[dict[str, Any]]:
    """Write the picture `path`, and beside it, ending in .json, the numbers: labels, counts, the most confused pairs.

    Without the extra `viz` there are the numbers alone, and a log line.

    Args:
        labels: classes in the order of their ids.
        expected, predicted: one of them for each example.
        path: the picture.
        title: of it.

    Returns:
        `confused_pairs`.

    Raises:
        ValueError: see `confusion_counts`.
        UserError: the disk is full.
    """
    path, counts = Path(path), confusion_counts(labels, expected, predicted)
    pairs = confused_pairs(counts, labels)
    numbers = {"labels": list(labels), "counts": counts.tolist(), "most_confused": pairs}
    write_json(path.with_suffix(".json"), numbers)
    if can_draw("picture of confused classes"):
        save_figure(confusion_figure(counts, labels, title), path)
    return pairs
