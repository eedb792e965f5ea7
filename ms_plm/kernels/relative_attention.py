"""`relative_attention` out of stock operators: three ways to add functional relative positions, all exact.

r_ij = table[clip(j - i, -K, K) + K]; wanted are q_i . r_ij and sum_j p_ij r_ij (see `attention.py`).

- `reference`, `naive`: r gathered to `[S_q, S_k, D]`. The fastest of them on CPU.
- `table`: q . table^T, `[S_q, 2K+1]`, laid out by distance, and back for the values: nothing of `[S_q, S_k, D]`.
- `rotation`: inside the band the sinusoid of a difference factorises, so both are products of matrices.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.kernels.attention import (
    ComposedAttention,
    RowSumSoftmax,
    bf16_for_maps_only,
    distances,
    for_composed_training,
    numbers,
)
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation, for_static_training


class GatheredPositions(nn.Cell):
    """r itself; products with it are batched over the query index: `[S_q, B*N, D] x [S_q, D, S_k]`."""

    def __init__(self) -> None:
        super().__init__()
        self.product, self.product_t = ops.BatchMatMul(), ops.BatchMatMul(transpose_b=True)

    def prepare(self, table, query_length, key_length, query_offset):
        """r `[S_q, S_k, D]`.

        By way of a row for every distance: the gradient of a learned table is added up along diagonals first, which is
        more exact than S_q * S_k numbers one after the other.
        """
        reach, nearest = (table.shape[0] - 1) // 2, query_length - 1
        distance = numbers(nearest + key_length) - nearest - query_offset
        by_distance = ops.gather(table, ops.clamp(distance, -reach, reach) + reach, 0)
        return ops.gather(by_distance, distances(query_length, key_length) + nearest, 0)

    def scores(self, query, positions):
        """q_i . r_ij: `[B, N, S_q, S_k]` of the dtype of `query` `[B, N, S_q, D]`."""
        return self._by_query(query, self.product_t, positions.astype(query.dtype))

    def values(self, weights, positions, dtype):
        """sum_j p_ij r_ij: `[B, N, S_q, D]` of the named dtype from fp32 `weights` `[B, N, S_q, S_k]`."""
        return self._by_query(weights.astype(dtype), self.product, positions.astype(dtype))

    def _by_query(self, x, product, positions):
        _, heads, length, width = x.shape
        y = product(x.transpose((2, 0, 1, 3)).reshape((length, -1, width)), positions)
        return y.reshape((length, -1, heads, y.shape[-1])).transpose((1, 2, 0, 3))


_join, _sum = ops.Concat(-1), ops.ReduceSum(keep_dims=True)


def _spread(products, cells):
    """Entry (i, j) of the result is that of row i at the clipped distance of j: `[M, S_q, 2K+1]` to `[M, S_q*S_k]`."""
    return ops.gather(products.reshape((products.shape[0], -1)), cells, 1)


def _collect(entries, diagonals, inside, low, high):
    """Sums of `[M, S_q, S_k]` over equal clipped distances: `[M, S_q, 2K+1]`, the transpose of `_spread`.

    Inside the band a distance occurs once in a row, so that only the two clipped ends are sums.
    """
    rows, length, _ = entries.shape
    band = ops.gather(entries.reshape((rows, -1)), diagonals, 1).reshape((rows, length, -1)) * inside
    return _join((_sum(entries * low, -1), band, _sum(entries * high, -1)))


class Spread(nn.Cell):
    """`_spread`, with `_collect` as its gradient: the automatic one scatters element by element."""

    def construct(self, products, cells, diagonals, inside, low, high):
        return _spread(products, cells)

    def bprop(self, products, cells, diagonals, inside, low, high, out, dout):
        entries = dout.reshape((dout.shape[0], *low.shape))
        return _collect(entries, diagonals, inside, low, high), *_nothing(cells, diagonals, inside, low, high)


class Collect(nn.Cell):
    """`_collect`, with `_spread` as its gradient."""

    def construct(self, entries, cells, diagonals, inside, low, high):
        return _collect(entries, diagonals, inside, low, high)

    def bprop(self, entries, cells, diagonals, inside, low, high, out, dout):
        return _spread(dout, cells).reshape(entries.shape), *_nothing(cells, diagonals, inside, low, high)


def _nothing(cells, diagonals, inside, low, high):
    zeros = ops.zeros_like
    return zeros(cells), zeros(diagonals), zeros(inside), zeros(low), zeros(high)


class TablePositions(nn.Cell):
    """Products with the table, once a query instead of once a pair; what is laid out by distance is fp32."""

    def __init__(self) -> None:
        super().__init__()
        self.product, self.product_t = ops.MatMul(), ops.MatMul(transpose_b=True)
        self.spread, self.collect = Spread(), Collect()

    def prepare(self, table, query_length, key_length, query_offset):
        """The table, and where to find what: `cells` `[S_q*S_k]` in `[S_q, 2K+1]`, `diagonals` `[S_q*(2K-1)]` in
        `[S_q, S_k]`, `inside` fp32 `[S_q, 2K-1]`, 0 where a diagonal has left the matrix, `low` and `high` fp32
        `[S_q, S_k]`, 1 where the distance is from -K down and from K up."""
        width = table.shape[0]
        reach = (width - 1) // 2
        distance = distances(query_length, key_length, query_offset)
        row = numbers(query_length).reshape((-1, 1))
        cells = row * width + ops.clamp(distance, -reach, reach) + reach
        key = row + query_offset + (numbers(2 * reach - 1) - (reach - 1)).reshape((1, -1))
        inside = ops.logical_and(key >= 0, key < key_length).astype(ms.float32)
        diagonals = row * key_length + ops.clamp(key, 0, key_length - 1)
        low, high = (distance <= -reach).astype(ms.float32), (distance >= reach).astype(ms.float32)
        return table, cells.reshape((-1,)), diagonals.reshape((-1,)), inside, low, high

    def scores(self, query, positions):
        """q_i . r_ij: fp32 `[B, N, S_q, S_k]` from `query` `[B, N, S_q, D]`."""
        table, cells, diagonals, inside, low, high = positions
        _, heads, length, size = query.shape
        products = self.product_t(query.reshape((-1, size)), table.astype(query.dtype)).astype(ms.float32)
        products = products.reshape((-1, length, table.shape[0]))
        entries = self.spread(products, cells, diagonals, inside, low, high)
        return entries.reshape((-1, heads, length, low.shape[1]))

    def values(self, weights, positions, dtype):
        """sum_j p_ij r_ij: `[B, N, S_q, D]` of the named dtype from fp32 `weights` `[B, N, S_q, S_k]`."""
        table, cells, diagonals, inside, low, high = positions
        _, heads, length, keys = weights.shape
        sums = self.collect(weights.reshape((-1, length, keys)), cells, diagonals, inside, low, high)
        context = self.product(sums.reshape((-1, table.shape[0])).astype(dtype), table.astype(dtype))
        return context.reshape((-1, heads, length, table.shape[1]))


_TURN = 2.0 * math.pi / 2.0**32
"""One step of a 32-bit angle, in radians."""


def _steps(values: np.ndarray) -> Tensor:
    """Angles as int32; a half turn and more wraps around."""
    return Tensor(np.round(values).astype(np.int64).astype(np.int32))


class RotatedPositions(nn.Cell):
    """The sinusoid factorised: with a = i - K, r_ij . q = phi_j . rot_a(q), where phi_j holds sin(j w), cos(j w).

    sin((j-a)w) = sin(jw) cos(aw) - cos(jw) sin(aw) and cos((j-a)w) = cos(jw) cos(aw) + sin(jw) sin(aw), so that
    rot_a(q)_2m = q_2m cos(aw) + q_2m+1 sin(aw) and rot_a(q)_2m+1 = q_2m+1 cos(aw) - q_2m sin(aw); the values turn back.
    Beyond K the two outer rows of the table stand. Only right for the sinusoid.

    Angles are 32-bit fractions of a turn, which wrap around exactly: as fp32 products of position and frequency they
    would be wrong by 3e-5 at position 1000. The rounding of the frequencies tells in j - i alone, so that any length is
    as exact as a short one.
    """

    def __init__(self, head_size: int) -> None:
        super().__init__()
        column = np.arange(head_size)
        odd, turn = column % 2, 2.0**32
        self.frequency = _steps(np.power(10000.0, -2.0 * (column // 2) / head_size) / _TURN)
        self.sin_cos = _steps(odd * turn / 4)  # sin(x + turn / 4) = cos x
        self.cos_cos = _steps(np.full(head_size, turn / 4))
        self.sin_minus = _steps(odd * turn / 2)  # sin(x + turn / 2) = -sin x
        self.swap = Tensor(np.eye(head_size, dtype=np.float32)[column ^ 1])
        self.product, self.product_t = ops.MatMul(), ops.MatMul(transpose_b=True)
        self.halves, self.join, self.sum = ops.Split(-1, 2), ops.Concat(-1), ops.ReduceSum(keep_dims=True)

    def _waves(self, places, shift):
        return ops.sin((places.astype(ms.int32).reshape((-1, 1)) * self.frequency + shift).astype(ms.float32) * _TURN)

    def prepare(self, table, query_length, key_length, query_offset):
        """phi `[S_k, D]`; cosines and signed sines that turn queries, `[S_q, D]`; the outer rows of the table
        `[2, D]`; 1 where the distance is inside the band, from -K down, and from K up: `[S_q, S_k]`; all fp32."""
        reach = (table.shape[0] - 1) // 2
        turns = numbers(query_length) + (query_offset - reach)
        distance = distances(query_length, key_length, query_offset)
        low, high = (distance <= -reach).astype(ms.float32), (distance >= reach).astype(ms.float32)
        phi = self._waves(numbers(key_length), self.sin_cos)
        cosines, sines = self._waves(turns, self.cos_cos), self._waves(turns, self.sin_minus)
        return phi, cosines, sines, table[:: 2 * reach], 1.0 - low - high, low, high

    def _swapped(self, x):
        return self.product(x.reshape((-1, x.shape[-1])), self.swap.astype(x.dtype)).reshape(x.shape)

    def scores(self, query, positions):
        """q_i . r_ij: fp32 `[B, N, S_q, S_k]` from `query` `[B, N, S_q, D]`."""
        phi, cosines, sines, outer, band, low, high = positions
        _, heads, length, size = query.shape
        dtype = query.dtype
        turned = query * cosines.astype(dtype) + self._swapped(query) * sines.astype(dtype)
        inside = self.product_t(turned.reshape((-1, size)), phi.astype(dtype)).astype(ms.float32)
        ends = self.product_t(query.reshape((-1, size)), outer.astype(dtype)).astype(ms.float32)
        below, above = self.halves(ends.reshape((-1, heads, length, 2)))
        return inside.reshape((-1, heads, length, phi.shape[0])) * band + below * low + above * high

    def values(self, weights, positions, dtype):
        """sum_j p_ij r_ij: `[B, N, S_q, D]` of the named dtype from fp32 `weights` `[B, N, S_q, S_k]`."""
        phi, cosines, sines, outer, band, low, high = positions
        _, heads, length, keys = weights.shape
        shape = (-1, heads, length, phi.shape[1])
        inside = (weights * band).astype(dtype).reshape((-1, keys))
        turned = self.product(inside, phi.astype(dtype)).reshape(shape)
        inside = turned * cosines.astype(dtype) - self._swapped(turned) * sines.astype(dtype)
        masses = self.join((self.sum(weights * low, -1), self.sum(weights * high, -1))).astype(dtype).reshape((-1, 2))
        return inside + self.product(masses, outer.astype(dtype)).reshape(shape)


def _reference(call: Call, **arguments):
    return ComposedAttention(call, relative=GatheredPositions(), **arguments)


def _naive(call: Call, **arguments):
    return ComposedAttention(call, relative=GatheredPositions(), softmax=RowSumSoftmax(), **arguments)


def _softmax(call: Call) -> nn.Cell | None:
    return RowSumSoftmax() if call.device == "cpu" and for_static_training(call) is None else None


def _table(call: Call, **arguments):
    return ComposedAttention(call, relative=TablePositions(), softmax=_softmax(call), **arguments)


def _rotation(call: Call, head_size: int, **arguments):
    relative = RotatedPositions(head_size)
    return ComposedAttention(call, head_size=head_size, relative=relative, softmax=_softmax(call), **arguments)


def _rotation_serves(learned_table: bool = False, head_size: int = 2, **arguments) -> str | None:
    if learned_table:
        return "is right for the fixed sinusoid alone, not for a learned table"
    return "needs an even head size" if head_size % 2 else None


def _form(name: str, devices, build, supports, preference: int = 0, **more) -> Implementation:
    return Implementation("relative_attention", name, devices, build, supports, preference, **more)


IMPLEMENTATIONS = (
    _form("reference", ALL_DEVICES, _reference, bf16_for_maps_only),
    _form("naive", ("cpu",), _naive, for_composed_training, 10),
    _form("table", ALL_DEVICES, _table, bf16_for_maps_only, -10),
    _form("rotation", ALL_DEVICES, _rotation, bf16_for_maps_only, -10, serves=_rotation_serves),
)
