"""Running one kernel forward and backward in a graph, and float64 gradients to hold it against."""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from ms_plm.kernels.native.library import unavailable

STEP = 1e-5


def need(form: str) -> None:
    """Skip a test of the native form where it cannot be built."""
    if form == "native" and (reason := unavailable()):
        pytest.skip(f"no native operations: {reason}")


def central_differences(function: Callable[..., float], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Gradients of a scalar float64 function for every array, one entry at a time; good to about 1e-9."""
    arrays = [np.array(array, np.float64) for array in arrays]
    gradients = []
    for array in arrays:
        gradient = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            value = array[place]
            array[place] = value + STEP
            above = function(*arrays)
            array[place] = value - STEP
            gradient[place] = (above - function(*arrays)) / (2 * STEP)
            array[place] = value
        gradients.append(gradient)
    return gradients


class Measured(nn.Cell):
    """A kernel's outputs, and the gradients of sum(output x cotangent) over all outputs.

    Subclasses give `outputs(*inputs)`, a tuple of tensors.

    Args:
        kernel: the cell to measure.
        cotangents: one array an output.
        count: gradients are taken for the first `count` inputs.
    """

    def __init__(self, kernel: nn.Cell, cotangents: list[np.ndarray], count: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.cotangents = tuple(Tensor(array.astype(np.float32)) for array in cotangents)
        self.value_and_grad = ms.value_and_grad(self._weighted, tuple(range(count)), None, has_aux=True)

    def outputs(self, *inputs):
        return (self.kernel(*inputs),)

    def _weighted(self, *inputs):
        outputs = self.outputs(*inputs)
        total = Tensor(0.0, ms.float32)
        for output, cotangent in zip(outputs, self.cotangents):  # noqa: B905 (compiled: zip has no strict there)
            total = total + ops.reduce_sum(output.astype(ms.float32) * cotangent)
        return total, outputs

    def construct(self, *inputs):
        (_, outputs), gradients = self.value_and_grad(*inputs)
        return outputs, gradients

    def measure(self, *inputs: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Outputs and gradients as float32 arrays."""
        tensors = [Tensor(value) if isinstance(value, np.ndarray) else value for value in inputs]
        outputs, gradients = self.set_train(True)(*tensors)
        return _arrays(outputs), _arrays(gradients)


def _arrays(values) -> list[np.ndarray]:
    values = values if isinstance(values, tuple) else (values,)  # tuples of one come back bare
    return [value.astype(ms.float32).asnumpy() for value in values]


def largest_error(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference, as a share of the largest expected entry where that is above 1."""
    assert got.shape == expected.shape
    assert np.isfinite(got).all()
    return float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max()))
