"""`layer_norm`, `dropout_add_layer_norm` and `dropout` in C++ (src/normalization.cc)."""

from __future__ import annotations

import functools

import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.kernels.dropout import DropoutSite, NoDropout
from ms_plm.kernels.native.library import for_native, operation, options
from ms_plm.kernels.registry import Call, Implementation

NOTHING_DROPPED = (65536, 0)
"""Options of a site that keeps all values."""


def site_options(site: DropoutSite | None) -> tuple[int, int]:
    """Threshold and the operation's part of the hash, as src/dropout.h reads them."""
    return NOTHING_DROPPED if site is None else (site.threshold, site.base)


def no_keys() -> Tensor:
    """In the place of keys where nothing is dropped."""
    return Tensor(np.zeros((1, 2), np.int32))


def keys_wanted(call: Call) -> str | None:
    """`supports` of native forms that drop values: the random bits must come as keys."""
    if call.dropout is not None and call.dropout.name not in ("native", "hash"):
        return f"draws dropout from keys, not from {call.dropout.name}"
    return for_native(call)


@functools.cache
def _layer_norm() -> ops.Custom:
    backward = operation("layer_norm_backward", lambda dy, z, s, w: (dy, w, w), lambda *types: (types[0],) * 3)

    def bprop(x, weight, bias, constants, out, dout):
        dx, dweight, dbias = backward(dout[0], out[1], out[2], weight)
        return dx, dweight, dbias, ops.zeros_like(constants)

    return operation("layer_norm_forward", lambda x, w, b, c: (x, x, [_rows(x)]), lambda *types: (types[0],) * 3, bprop)


@functools.cache
def _dropout_add_layer_norm() -> ops.Custom:
    backward = operation(
        "dropout_add_layer_norm_backward", lambda dy, z, s, w, o, k: (dy, dy, w, w), lambda *types: (types[0],) * 4
    )

    def bprop(x, residual, weight, bias, constants, numbers, keys, out, dout):
        dx, dresidual, dweight, dbias = backward(dout[0], out[1], out[2], weight, numbers, keys)
        constant = ops.zeros_like(constants), ops.zeros_like(numbers), ops.zeros_like(keys)
        return dx, dresidual, dweight, dbias, constant[0], constant[1], constant[2]

    return operation(
        "dropout_add_layer_norm_forward",
        lambda x, r, w, b, c, o, k: (x, x, [_rows(x)]),
        lambda *types: (types[0],) * 3,
        bprop,
    )


@functools.cache
def _dropout() -> ops.Custom:
    backward = operation("dropout_backward", lambda dy, o, k: dy, lambda *types: types[0])

    def bprop(x, numbers, keys, out, dout):
        return backward(dout, numbers, keys), ops.zeros_like(numbers), ops.zeros_like(keys)

    return operation("dropout_forward", lambda x, o, k: x, lambda *types: types[0], bprop)


def _rows(shape: list[int]) -> int:
    return int(np.prod(shape[:-1]))


class NativeLayerNorm(nn.Cell):
    """LayerNorm over the last axis."""

    def __init__(self, call: Call, size: int, epsilon: float) -> None:
        super().__init__()
        self.op, self.constants = _layer_norm(), Tensor(np.array([epsilon], np.float32))

    def construct(self, x, weight, bias):
        return self.op(x, weight, bias, self.constants)[0]


class NativeDropoutAddLayerNorm(nn.Cell):
    """LayerNorm(dropout(x) + residual) in one pass; masks are computed again for the gradient."""

    def __init__(self, call: Call, size: int, epsilon: float, site: DropoutSite | None) -> None:
        super().__init__()
        self.op, self.constants = _dropout_add_layer_norm(), Tensor(np.array([epsilon], np.float32))
        self.drops = site is not None
        self.dropping, self.keeping = options(*site_options(site)), options(*NOTHING_DROPPED)
        self.no_keys = no_keys()

    def construct(self, x, residual, weight, bias, rng=None):
        numbers, keys = self.keeping, self.no_keys
        if self.drops and rng is not None:
            numbers, keys = self.dropping, rng
        return self.op(x, residual, weight, bias, self.constants, numbers, keys)[0]


class NativeDropout(nn.Cell):
    """Zeroes or scales values `[B, ...]` by masks that exist only while they are used."""

    def __init__(self, call: Call, site: DropoutSite) -> None:
        super().__init__()
        self.op, self.options = _dropout(), options(*site_options(site))

    def construct(self, x, rng=None):
        if rng is None:
            return x
        return self.op(x, self.options, rng)


def _at(call: Call, site: DropoutSite | None):
    return NoDropout() if site is None else NativeDropout(call, site)


IMPLEMENTATIONS = (
    Implementation("layer_norm", "native", ("cpu",), NativeLayerNorm, for_native, preference=30),
    Implementation("dropout_add_layer_norm", "native", ("cpu",), NativeDropoutAddLayerNorm, keys_wanted, preference=30),
    Implementation("dropout", "native", ("cpu",), _at, for_native, preference=30),
)
