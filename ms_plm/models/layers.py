"""Cells that own parameters and hand them to kernels. Names of parameters follow Hugging Face: weight, bias."""

from __future__ import annotations

import hashlib

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_plm.kernels import Kernels
from ms_plm.kernels.dropout import DropoutSite


def _parameter(values: np.ndarray, name: str) -> Parameter:
    return Parameter(Tensor(values.astype(np.float32)), name=name)


class Linear(nn.Cell):
    """x W^T + b, weight `[out, in]`, through an activation if one is named."""

    def __init__(self, kernels: Kernels, inputs: int, outputs: int, activation: str | None = None) -> None:
        super().__init__()
        self.weight = _parameter(np.zeros((outputs, inputs)), "weight")
        self.bias = _parameter(np.zeros(outputs), "bias")
        self.kernel = kernels.build("linear", activation=activation)
        self.sizes, self.cut_weight, self.cut_bias, self.slice = (outputs, inputs), False, False, ops.Slice()

    def construct(self, x):
        weight, bias = self.weight, self.bias
        if self.cut_weight:
            weight = self.slice(weight, (0, 0), self.sizes)
        if self.cut_bias:
            bias = self.slice(bias, (0,), self.sizes[:1])
        return self.kernel(x, weight, bias)

    def borrow(self, other: Linear) -> None:
        """Read the first rows and columns of the parameters of another layer, at least as large, instead of its own."""
        self.weight, self.bias = other.weight, other.bias
        self.cut_weight = other.weight.shape != self.sizes
        self.cut_bias = other.bias.shape != self.sizes[:1]


class LayerNorm(nn.Cell):
    """LayerNorm over the last axis, fp32."""

    def __init__(self, kernels: Kernels, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.bias = _parameter(np.ones(size), "weight"), _parameter(np.zeros(size), "bias")
        self.kernel = kernels.build("layer_norm", size=size, epsilon=epsilon)

    def construct(self, x):
        return self.kernel(x, self.weight, self.bias)


class DropoutAddLayerNorm(nn.Cell):
    """LayerNorm(dropout(x) + residual), fp32."""

    def __init__(self, kernels: Kernels, size: int, epsilon: float, site: DropoutSite | None) -> None:
        super().__init__()
        self.weight, self.bias = _parameter(np.ones(size), "weight"), _parameter(np.zeros(size), "bias")
        self.kernel = kernels.build("dropout_add_layer_norm", size=size, epsilon=epsilon, site=site)

    def construct(self, x, residual, rng=None):
        return self.kernel(x, residual, self.weight, self.bias, rng)


class Embedding(nn.Cell):
    """A table `[entries, size]`."""

    def __init__(self, entries: int, size: int) -> None:
        super().__init__()
        self.weight = _parameter(np.zeros((entries, size)), "weight")


def initialise(cell: nn.Cell, deviation: float, seed: int, truncated: bool = True) -> None:
    """Draw new weights for matrices; biases 0 and LayerNorm weights 1 stay.

    A function of (seed, parameter name) alone, so that adding a head does not change the encoder.

    Args:
        cell: its parameters are drawn.
        deviation: of the normal distribution.
        seed: of what is drawn.
        truncated: at two deviations, as BERT and NEZHA were trained with TensorFlow; what is left has 0.88 of the
            deviation. False: the whole normal distribution, as transformers has it.
    """
    for name, parameter in cell.parameters_and_names():
        if parameter.ndim >= 2:
            parameter.set_data(Tensor(_normal(parameter.shape, deviation, seed, name, truncated)))


def _normal(shape: tuple[int, ...], deviation: float, seed: int, name: str, truncated: bool) -> np.ndarray:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], np.uint64)))
    values = generator.standard_normal(shape, np.float32)
    outside = np.abs(values) > 2
    while truncated and outside.any():
        values[outside] = generator.standard_normal(int(outside.sum()), np.float32)
        outside = np.abs(values) > 2
    return values * np.float32(deviation)
