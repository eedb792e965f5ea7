"""What all pictures share: fonts for any script, and what happens without matplotlib."""

import logging
import sys

import pytest

from ms_plm.pictures import canvas

pytest.importorskip("matplotlib")


@pytest.fixture
def fonts(monkeypatch):
    """Installed are a font of Latin letters and one that has two Chinese characters as well."""
    latin = frozenset(range(32, 127))
    monkeypatch.setattr(canvas, "_families", lambda: (("sans-serif", latin), ("Han", latin | {ord("春"), ord("天")})))


def test_names_are_drawn_with_the_fonts_that_have_their_characters(fonts, caplog):
    assert canvas.drawable(["春天", "ab"], [7, 8]) == (["春天", "ab"], ["sans-serif", "Han"])
    assert canvas.drawable(["[SEP]", "ab"], [7, 8]) == (["[SEP]", "ab"], ["sans-serif"])
    assert caplog.records == []


def test_a_name_that_no_font_has_becomes_its_number_and_one_line_says_so(fonts, caplog):
    assert canvas.drawable(["秋", "春", "冬天"], [7, 8, 9])[0] == ["7", "春", "9"]
    (record,) = caplog.records
    assert "2 of 3 names" in record.getMessage()
    assert "冬 秋" in record.getMessage()


def test_the_usual_font_is_looked_into(caplog):
    labels, families = canvas.drawable(["[CLS]", "##ing"], [0, 1])
    assert labels == ["[CLS]", "##ing"]
    assert len(families) == 1


def test_a_font_that_is_listed_and_not_there_is_passed_over(monkeypatch, tmp_path):
    from matplotlib import font_manager

    lost = font_manager.FontEntry(fname=str(tmp_path / "lost.ttf"), name="Noto Sans CJK SC", style="normal")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [lost])
    canvas._families.cache_clear()
    try:
        assert [name for name, _ in canvas._families()] == ["sans-serif"]
    finally:
        canvas._families.cache_clear()


def test_a_label_with_dollars_is_no_formula(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    canvas.label_ticks(axes.xaxis, ["$a_$", "b"], ["sans-serif"], 8)
    canvas.save_figure(figure, tmp_path / "x.png")  # would fail to read it as one
    assert [label.get_text() for label in axes.get_xticklabels()] == ["$a_$", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    caplog.set_level(logging.INFO)
    assert not canvas.can_draw("learning curves")
    (record,) = caplog.records
    assert "no learning curves" in record.getMessage()
    assert "ms-plm[viz]" in record.getMessage()
