"""Linear layers with and without an activation, against float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from measured import Measured, central_differences, largest_error, need
from mindspore import Tensor
from scipy.special import erf

from ms_plm.kernels import Call, Kernels

FORMS = ("reference", "closed_gradient", "native")
ACTIVATIONS = {None: lambda x: x, "gelu": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))), "tanh": np.tanh}


def _arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    draw = np.random.default_rng(len(shapes))
    return [draw.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_and_its_gradients(activation: str | None, form: str) -> None:
    need(form)
    inputs = _arrays((2, 3, 5), (4, 5), (4,))
    (cotangent,) = _arrays((2, 3, 4))
    kernel = Kernels(Call(training=True), {"linear": form}).build("linear", activation=activation)
    (values,), gradients = Measured(kernel, [cotangent], 3).measure(*inputs)
    exact = [array.astype(np.float64) for array in inputs]
    formula = ACTIVATIONS[activation]
    assert largest_error(values, formula(exact[0] @ exact[1].T + exact[2])) < 3e-6  # stock exponentials: 1e-6
    expected = central_differences(lambda x, w, b: float((formula(x @ w.T + b) * cotangent).sum()), exact)
    for got, wanted in zip(gradients, expected, strict=True):
        assert largest_error(got, wanted) < 6e-6


def test_linear_multiplies_in_the_compute_type() -> None:
    x, weight, bias = _arrays((3, 5), (4, 5), (4,))
    out = Kernels(Call(compute="fp16")).build("linear")(Tensor(x), Tensor(weight), Tensor(bias)).asnumpy()
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, x @ weight.T + bias, rtol=0, atol=1e-2)
