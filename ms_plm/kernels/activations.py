"""`activation(x) -> y`, element by element; `name` is `gelu` (erf), `gelu_new` (tanh), `relu` or `tanh`."""

from __future__ import annotations

import math

from mindspore import nn, ops

from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation

_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
_TANH_SCALE = math.sqrt(2 / math.pi)


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
    """The tanh approximation of GELU, which the TensorFlow NEZHA was trained with, and its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.tanh = ops.Tanh()

    def construct(self, x):
        return 0.5 * x * (1.0 + self.tanh(_TANH_SCALE * (x + 0.044715 * (x * x * x))))

    def bprop(self, x, out, dout):
        square = x * x
        t = self.tanh(_TANH_SCALE * x * (1.0 + 0.044715 * square))
        slope = _TANH_SCALE * (1.0 + 3 * 0.044715 * square)
        return (dout * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope),)


class ReferenceGeluErf(nn.Cell):
    """x Phi(x) with automatic gradient."""

    def construct(self, x):
        return 0.5 * x * (1.0 + ops.erf(x * _SQRT_HALF))


class ReferenceGeluTanh(nn.Cell):
    """The tanh approximation with automatic gradient."""

    def construct(self, x):
        return 0.5 * x * (1.0 + ops.tanh(_TANH_SCALE * (x + 0.044715 * (x * x * x))))


_CLOSED = {"gelu": GeluErf, "gelu_new": GeluTanh, "relu": ops.ReLU, "tanh": ops.Tanh}
_REFERENCE = {"gelu": ReferenceGeluErf, "gelu_new": ReferenceGeluTanh, "relu": ops.ReLU, "tanh": ops.Tanh}


def _closed_form(call: Call, name: str):
    return _CLOSED[name]()


def _reference(call: Call, name: str):
    return _REFERENCE[name]()


def _needs_training(call: Call) -> str | None:
    return None if call.training else "differs from the reference in its gradient only"


IMPLEMENTATIONS = (
    Implementation("activation", "reference", ALL_DEVICES, _reference),
    Implementation("activation", "closed_gradient", ("cpu",), _closed_form, _needs_training, preference=10),
)
