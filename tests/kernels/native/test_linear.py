"""The native linear layer on arrays: against float64, in both compute types, at odd sizes, on any number of threads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from symbols import gemm_calls, has_bf16, integers, normal, relative_error, run, threads, to_bf16

pytestmark = pytest.mark.usefixtures("native")
_erf = np.vectorize(math.erf)
FORMULAS = (
    lambda x: x,
    lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    lambda x: np.maximum(x, 0),
    np.tanh,
)
"""By the number of the activation."""
FP32, BF16 = 0, 1
BOUNDS = {FP32: 1e-6, BF16: 1e-2}


def _forward(x, weight, bias, precision: int, activation: int) -> list[np.ndarray]:
    symbol = "linear_activation_forward" if activation else "linear_forward"
    shape = (*x.shape[:-1], len(weight))
    return run(symbol, x, weight, bias, integers(precision, activation), outputs=[shape] * (2 if activation else 1))


def _backward(dy, x, weight, kept, precision: int, activation: int) -> list[np.ndarray]:
    options = integers(precision, activation)
    return run("linear_backward", dy, x, weight, kept, options, outputs=[x.shape, weight.shape, weight.shape[:1]])


@pytest.mark.parametrize("precision", [FP32, BF16])
@pytest.mark.parametrize("activation", range(5))
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [((3, 37), 50, 70), ((1,), 1, 1), ((129,), 16, 33)])
def test_values_and_gradients_are_those_of_the_formula(precision, activation, rows, inputs, outputs):
    x, weight, bias = normal(*rows, inputs), normal(outputs, inputs) * 0.2, normal(outputs)
    y, kept = (*_forward(x, weight, bias, precision, activation), None)[:2]
    formula, bound = FORMULAS[activation], BOUNDS[precision]
    exact = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    at = exact
    if precision == BF16 and kept is not None:  # the activation is that of the rounded sum
        assert relative_error(kept, exact) < bound
        at = kept.astype(np.float64)
    assert relative_error(y, formula(at)) < bound
    dy = normal(*rows, outputs, seed=1)
    slope = dy * (formula(at + 1e-6) - formula(at - 1e-6)) / 2e-6
    dx, dweight, dbias = _backward(dy, x, weight, dy if kept is None else kept, precision, activation)
    flat = slope.reshape(-1, outputs)
    assert relative_error(dx, slope @ weight) < bound
    assert relative_error(dweight, flat.T @ x.reshape(-1, inputs)) < bound
    assert relative_error(dbias, flat.sum(0)) < bound


def test_activations_are_exact_over_the_whole_range():
    x = np.linspace(-30, 30, 4001).astype(np.float32).reshape(-1, 1)
    one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    for activation, formula in enumerate(FORMULAS):
        y = _forward(x, one, zero, FP32, activation)[0]
        np.testing.assert_allclose(y, formula(x.astype(np.float64)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", [0, 1])
def test_no_rows_give_no_values_and_zero_gradients(activation):
    x, weight, bias = normal(0, 5), normal(4, 5), normal(4)
    assert _forward(x, weight, bias, FP32, activation)[0].shape == (0, 4)
    dx, dweight, dbias = _backward(normal(0, 4), x, weight, normal(0, 4), FP32, activation)
    assert dx.shape == (0, 5)
    assert not dweight.any()
    assert not dbias.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_the_output(value):
    x = normal(2, 8)
    x[1, 3] = value
    for activation in range(4):
        y = _forward(x, np.abs(normal(3, 8)), normal(3), FP32, activation)[0]
        assert np.isfinite(y[0]).all()
        assert not np.isfinite(y[1]).any()


def test_results_do_not_depend_on_the_number_of_threads():
    """Sizes with many pieces, and with the transposed form of the weight's gradient."""
    for rows, inputs, outputs in ((700, 300, 900), (2048, 64, 256)):
        x, weight, bias = normal(rows, inputs), normal(outputs, inputs), normal(outputs)
        dy, results = normal(rows, outputs, seed=1), []
        for number in (1, 2, 4):
            with threads(number):
                y, kept = _forward(x, weight, bias, FP32, 1)
                results.append([y, kept, *_backward(dy, x, weight, kept, FP32, 1)])
        for other in results[1:]:
            for first, second in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(first, second)
        gradient = dy.astype(np.float64) * 1.0
        assert relative_error(_backward(dy, x, weight, dy, FP32, 0)[1], gradient.T @ x) < 1e-6


def test_bf16_rounds_operands_and_results_and_says_which_products_it_took():
    x, weight, bias = normal(33, 24), normal(17, 24), normal(17)
    before = gemm_calls(0), gemm_calls(1)
    y = _forward(x, weight, bias, BF16, 0)[0]
    assert (gemm_calls(0) - before[0] == 0) is has_bf16()
    assert (gemm_calls(1) - before[1] > 0) is has_bf16()
    np.testing.assert_array_equal(y, to_bf16(y))
    exact = to_bf16(x) @ to_bf16(weight).T + bias
    assert np.abs(y - exact).max() <= np.abs(exact).max() * 2.0**-8
    assert not np.array_equal(y, _forward(x, weight, bias, FP32, 0)[0])
