"""`linear` in C++: product, bias and activation in one pass (src/linear.cc)."""

from __future__ import annotations

import functools

from mindspore import nn, ops

from ms_plm.kernels.native.library import PRECISION, for_native, operation, options
from ms_plm.kernels.registry import Call, Implementation

ACTIVATIONS = (None, "gelu", "gelu_new", "relu", "tanh")
"""By the number that src/activations.h gives them."""


@functools.cache
def _operations() -> tuple[ops.Custom, ops.Custom]:
    """Without an activation, and with one."""
    backward = operation("linear_backward", lambda dy, x, w, kept, o: (x, w, [w[0]]), lambda *types: (types[0],) * 3)

    def plain_bprop(x, weight, bias, numbers, out, dout):
        dx, dweight, dbias = backward(dout, x, weight, dout, numbers)
        return dx, dweight, dbias, ops.zeros_like(numbers)

    def bprop(x, weight, bias, numbers, out, dout):
        dx, dweight, dbias = backward(dout[0], x, weight, out[1], numbers)
        return dx, dweight, dbias, ops.zeros_like(numbers)

    plain = operation("linear_forward", lambda x, w, b, o: [*x[:-1], w[0]], lambda *types: types[0], plain_bprop)
    active = operation(
        "linear_activation_forward",
        lambda x, w, b, o: ([*x[:-1], w[0]], [*x[:-1], w[0]]),
        lambda *types: (types[0],) * 2,
        bprop,
    )
    return plain, active


class NativeLinear(nn.Cell):
    """act(x W^T + b); the gradient keeps the activation's input."""

    def __init__(self, call: Call, activation: str | None = None) -> None:
        super().__init__()
        self.active = activation is not None
        self.plain_op, self.active_op = _operations()
        self.options = options(PRECISION[call.compute], ACTIVATIONS.index(activation))

    def construct(self, x, weight, bias):
        if self.active:
            return self.active_op(x, weight, bias, self.options)[0]
        return self.plain_op(x, weight, bias, self.options)


IMPLEMENTATIONS = (Implementation("linear", "native", ("cpu",), NativeLinear, for_native, preference=30),)
