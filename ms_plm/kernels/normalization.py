"""`layer_norm(x [..., H], weight [H], bias [H]) -> [..., H]` and `dropout_add_layer_norm`, in fp32 whatever comes in.

`dropout_add_layer_norm(x, residual, weight, bias, rng) = layer_norm(dropout(x) + residual)`.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.kernels.dropout import DropoutSite, build_dropout
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation, for_static_training


class ReferenceLayerNorm(nn.Cell):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias from elementary operators (exports everywhere)."""

    def __init__(self, call: Call, size: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def construct(self, x, weight, bias):
        x = x.astype(ms.float32)
        centred = x - ops.mean(x, -1, True)
        variance = ops.mean(centred * centred, -1, True)
        return centred * ops.rsqrt(variance + self.epsilon) * weight + bias


class MatMulLayerNorm(nn.Cell):
    """Row means as products with a column of ones: on CPU much faster than the stock reductions."""

    def __init__(self, call: Call, size: int, epsilon: float) -> None:
        super().__init__()
        self.size, self.epsilon = size, epsilon
        self.mean = Tensor(np.full((size, 1), 1.0 / size, np.float32))
        self.matmul, self.rsqrt = ops.MatMul(), ops.Rsqrt()

    def construct(self, x, weight, bias):
        shape = x.shape
        x = x.astype(ms.float32).reshape((-1, self.size))
        centred = x - self.matmul(x, self.mean)
        variance = self.matmul(centred * centred, self.mean)
        return (centred * self.rsqrt(variance + self.epsilon) * weight + bias).reshape(shape)


class StockLayerNorm(nn.Cell):
    """The device's own operator."""

    def __init__(self, call: Call, size: int, epsilon: float) -> None:
        super().__init__()
        self.norm = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=epsilon)

    def construct(self, x, weight, bias):
        return self.norm(x.astype(ms.float32), weight, bias)[0]


class DropoutAddLayerNorm(nn.Cell):
    """The three operations one after the other."""

    def __init__(self, call: Call, norm, size: int, epsilon: float, site: DropoutSite | None) -> None:
        super().__init__()
        self.norm = norm(call, size, epsilon)
        self.dropout = build_dropout(call, site)

    def construct(self, x, residual, weight, bias, rng=None):
        x = self.dropout(x.astype(ms.float32), rng)
        return self.norm(x + residual.astype(ms.float32), weight, bias)


def _composed(norm):
    def build(call: Call, **arguments):
        return DropoutAddLayerNorm(call, norm, **arguments)

    return build


IMPLEMENTATIONS = tuple(
    Implementation(operation, name, devices, build(norm), supports, preference)
    for operation, build in (("layer_norm", lambda norm: norm), ("dropout_add_layer_norm", _composed))
    for name, devices, norm, supports, preference in (
        ("reference", ALL_DEVICES, ReferenceLayerNorm, lambda call: None, 0),
        ("stock", ("ascend", "gpu"), StockLayerNorm, lambda call: None, 5),
        ("matmul", ("cpu",), MatMulLayerNorm, for_static_training, 10),
    )
)
