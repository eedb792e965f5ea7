"""Native layer normalisation and dropout on arrays: against float64, the generator's bits, any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from symbols import integers, normal, relative_error, run, threads

from ms_plm.common import rng

pytestmark = pytest.mark.usefixtures("native")
EPSILON = np.array([1e-12], np.float32)
OPERATION, THRESHOLD = 7, rng.keep_threshold(0.3)
OPTIONS = integers(THRESHOLD, OPERATION * int(rng.OPERATION))
KEEP_ALL = integers(65536, 0)


def _keys(batch: int) -> np.ndarray:
    return rng.sample_keys(3, 1, np.arange(batch), rng.DROPOUT)


def _factors(shape: tuple[int, ...]) -> np.ndarray:
    kept = np.empty((shape[0], int(np.prod(shape[1:]))), np.bool_)
    rng.keep_mask(_keys(shape[0]), OPERATION, kept.shape[1], THRESHOLD, kept)
    return kept.reshape(shape) * (65536 / THRESHOLD)


def _oracle(z: np.ndarray, weight: np.ndarray, bias: np.ndarray, dy: np.ndarray):
    """Output, then gradients of z, weight and bias, in closed form."""
    centred = z - z.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    normed, slope = centred * inverse, dy * weight
    dz = inverse * (slope - slope.mean(-1, keepdims=True) - normed * (slope * normed).mean(-1, keepdims=True))
    flat = dy.reshape(-1, dy.shape[-1])
    return normed * weight + bias, dz, (flat * normed.reshape(flat.shape)).sum(0), flat.sum(0)


def _everything(x, residual, weight, bias, dy, options) -> list[np.ndarray]:
    rows = int(np.prod(x.shape[:-1]))
    keys = _keys(len(x))
    y, normed, inverse = run(
        "dropout_add_layer_norm_forward",
        *(x, residual, weight, bias, EPSILON, options, keys),
        outputs=[x.shape, x.shape, (rows,)],
    )
    gradients = run(
        "dropout_add_layer_norm_backward",
        *(dy, normed, inverse, weight, options, keys),
        outputs=[x.shape, x.shape, weight.shape, weight.shape],
    )
    return [y, *gradients]


@pytest.mark.parametrize("shape", [(2, 5, 9), (3, 33, 64), (1, 1, 2), (4, 1, 768)])
@pytest.mark.parametrize("drops", [True, False])
def test_dropout_add_layer_norm_and_its_gradients(shape, drops):
    x, residual, dy = normal(*shape), normal(*shape, seed=1), normal(*shape, seed=2)
    weight, bias = normal(shape[-1]) + 1, normal(shape[-1], seed=1)
    factors = _factors(shape) if drops else np.ones(shape)
    y, dx, dresidual, dweight, dbias = _everything(x, residual, weight, bias, dy, OPTIONS if drops else KEEP_ALL)
    expected, dz, expected_dweight, expected_dbias = _oracle(
        x * factors + residual, weight, bias, dy.astype(np.float64)
    )
    for got, wanted in zip(
        (y, dx, dresidual, dweight, dbias), (expected, dz * factors, dz, expected_dweight, expected_dbias), strict=True
    ):
        assert np.abs(got - wanted).max() < 2e-6 * max(1.0, np.abs(wanted).max(), np.abs(expected).max())


def test_layer_norm_alone_and_its_gradients():
    x, weight, bias, dy = normal(70, 48), normal(48) + 1, normal(48, seed=1), normal(70, 48, seed=2)
    y, normed, inverse = run("layer_norm_forward", x, weight, bias, EPSILON, outputs=[x.shape, x.shape, (70,)])
    gradients = run("layer_norm_backward", dy, normed, inverse, weight, outputs=[x.shape, (48,), (48,)])
    expected = _oracle(x.astype(np.float64), weight, bias, dy.astype(np.float64))
    for got, wanted in zip((y, *gradients), expected, strict=True):
        assert relative_error(got, wanted) < 2e-6


def test_no_rows_give_zero_gradients_of_the_parameters():
    x, weight = normal(0, 3, 8), normal(8)
    *_, dweight, dbias = _everything(x, x, weight, weight, x, OPTIONS)
    assert not dweight.any()
    assert not dbias.any()


@pytest.mark.parametrize("shape", [(3, 9001), (2, 3, 4097), (1, 1), (2, 0)])
def test_dropout_gives_the_generators_bits(shape):
    x = np.abs(normal(*shape)) + 1
    (y,) = run("dropout_forward", x, OPTIONS, _keys(shape[0]), outputs=[shape])
    np.testing.assert_allclose(y, x * _factors(shape), rtol=1e-6)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9])
def test_the_share_of_kept_values_is_the_probability(probability):
    threshold = rng.keep_threshold(probability)
    options = integers(threshold, 11 * int(rng.OPERATION))
    (y,) = run("dropout_forward", np.ones((8, 50000), np.float32), options, _keys(8), outputs=[(8, 50000)])
    deviation = np.sqrt(probability * (1 - probability) / y.size)
    assert abs((y > 0).mean() - threshold / 65536) <= 4 * deviation


def test_masks_of_two_places_and_of_two_steps_are_independent():
    ones = np.ones((4, 50000), np.float32)

    def mask(operation: int, epoch: int) -> np.ndarray:
        options = integers(rng.keep_threshold(0.5), operation * int(rng.OPERATION))
        keys = rng.sample_keys(3, epoch, np.arange(4), rng.DROPOUT)
        return run("dropout_forward", ones, options, keys, outputs=[ones.shape])[0] > 0

    masks = [mask(operation, epoch) for operation in (1, 2, 3) for epoch in (0, 1)]
    for i, first in enumerate(masks):
        for second in masks[:i]:
            assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / np.sqrt(ones.size)


def test_results_do_not_depend_on_the_number_of_threads():
    x, residual, dy = normal(3, 129, 96), normal(3, 129, 96, seed=1), normal(3, 129, 96, seed=2)
    weight, bias = normal(96), normal(96, seed=1)
    results = []
    for number in (1, 2, 4):
        with threads(number):
            (dropped,) = run("dropout_forward", x, OPTIONS, _keys(3), outputs=[x.shape])
            results.append([dropped, *_everything(x, residual, weight, bias, dy, OPTIONS)])
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_the_gradient_with_dropout_on_is_that_of_finite_differences():
    x, residual, weight, bias = normal(2, 6, 16), normal(2, 6, 16, seed=1), normal(16) + 1, normal(16, seed=1)
    dy, direction, step = normal(2, 6, 16, seed=2), normal(2, 6, 16, seed=3), 1e-2
    _, dx, *_ = _everything(x, residual, weight, bias, dy, OPTIONS)
    above = _everything(x + step * direction, residual, weight, bias, dy, OPTIONS)[0]
    below = _everything(x - step * direction, residual, weight, bias, dy, OPTIONS)[0]
    slope = ((above.astype(np.float64) - below) * dy).sum() / (2 * step)
    assert (dx * direction).sum() == pytest.approx(slope, rel=1e-3)
