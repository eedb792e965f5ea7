"""Bars of ratios: which ones there are and what they say."""

import pytest

from ms_plm.pictures.ratios import ratio_figure

pytest.importorskip("matplotlib")


def test_every_known_ratio_has_a_bar_with_its_number():
    figure = ratio_figure(["parameters", "latency"], {"four": [7.5, 9.4], "$six": [1.6, None]}, "teacher")
    (axes,) = figure.axes
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {"four": [7.5, 9.4], "$six": [1.6]}
    assert [text.get_text() for text in axes.texts] == ["7.50x", "9.40x", "1.60x"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["parameters", "latency"]
    assert axes.get_title() == "compared with teacher"
    figure.draw_without_rendering()
