"""The native masked-LM loss on arrays: against float64, over several slices of the vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from symbols import integers, normal, relative_error, run, threads

pytestmark = pytest.mark.usefixtures("native")
FP32, BF16 = 0, 1
BOUNDS = {FP32: 1e-6, BF16: 1e-2}


def _problem(rows: int, entries: int, width: int):
    draw = np.random.default_rng((rows, entries))
    labels = draw.integers(0, entries, rows).astype(np.int32)
    weights = draw.random(rows).astype(np.float32)
    weights[rows // 2 :: 5] = 0.0
    return normal(rows, width), normal(entries, width) * 0.3, normal(entries), labels, weights


def _everything(rows, embedding, bias, labels, weights, precision: int, slope: float = 1.0) -> list[np.ndarray]:
    options = integers(precision)
    given = rows, embedding, bias, labels, weights, options
    loss, log_sum = run("masked_lm_loss_forward", *given, outputs=[(1,), (len(rows),)])
    gradients = run(
        "masked_lm_loss_backward",
        *(np.array([slope], np.float32), *given, log_sum),
        outputs=[rows.shape, embedding.shape, bias.shape],
    )
    return [loss, *gradients]


def _oracle(rows, embedding, bias, labels, weights, slope: float):
    logits = rows.astype(np.float64) @ embedding.T.astype(np.float64) + bias
    top = logits.max(1, keepdims=True)
    log_sum = (top + np.log(np.exp(logits - top).sum(1, keepdims=True)))[:, 0]
    chosen = np.arange(len(rows)), labels
    dlogits = np.exp(logits - log_sum[:, None])
    dlogits[chosen] -= 1
    dlogits *= weights[:, None] * slope
    loss = np.array([(weights * (log_sum - logits[chosen])).sum()])
    return loss, dlogits @ embedding, dlogits.T @ rows, dlogits.sum(0)


@pytest.mark.parametrize("precision", [FP32, BF16])
@pytest.mark.parametrize(("rows", "entries", "width"), [(37, 3000, 24), (1, 1, 1), (2100, 1300, 8), (5, 513, 33)])
def test_the_loss_and_its_gradients_are_those_of_the_formula(precision, rows, entries, width):
    """2100 rows take slices of 512 entries: three of them, the last one short."""
    given = _problem(rows, entries, width)
    for got, wanted in zip(_everything(*given, precision, 0.7), _oracle(*given, 0.7), strict=True):
        assert relative_error(got, wanted) < BOUNDS[precision] or np.abs(got - wanted).max() < 1e-6


def test_logits_far_beyond_exponentials_are_exact():
    rows, embedding, bias, labels, weights = _problem(6, 700, 8)
    bias[3] = 5000.0
    for got, wanted in zip(
        _everything(rows, embedding, bias, labels, weights, FP32),
        _oracle(rows, embedding, bias, labels, weights, 1.0),
        strict=True,
    ):
        assert relative_error(got, wanted) < 1e-6


def test_no_rows_cost_nothing():
    rows, embedding, bias, labels, weights = _problem(0, 9, 4)
    loss, drows, dembedding, dbias = _everything(rows, embedding, bias, labels, weights, FP32)
    assert loss == 0
    assert drows.shape == (0, 4)
    assert not dembedding.any()
    assert not dbias.any()


def test_a_row_without_weight_has_no_gradient():
    rows, embedding, bias, labels, _ = _problem(9, 50, 4)
    loss, *gradients = _everything(rows, embedding, bias, labels, np.zeros(9, np.float32), FP32)
    assert loss == 0
    assert all(not gradient.any() for gradient in gradients)


def test_results_do_not_depend_on_the_number_of_threads():
    given, results = _problem(300, 5000, 64), []
    for number in (1, 2, 4):
        with threads(number):
            results.append(_everything(*given, FP32))
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def _cross_entropy(logits, labels, weights, slope: float) -> list[np.ndarray]:
    (loss,) = run("cross_entropy_forward", logits, labels, weights, outputs=[(1,)])
    slopes = np.array([slope], np.float32)
    (gradient,) = run("cross_entropy_backward", slopes, logits, labels, weights, outputs=[logits.shape])
    return [loss, gradient]


@pytest.mark.parametrize(("rows", "classes"), [(0, 3), (1, 1), (70, 2), (33, 129)])
def test_cross_entropy_of_logits_is_that_of_the_formula_on_any_number_of_threads(rows, classes):
    _, _, _, labels, weights = _problem(rows, classes, 1)
    logits = normal(rows, classes) * 20
    results = []
    for number in (1, 2):
        with threads(number):
            results.append(_cross_entropy(logits, labels, weights, 0.7))
    exact = logits.astype(np.float64)
    top = exact.max(1, keepdims=True)
    log_sum = (top + np.log(np.exp(exact - top).sum(1, keepdims=True)))[:, 0]
    loss = (weights * (log_sum - exact[np.arange(rows), labels])).sum()
    wanted = 0.7 * weights[:, None] * (np.exp(exact - log_sum[:, None]) - np.eye(classes)[labels])
    for value, gradient in results:
        assert value[0] == pytest.approx(loss, rel=1e-6, abs=1e-6)
        assert np.abs(gradient - wanted).max(initial=0) < 1e-6
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
