"""Activations against float64 formulas."""

from __future__ import annotations

import numpy as np
import pytest
from measured import Measured
from scipy.special import erf

from ms_plm.kernels.activations import CLOSED_GRADIENT, REFERENCE

FORMULAS = {
    "gelu": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}
FORMS = {"reference": REFERENCE, "closed_gradient": CLOSED_GRADIENT}
GRID = np.linspace(-12, 12, 4000).astype(np.float32).reshape(4, 1000)
"""No entry is 0, where relu has no derivative."""


def _derivative(formula, x: np.ndarray) -> np.ndarray:
    return (formula(x + 1e-5) - formula(x - 1e-5)) / 2e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_gradients_are_those_of_the_formula(name: str, form: str) -> None:
    kernel = FORMS[form][name]()
    slope = np.random.default_rng(1).standard_normal(GRID.shape)
    (values,), (gradient,) = Measured(kernel, [slope], 1).measure(GRID)
    x = GRID.astype(np.float64)
    np.testing.assert_allclose(values, FORMULAS[name](x), rtol=1e-6, atol=3e-6)
    np.testing.assert_allclose(gradient, slope * _derivative(FORMULAS[name], x), rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["gelu", "gelu_new"])
def test_half_precision_gelu_stays_close_and_finite(name: str, form: str) -> None:
    kernel = FORMS[form][name]()
    ones = np.ones(GRID.shape)
    (values,), (gradient,) = Measured(kernel, [ones], 1).measure(GRID.astype(np.float16))
    x = GRID.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(values, FORMULAS[name](x), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(gradient, _derivative(FORMULAS[name], x), rtol=5e-3, atol=1e-2)
