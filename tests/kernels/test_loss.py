"""Cross-entropy and the masked-LM loss against float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from measured import Measured, central_differences, largest_error, need
from scipy.special import logsumexp

from ms_plm.kernels import Call, Kernels

LABELS = np.array([0, 10, 3, 3, 7], np.int32)
WEIGHTS = np.array([1.0, 0.5, 0.0, 2.0, 1.0], np.float32)


FORMS = ("reference", "native")


def _cross_entropy(form: str):
    need(form)
    return Kernels(Call(training=True), {"cross_entropy_sum": form}).build("cross_entropy_sum")


def _arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    draw = np.random.default_rng(len(shapes))
    return [draw.standard_normal(shape).astype(np.float32) for shape in shapes]


def _cross_entropy_sum(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    losses = logsumexp(logits, axis=-1) - logits[np.arange(len(labels)), labels]
    return float((weights.astype(np.float64) * losses).sum())


def _masked_lm_loss(rows: np.ndarray, embedding: np.ndarray, bias: np.ndarray) -> float:
    return _cross_entropy_sum(rows @ embedding.T + bias, LABELS, WEIGHTS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1.0, 15.0])
def test_cross_entropy_sum_and_its_gradient(scale: float, form: str) -> None:
    (logits,) = _arrays((5, 11))
    logits = logits * np.float32(scale)
    kernel = _cross_entropy(form)
    (value,), (gradient,) = Measured(kernel, [np.float32(1.5)], 1).measure(logits, LABELS, WEIGHTS)
    exact = logits.astype(np.float64)
    expected = _cross_entropy_sum(exact, LABELS, WEIGHTS)
    assert value == pytest.approx(expected, rel=1e-6)
    (wanted,) = central_differences(lambda z: 1.5 * _cross_entropy_sum(z, LABELS, WEIGHTS), [exact])
    assert largest_error(gradient, wanted) < 1e-6


def test_a_loss_beyond_the_range_of_probabilities_counts_as_87_with_its_exact_gradient() -> None:
    logits = np.zeros((5, 11), np.float32)
    logits[:, 5] = 500.0
    kernel = _cross_entropy("reference")
    (value,), (gradient,) = Measured(kernel, [np.float32(1)], 1).measure(logits, LABELS, WEIGHTS)
    assert value == pytest.approx(87.3 * WEIGHTS.sum(), rel=1e-3)
    expected = (np.eye(11)[np.full(5, 5)] - np.eye(11)[LABELS]) * WEIGHTS[:, None]
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-7)


def test_native_losses_have_no_such_limit() -> None:
    logits = np.zeros((5, 11), np.float32)
    logits[:, 5] = 500.0
    (value,), _ = Measured(_cross_entropy("native"), [np.float32(1)], 1).measure(logits, LABELS, WEIGHTS)
    assert value == pytest.approx(500.0 * WEIGHTS.sum(), rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_an_unused_slot_has_no_loss_and_no_gradient(form: str) -> None:
    (logits,) = _arrays((5, 11))
    kernel = _cross_entropy(form)
    (value,), (gradient,) = Measured(kernel, [np.float32(1)], 1).measure(logits, LABELS, np.zeros(5, np.float32))
    assert value == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_certain_prediction_costs_nothing(form: str) -> None:
    logits = np.full((5, 11), -1e4, np.float32)
    logits[np.arange(5), LABELS] = 1e4
    kernel = _cross_entropy(form)
    (value,), (gradient,) = Measured(kernel, [np.float32(1)], 1).measure(logits, LABELS, WEIGHTS)
    assert value == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_masked_lm_loss_and_its_gradients(form: str) -> None:
    need(form)
    inputs = _arrays((5, 6), (11, 6), (11,))
    kernel = Kernels(Call(training=True), {"masked_lm_loss": form}).build("masked_lm_loss")
    (value,), gradients = Measured(kernel, [np.float32(1)], 3).measure(*inputs, LABELS, WEIGHTS)
    exact = [array.astype(np.float64) for array in inputs]
    assert value == pytest.approx(_masked_lm_loss(*exact), rel=1e-6)
    for got, wanted in zip(gradients, central_differences(_masked_lm_loss, exact), strict=True):
        assert largest_error(got, wanted) < 2e-6


def test_masked_lm_loss_in_half_precision_is_summed_in_full() -> None:
    inputs = _arrays((5, 6), (11, 6), (11,))
    kernel = Kernels(Call(training=True, compute="fp16")).build("masked_lm_loss")
    (value,), gradients = Measured(kernel, [np.float32(1)], 3).measure(*inputs, LABELS, WEIGHTS)
    exact = [array.astype(np.float64) for array in inputs]
    assert value == pytest.approx(_masked_lm_loss(*exact), rel=2e-3)
    for got, wanted in zip(gradients, central_differences(_masked_lm_loss, exact), strict=True):
        assert largest_error(got, wanted) < 1e-2
