"""`linear(x [..., in], weight [out, in], bias [out]) -> [..., out]`: x W^T + b, through an activation if one is named.

    cell = kernels.build("linear", activation=None)      # or gelu, gelu_new, relu, tanh

The product is taken in the compute type; the result has that type.
"""

from __future__ import annotations

from mindspore import nn, ops

from ms_plm.kernels.activations import CLOSED_GRADIENT, REFERENCE
from ms_plm.kernels.dtypes import COMPUTE
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation, for_training, no_bf16_on_cpu


class MatMulLinear(nn.Cell):
    """MatMul and Add: on CPU their gradients are faster than those of a dense layer."""

    def __init__(self, call: Call, activation: str | None = None, activations=REFERENCE) -> None:
        super().__init__()
        self.dtype = COMPUTE[call.compute]
        self.cast = call.compute != "fp32"
        self.matmul = ops.MatMul(transpose_b=True)
        self.active = activation is not None
        if self.active:
            self.activation = activations[activation]()

    def construct(self, x, weight, bias):
        if self.cast:
            x, weight, bias = x.astype(self.dtype), weight.astype(self.dtype), bias.astype(self.dtype)
        shape = x.shape
        y = self.matmul(x.reshape((-1, shape[-1])), weight) + bias
        y = y.reshape((*shape[:-1], weight.shape[0]))
        return self.activation(y) if self.active else y


def _closed_gradient(call: Call, activation: str | None = None) -> MatMulLinear:
    return MatMulLinear(call, activation, CLOSED_GRADIENT)


def _closed_gradient_supports(call: Call) -> str | None:
    return for_training(call) or no_bf16_on_cpu(call)


IMPLEMENTATIONS = (
    Implementation("linear", "reference", ALL_DEVICES, MatMulLinear, no_bf16_on_cpu),
    Implementation("linear", "closed_gradient", ("cpu",), _closed_gradient, _closed_gradient_supports, preference=10),
)
