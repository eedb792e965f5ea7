"""The picture of a search: which points and lines there are."""

import math

import pytest

from ms_plm.pictures.search import search_picture

pytest.importorskip("matplotlib")
FRESH, KEPT = [[0.2, 0.5, math.nan], [0.9, 0.1]], [[], [0.5]]


def lines(figure) -> dict[str, tuple[list, list]]:
    (axes,) = figure.axes
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_every_gene_is_a_point_and_baselines_are_lines_across():
    figure = search_picture(FRESH, KEPT, {"uniform": 0.4, "last layer": math.nan}, "search", "mean of 3 tasks")
    shown = lines(figure)
    assert shown["new"] == ([0, 0, 1, 1], [0.2, 0.5, 0.9, 0.1])
    assert shown["kept"] == ([1], [0.5])
    assert shown["best so far: 0.9000"] == ([0, 1], [0.5, 0.9])
    assert shown["mean of the population"][1] == pytest.approx([0.35, 0.5])
    assert shown["uniform: 0.4000"][1] == [0.4, 0.4]
    assert len(shown) == 5  # a baseline that came to nothing has no line
    assert figure.axes[0].get_ylabel() == "mean of 3 tasks"
    figure.draw_without_rendering()


def test_the_best_so_far_never_falls():
    shown = lines(search_picture([[0.7], [0.3], [math.nan]], [[], [], []], {}, "search"))
    assert shown["best so far: 0.7000"][1] == [0.7, 0.7, 0.7]
    assert math.isnan(shown["mean of the population"][1][2])
