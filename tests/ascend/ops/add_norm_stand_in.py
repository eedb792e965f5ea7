"""A stand-in for CANN's sum and LayerNorm: the arithmetic of its documentation in stock operators."""

from __future__ import annotations

from mindspore import nn, ops


class AddNormStandIn(nn.Cell):
    """As `AddLayerNormV2`."""

    def construct(self, x, residual, weight, bias, epsilon, wanted):
        total = x + residual
        mean = ops.mean(total, -1, True)
        deviation = ops.rsqrt(ops.mean(ops.square(total - mean), -1, True) + epsilon)
        return (total - mean) * deviation * weight + bias, mean, deviation, total
