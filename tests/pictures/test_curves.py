"""Learning curves: which lines there are, what is marked, the axis of epochs."""

import numpy as np
import pytest

from ms_plm.pictures.curves import best_record, learning_curves, smoothed

pytest.importorskip("matplotlib")
RECORDS = [
    {"step": 0, "kind": "evaluate", "loss": 1.0, "metric": 0.95},
    *({"step": step, "kind": "train", "loss": 1 / step} for step in range(1, 9)),
    {"step": 4, "kind": "evaluate", "loss": 0.5, "metric": 0.8},
    {"step": 8, "kind": "evaluate", "loss": 0.4, "metric": 0.7},
    {"step": 9, "kind": "train", "loss": None},
]


def lines(axes) -> dict[str, tuple[list, list]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_losses_stand_above_and_the_deciding_figure_below_with_its_best_value_marked():
    figure = learning_curves(RECORDS, "run", "metric", "dev: accuracy", updates_per_epoch=4)
    above, below = figure.axes
    shown = lines(above)
    assert shown["training"] == (list(range(1, 9)), [1 / step for step in range(1, 9)])
    np.testing.assert_array_equal(shown["training, smoothed"][1], smoothed([1 / step for step in range(1, 9)]))
    assert shown["held out"] == ([0, 4, 8], [1.0, 0.5, 0.4])
    assert shown["best step 4: 0.5000"] == ([4], [0.5])  # by the figure, though its loss is not the least
    assert lines(below) == {"held out": ([0, 4, 8], [0.95, 0.8, 0.7]), "best step 4: 0.8000": ([4], [0.8])}
    assert below.get_ylabel() == "dev: accuracy"
    (epochs,) = above.child_axes
    assert epochs.get_xlabel() == "epoch"
    figure.draw_without_rendering()
    assert epochs.get_xlim() == pytest.approx(tuple(step / 4 for step in above.get_xlim()))


def test_the_evaluation_that_the_run_took_is_marked():
    figure = learning_curves(RECORDS, "run", "metric", best_step=8)
    assert "best step 8: 0.7000" in lines(figure.axes[1])


def test_without_a_deciding_figure_the_least_loss_is_marked_in_one_panel():
    records = [{key: value for key, value in record.items() if key != "metric"} for record in RECORDS]
    (axes,) = learning_curves(records, "run", "metric").axes
    assert lines(axes)["best step 8: 0.4000"] == ([8], [0.4])


def test_a_run_without_held_out_data_has_its_training_loss_alone():
    (axes,) = learning_curves([record for record in RECORDS if record["kind"] == "train"], "run", "accuracy").axes
    assert set(lines(axes)) == {"training", "training, smoothed"}


def test_nothing_is_best_before_training():
    assert best_record(RECORDS[:1], None, "metric") is None


def test_the_smoothed_line_begins_at_the_first_value_and_keeps_what_is_constant():
    assert smoothed([3.0, 0.0, 0.0])[0] == 3.0
    np.testing.assert_allclose(smoothed([2.0] * 50), 2.0)
    noise = np.random.default_rng(0).normal(size=1000)
    assert smoothed(noise)[200:].std() < 0.2 * noise.std()
