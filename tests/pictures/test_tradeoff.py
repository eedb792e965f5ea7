"""The picture of what size costs: a line for each depth, points where their numbers are, the choice marked."""

from __future__ import annotations

import pytest

from ms_plm.pictures.tradeoff import Point, tradeoff_figure

pytest.importorskip("matplotlib")

GRID = [
    Point(
        f"{width}x{depth}", f"depth {depth}", {"flops": width * depth * 2e9, "latency": depth / 100, "accuracy": merit}
    )
    for width, depth, merit in ((1, 1, 0.9), (0.5, 1, 0.85), (1, 0.5, 0.8), (0.5, 0.5, 0.7))
]


def test_sub_networks_of_a_depth_are_joined_from_small_to_large_in_every_panel():
    figure = tradeoff_figure(GRID, "accuracy", ("flops", "latency"))
    flops, latency = figure.axes
    assert (flops.get_xlabel(), latency.get_xlabel()) == ("FLOPs of a forward, G", "latency, ms")
    assert flops.get_ylabel() == "accuracy"
    lines = {line.get_label(): line for line in flops.get_lines()}
    assert list(lines) == ["depth 1", "depth 0.5"]
    assert lines["depth 1"].get_xydata().tolist() == [[1.0, 0.85], [2.0, 0.9]]
    assert lines["depth 0.5"].get_xydata().tolist() == [[0.5, 0.7], [1.0, 0.8]]
    assert latency.get_lines()[1].get_xdata().tolist() == [5.0, 5.0]
    assert {text.get_text() for text in flops.texts} == {point.name for point in GRID}


def test_the_choice_is_marked_and_what_was_tried_has_no_names():
    tried = [Point(f"tried {number}", "", {"flops": 1e9, "accuracy": 0.6}) for number in range(3)]
    chosen = Point("best", "lists", {"flops": 5e8, "accuracy": 0.75})
    (axes,) = tradeoff_figure(GRID, "accuracy", ("flops",), chosen, tried).axes
    assert axes.get_lines()[-1].get_xydata().tolist() == [[0.5, 0.75]]
    assert axes.get_lines()[-1].get_label() == "chosen: best"
    assert len(axes.collections[0].get_offsets()) == 3
    assert not any("tried" in text.get_text() for text in axes.texts)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["tried", "depth 1", "depth 0.5", "chosen: best"]


def test_of_many_points_none_is_named():
    many = [Point(str(number), "g", {"flops": number, "accuracy": number}) for number in range(17)]
    (axes,) = tradeoff_figure(many, "accuracy", ("flops",)).axes
    assert not axes.texts
