"""Layer normalisation, alone and after dropout and addition, against float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from measured import Measured, central_differences, largest_error, need
from mindspore import Tensor

from ms_plm.common import rng
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.dropout import DropoutPlan

FORMS = ("reference", "matmul", "native")
EPSILON = 1e-12


def _layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * weight + bias


def _arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    draw = np.random.default_rng(len(shapes))
    return [(draw.standard_normal(shape) + 0.5).astype(np.float32) for shape in shapes]


def _compare(outputs, gradients, formula, inputs, cotangent, tolerance) -> None:
    exact = [array.astype(np.float64) for array in inputs]
    assert largest_error(outputs[0], formula(*exact)) < tolerance
    expected = central_differences(lambda *arrays: float((formula(*arrays) * cotangent).sum()), exact)
    for got, wanted in zip(gradients, expected, strict=True):
        assert largest_error(got, wanted) < 2 * tolerance


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(2, 5, 32), (3, 7)])
def test_layer_norm_and_its_gradients(form: str, shape: tuple[int, ...]) -> None:
    need(form)
    inputs = _arrays(shape, shape[-1:], shape[-1:])
    (cotangent,) = _arrays(shape)
    kernels = Kernels(Call(training=True), {"layer_norm": form})
    kernel = kernels.build("layer_norm", size=shape[-1], epsilon=EPSILON)
    measured = Measured(kernel, [cotangent], 3).measure(*inputs)
    _compare(*measured, _layer_norm, inputs, cotangent, 3e-6)


@pytest.mark.parametrize("form", ["reference", "matmul"])
def test_layer_norm_of_half_precision_is_taken_in_full(form: str) -> None:
    x, weight, bias = _arrays((4, 16), (16,), (16,))
    kernels = Kernels(Call(training=True, compute="fp16"), {"layer_norm": form})
    kernel = kernels.build("layer_norm", size=16, epsilon=EPSILON)
    half = (300 * x).astype(np.float16)  # squares would overflow in half precision
    out = kernel(Tensor(half), Tensor(weight), Tensor(bias)).asnumpy()
    assert out.dtype == np.float32
    assert largest_error(out, _layer_norm(half.astype(np.float64), weight, bias)) < 3e-6


@pytest.mark.parametrize("form", FORMS)
def test_equal_entries_are_finite(form: str) -> None:
    need(form)
    kernel = Kernels(Call(training=True), {"layer_norm": form}).build("layer_norm", size=8, epsilon=EPSILON)
    inputs = [np.zeros((2, 8), np.float32), *_arrays((8,), (8,))]
    outputs, gradients = Measured(kernel, [np.ones((2, 8))], 3).measure(*inputs)
    np.testing.assert_array_equal(outputs[0], np.broadcast_to(inputs[2], (2, 8)))
    assert all(np.isfinite(gradient).all() for gradient in gradients)


class _WithMask(Measured):
    def __init__(self, kernel, cotangents, count: int, random: np.ndarray) -> None:
        super().__init__(kernel, cotangents, count)
        self.random = Tensor(random)

    def outputs(self, *inputs):
        return (self.kernel(*inputs, self.random),)


@pytest.mark.parametrize(
    ("form", "dropout"),
    [
        *((form, dropout) for form in ("reference", "matmul") for dropout in ("hash", "host_mask")),
        ("native", "native"),
        ("native", "hash"),
        ("matmul", "native"),
    ],
)
def test_dropout_add_layer_norm_and_its_gradients(form: str, dropout: str) -> None:
    need("native" if dropout == "native" else form)
    batch, length, size, drop = 2, 3, 9, 0.4
    inputs = _arrays((batch, length, size), (batch, length, size), (size,), (size,))
    (cotangent,) = _arrays((batch, length, size))
    plan = DropoutPlan()
    site = plan.hidden(drop, size)
    keys = rng.sample_keys(8, 0, np.arange(batch), rng.DROPOUT)
    kept = plan.host_mask(keys, length)
    factors = kept.reshape(batch, length, size) / (rng.keep_threshold(drop) / 65536)
    kernels = Kernels(Call(training=True), {"dropout_add_layer_norm": form, "dropout": dropout})
    kernel = kernels.build("dropout_add_layer_norm", size=size, epsilon=EPSILON, site=site)
    random = kept if dropout == "host_mask" else keys
    measured = _WithMask(kernel, [cotangent], 4, random).measure(*inputs)
    _compare(*measured, lambda x, r, weight, bias: _layer_norm(x * factors + r, weight, bias), inputs, cotangent, 3e-6)
