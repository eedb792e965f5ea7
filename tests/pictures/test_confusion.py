"""Confusion of classes: counts, the most confused pairs, and what the picture shows."""

import json
import sys

import numpy as np
import pytest

from ms_plm.pictures import canvas
from ms_plm.pictures.confusion import (
    confused_pairs,
    confused_text,
    confusion_counts,
    confusion_figure,
    draw_confusion,
    row_shares,
)

LABELS = ["no", "yes", "never"]
EXPECTED = ["no", "no", "no", "yes", "yes"]
PREDICTED = ["no", "yes", "yes", "yes", "no"]
COUNTS = [[1, 2, 0], [1, 1, 0], [0, 0, 0]]


def test_rows_are_the_labels_and_columns_the_predictions():
    counts = confusion_counts(LABELS, EXPECTED, PREDICTED)
    assert counts.tolist() == COUNTS
    np.testing.assert_allclose(row_shares(counts), [[1 / 3, 2 / 3, 0], [0.5, 0.5, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="maybe"):
        confusion_counts(LABELS, ["maybe"], ["no"])


def test_pairs_of_different_classes_stand_in_the_order_of_their_frequency():
    pairs = confused_pairs(np.array(COUNTS), LABELS)
    assert [(pair["expected"], pair["predicted"], pair["count"]) for pair in pairs] == [
        ("no", "yes", 2),
        ("yes", "no", 1),
    ]
    assert pairs[0]["share"] == pytest.approx(2 / 3)
    assert confused_text(pairs, 1) == "  no taken for yes: 2 (66.7% of its examples)"
    assert confused_pairs(np.diag([3, 4]), ["a", "b"]) == []


def cells(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def names(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_few_classes_have_counts_and_shares_in_their_cells():
    pytest.importorskip("matplotlib")
    axes = confusion_figure(np.array(COUNTS), LABELS, "moods, dev:").axes[0]
    assert axes.get_title() == "moods, dev:  40.0% of 5 right"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "label")
    assert names(axes.xaxis) == names(axes.yaxis) == LABELS
    assert cells(axes)[:3] == ["1\n33%", "2\n67%", "0\n0%"]
    np.testing.assert_array_equal(axes.images[0].get_array(), row_shares(np.array(COUNTS)))
    assert axes.images[0].norm(0.04) == pytest.approx(0.2)  # a mistake in 4 % of a class is to be seen


@pytest.mark.parametrize(("classes", "texts"), [(20, 20 * 20), (119, 0)])
def test_more_classes_have_counts_and_many_have_colours_alone(classes, texts):
    pytest.importorskip("matplotlib")
    figure = confusion_figure(np.eye(classes, dtype=np.int64) * 7, [f"class {n}" for n in range(classes)])
    axes = figure.axes[0]
    assert len(cells(axes)) == texts
    assert set(cells(axes)) <= {"7", ""}
    assert names(axes.yaxis)[-1] == f"class {classes - 1}"
    high = axes.yaxis.get_ticklabels()[0].get_fontsize() / 72
    assert high * classes < figure.get_figheight(), "names would run into each other"


def test_names_that_cannot_be_shown_are_numbers_in_the_picture_and_names_in_the_file(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(canvas, "_families", lambda: (("sans-serif", frozenset(range(32, 127))),))
    assert names(confusion_figure(np.eye(2, dtype=np.int64), ["好", "bad"]).axes[0].xaxis) == ["0", "bad"]
    draw_confusion(["好", "bad"], ["好"], ["bad"], tmp_path / "c.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "c.png"]
    written = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert written["labels"] == ["好", "bad"]
    assert written["counts"] == [[0, 1], [0, 0]]
    assert written["most_confused"] == [{"expected": "好", "predicted": "bad", "count": 1, "share": 1.0}]


def test_without_matplotlib_there_are_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert len(draw_confusion(LABELS, EXPECTED, PREDICTED, tmp_path / "c.png")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]
