"""`linear(x [..., in], weight [out, in], bias [out]) -> [..., out]`: x W^T + b.

The product is taken in the compute type; the result has that type.
"""

from __future__ import annotations

from mindspore import nn, ops

from ms_plm.kernels.dtypes import COMPUTE
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation


class MatMulLinear(nn.Cell):
    """MatMul and Add: on CPU their gradients are faster than those of a dense layer."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.dtype = COMPUTE[call.compute]
        self.cast = call.compute != "fp32"
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, x, weight, bias):
        if self.cast:
            x, weight, bias = x.astype(self.dtype), weight.astype(self.dtype), bias.astype(self.dtype)
        shape = x.shape
        y = self.matmul(x.reshape((-1, shape[-1])), weight) + bias
        return y.reshape((*shape[:-1], weight.shape[0]))


IMPLEMENTATIONS = (Implementation("linear", "reference", ALL_DEVICES, MatMulLinear),)
