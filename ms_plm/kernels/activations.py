"""Activations that `linear` ends with: `gelu` (erf), `gelu_new` (tanh), `relu`, `tanh`; element by element.

tanh is taken as 2 sigmoid(2x) - 1: the stock CPU operator is wrong by 1e-4 at |x| >= 5, the sigmoid by 1e-6.
"""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import Tensor, nn, ops

_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
_TANH_SCALE = math.sqrt(2 / math.pi)


def _constants(*values: float) -> tuple[Tensor, ...]:
    """As tensors: a product with a number of Python is an operator (`Muls`) that is joined with no other on an Ascend
    device; compiled for one, it and what it kept apart were a sixth of what a layer of NEZHA-base moves."""
    return tuple(Tensor(value, ms.float32) for value in values)


class GeluErf(nn.Cell):
    """x Phi(x), with its closed-form gradient Phi(x) + x phi(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.erf = ops.Erf()

    def construct(self, x):
        return 0.5 * x * (1.0 + self.erf(x * _SQRT_HALF))

    def bprop(self, x, out, dout):
        density = _INV_SQRT_2PI * (x * ops.exp(-0.5 * (x * x)))
        return (dout * (0.5 * (1.0 + self.erf(x * _SQRT_HALF)) + density),)


class GeluTanh(nn.Cell):
    """The tanh approximation of GELU, which the TensorFlow NEZHA was trained with, and its gradient.

    0.5 x (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
    """

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = ops.Sigmoid()

    def construct(self, x):
        return x * self.sigmoid(2 * _TANH_SCALE * (x + 0.044715 * (x * x * x)))

    def bprop(self, x, out, dout):
        square = x * x
        s = self.sigmoid(2 * _TANH_SCALE * x * (1.0 + 0.044715 * square))
        slope = 2 * _TANH_SCALE * (1.0 + 3 * 0.044715 * square)
        return (dout * (s + x * s * (1.0 - s) * slope),)


class ReferenceGeluErf(nn.Cell):
    """x Phi(x) with automatic gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.half, self.root = _constants(0.5, _SQRT_HALF)

    def construct(self, x):
        half, root = self.half.astype(x.dtype), self.root.astype(x.dtype)
        return half * x * (1.0 + ops.erf(x * root))


class ReferenceGeluTanh(nn.Cell):
    """The tanh approximation with automatic gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.cubic = _constants(2 * _TANH_SCALE, 0.044715)

    def construct(self, x):
        twice, cubic = self.twice.astype(x.dtype), self.cubic.astype(x.dtype)
        return x * ops.sigmoid(twice * (x + cubic * (x * x * x)))


class Tanh(nn.Cell):
    """tanh x, in fp32 inside."""

    def construct(self, x):
        return (2.0 * ops.sigmoid(2.0 * x.astype(ms.float32)) - 1.0).astype(x.dtype)


REFERENCE = {"gelu": ReferenceGeluErf, "gelu_new": ReferenceGeluTanh, "relu": ops.ReLU, "tanh": Tanh}
"""Cells by name, gradients automatic."""

CLOSED_GRADIENT = {"gelu": GeluErf, "gelu_new": GeluTanh, "relu": ops.ReLU, "tanh": Tanh}
"""Cells by name, gradients in closed form where that is faster on CPU."""
