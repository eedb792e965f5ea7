"""`relative_attention` as three calls of Ascend's flash attention: nothing of `[S, S, D]`, no kernel of our own.

r_ij = table[clip(j - i, -K, K) + K] is one of two constant rows a_0, a_2K where |j - i| >= K, and inside the band the
sinusoid factorises: q_i . r_ij = rot_i(q_i) . phi_j (`RotatedPositions` in `ms_plm/kernels/relative_attention.py`). So
each of three disjoint regions is plain attention over wider vectors:

    low   j - i <= -K    [q | q.a_0  | 0] [k | 1 | 0]^T   [v | 1 | 0]    o + (sum of weights) a_0
    high  j - i >=  K    [q | q.a_2K | 0] [k | 1 | 0]^T   [v | 1 | 0]    o + (sum of weights) a_2K
    band  between        [q | rot(q)]     [k | phi]^T     [v | phi]      o + rot^T(sum of weights x phi)

The column of ones sums the weights after dropout, which are not 1. The regions' results are joined by their row maxima
and sums; the gradients run each region with the maxima and sums of the whole row, and the column that carries q.a takes
back the sum of ds, so that the same matrix maps dq. All widening and narrowing is a product with a constant: cheap on
the cube unit, and neither slices nor concatenations.
"""

from __future__ import annotations

import math
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.kernels import Call, Implementation, relative_attention
from ms_plm.kernels.dropout import DropoutSite
from ms_plm.kernels.relative_attention import RotatedPositions
from ms_plm_ascend.ops.bits import KeepBits
from ms_plm_ascend.ops.flash import EVERYWHERE, STATISTICS, FlashOperator, for_flash, padding

EXTRA = 16
"""Columns beside the clipped regions' vectors: one is needed, the operator takes multiples of 16."""
NOWHERE = -1e30
"""The largest score of a row that a region has no keys for."""
LOW, HIGH, BAND = range(3)
"""The regions, by the order of masks, bits and operators."""

# primitives, not functions of `ops`: a function used in construct and in bprop breaks the compile
_matmul, _tile, _zeros, _after = ops.MatMul(), ops.Tile(), ops.ZerosLike(), ops.Depend()


def _product(x, matrix):
    """`[B, S, N, E]` times `[E, F]`, of the dtype of x."""
    return _matmul(x.reshape((-1, x.shape[-1])), matrix.astype(x.dtype)).reshape((*x.shape[:-1], matrix.shape[1]))


class ThreeRegions(nn.Cell):
    """What positions add, and the join, for queries, keys and values `[B, S, N, D]`.

    Args:
        heads: N.
        head_size: D.
        reach: K.
        keep: probability to keep an entry; 1: no dropout.
        operator: see `FlashOperator`.
    """

    def __init__(self, heads: int, head_size: int, reach: int, keep: float, operator: type) -> None:
        super().__init__()
        self.size, self.reach, self.drops = head_size, reach, keep < 1.0
        scale = 1.0 / math.sqrt(head_size)
        self.low = operator(heads, scale, keep, EVERYWHERE, -reach)
        self.high = operator(heads, scale, keep, -reach, EVERYWHERE)
        self.band = operator(heads, scale, keep, reach - 1, reach - 1)
        self.any = ops.ReduceAny(keep_dims=True)
        identity, zeros = np.eye(head_size, dtype=np.float32), np.zeros((head_size, head_size), np.float32)
        swap = identity[np.arange(head_size) ^ 1]
        self.first_clipped = Tensor(np.concatenate((identity, zeros[:, :1].repeat(EXTRA, 1)), 1))
        self.ones = Tensor(np.eye(head_size + EXTRA, dtype=np.float32)[head_size])
        self.first, self.twice = Tensor(np.concatenate((identity, zeros), 1)), Tensor(np.tile(identity, 2))
        self.swapped = Tensor(np.concatenate((zeros, swap), 1))
        self.second = Tensor(np.concatenate((zeros, identity), 1))

    def construct(
        self,
        query,
        key,
        value,
        low,
        high,
        beside,
        cosines,
        sines,
        not_low,
        not_high,
        not_band,
        bits,
    ):
        """Context `[B, S, N, D]`; maxima and sums of whole rows fp32 `[B, N, S, 1]`, 0 and 1 where all keys are masked.

        low to sines: of `Flash3.positions`; then masks uint8 `[B, 1, S, S]`, 1 outside the region, and bits (see
        `FlashOperator`) for all of them, as no entry is in two; unused without dropout. (One by one: a cell with a
        gradient of its own cannot take tuples.)
        """
        positions, masks = (low, high, beside, cosines, sines), (not_low, not_high, not_band)
        bits = self._kept(bits)
        parts = ()
        for region in self._regions(query):
            wide = self._widened(region, query, key, value, positions)
            largest, total, out = self._operator(region)(*wide, bits, masks[region])
            out = self._narrowed(region, out, positions)
            query = _after(query, out)  # one region after the other: their wide vectors need not be there at once
            seen = self.any(masks[region] == 0, 3)
            largest = ops.select(ops.broadcast_to(seen, largest[..., :1].shape), largest[..., :1], NOWHERE)
            parts = (*parts, (seen, largest, total[..., :1], out))
        top = parts[0][1]
        for part in parts[1:]:
            top = ops.maximum(top, part[1])
        whole = 0.0
        for seen, largest, total, _ in parts:
            whole = whole + self._share(seen, largest, total, top)
        empty = whole == 0.0
        whole = whole + empty.astype(whole.dtype)
        context = 0.0
        for seen, largest, total, out in parts:
            share = (self._share(seen, largest, total, top) / whole).transpose((0, 2, 1, 3))
            out = out.astype(share.dtype)
            context = context + ops.select(ops.broadcast_to(share > 0.0, out.shape), out * share, 0.0)
        top = ops.select(empty, 0.0, top)
        return context.astype(query.dtype), top, whole

    def bprop(
        self,
        query,
        key,
        value,
        low,
        high,
        beside,
        cosines,
        sines,
        not_low,
        not_high,
        not_band,
        bits,
        out,
        dout,
    ):
        positions, masks = (low, high, beside, cosines, sines), (not_low, not_high, not_band)
        kept = self._kept(bits)
        context, top, whole = out
        dcontext = dout[0]
        top, whole = _tile(top, (1, 1, 1, STATISTICS)), _tile(whole, (1, 1, 1, STATISTICS))
        dquery, dkey, dvalue = 0.0, 0.0, 0.0
        for region in self._regions(query):
            # one after the other: else what was widened for the forward pass is kept, and all regions are there at once
            query, context = _after(query, dcontext), _after(context, dcontext)
            wide_query, wide_key, wide_value = self._widened(region, query, key, value, positions)
            wide_dcontext = self._widened_query(region, _after(dcontext, wide_value), positions)
            wide_context = _product(_after(context, wide_dcontext), self._plain(region))
            wide_dquery, wide_dkey, wide_dvalue = self._operator(region).gradient(
                *(wide_query, wide_key, wide_value, kept, masks[region]),
                *(top, whole, wide_context, wide_dcontext),
            )
            plain = self._plain(region).T
            dquery = dquery + self._narrowed(region, wide_dquery, positions)
            dkey = dkey + _product(wide_dkey, plain)
            dvalue = dvalue + _product(wide_dvalue, plain)
            dcontext = _after(dcontext, (dquery, dkey, dvalue))
        fixed = ()
        for given in (*positions, *masks, bits):
            fixed = (*fixed, _zeros(given))
        return dquery, dkey, dvalue, *fixed

    def _regions(self, query):
        """Numbers of the regions that rows of this length have."""
        return (LOW, HIGH, BAND) if query.shape[1] > self.reach else (BAND,)

    def _operator(self, region):
        return (self.low, self.high, self.band)[region]

    def _kept(self, bits):
        return bits if self.drops else None

    def _share(self, seen, largest, total, top):
        """Sum of a region's exponentials relative to the largest score of the row; 0 where it has no keys."""
        exponential = ops.exp(largest - top)
        return ops.select(ops.broadcast_to(seen, total.shape), total * exponential, 0.0)

    def _plain(self, region):
        """`[D, E]`: a vector, widened by zeros."""
        return self.first if region == BAND else self.first_clipped

    def _widened(self, region, query, key, value, positions):
        wide_query = self._widened_query(region, query, positions)
        more = (positions[2] if region == BAND else self.ones).astype(query.dtype)
        wide_key = _product(_after(key, wide_query), self._plain(region)) + more
        return wide_query, wide_key, _product(_after(value, wide_key), self._plain(region)) + more

    def _widened_query(self, region, query, positions):
        """[q | q.a | 0], or [q | rot(q)]."""
        if region != BAND:
            return _product(query, positions[region])
        _, _, _, cosines, sines = positions
        turned = _product(query, self.swapped) * sines.astype(query.dtype)
        return _product(query, self.twice) * cosines.astype(query.dtype) + turned

    def _narrowed(self, region, x, positions):
        """The transpose of `_widened_query`: `[B, S, N, E]` to `[B, S, N, D]`."""
        if region != BAND:
            return _product(x, positions[region].T)
        size = self.size
        cosines, sines = positions[3][..., size:].astype(x.dtype), positions[4][..., size:].astype(x.dtype)
        turned = _product(x, self.second.T) * cosines - _product(x, self.swapped.T) * sines
        return _product(x, self.first.T) + turned


class Flash3(nn.Cell):
    """`relative_attention`; see the module."""

    def __init__(
        self,
        call: Call,
        heads: int,
        head_size: int,
        reach: int,
        site: DropoutSite | None = None,
        causal: bool = False,
        learned_table: bool = False,
        operator: type = FlashOperator,
        bits: type = KeepBits,
    ) -> None:
        super().__init__()
        self.heads, self.size, self.reach, self.drops = heads, head_size, reach, site is not None
        self.rotated = RotatedPositions(head_size)
        self.keeping = ThreeRegions(heads, head_size, reach, 1.0, operator)
        if self.drops:
            self.dropping = ThreeRegions(heads, head_size, reach, 1.0 - site.probability, operator)
            self.bits = bits(call, site)
        self.no_bits = Tensor(0, ms.uint8)
        self.join = ops.Concat(-1)

    def positions(self, table, query_length, key_length, query_offset=0):
        """What the layers share, fp32: the matrices that widen queries for the clipped regions `[D, D + 16]`; what keys
        and values of the band get beside them `[S, 1, 2D]`; cosines and sines of the band's queries `[S, 1, 2D]`; then
        where each region is not, bool `[S, S]`.
        """
        phi, cosines, sines, outer, band, low, high = self.rotated.prepare(
            table, query_length, key_length, query_offset
        )
        identity, zeros = ops.eye(self.size, self.size, ms.float32), ops.zeros((self.size, EXTRA - 1), ms.float32)
        widen_low = self.join((identity, outer[:1].T, zeros))
        widen_high = self.join((identity, outer[1:].T, zeros))
        still, nothing = ops.ones(cosines.shape, ms.float32), ops.zeros(cosines.shape, ms.float32)
        wide = (query_length, 1, 2 * self.size)
        shared = (
            widen_low,
            widen_high,
            self.join((nothing, phi)).reshape(wide),
            self.join((still, cosines)).reshape(wide),
            self.join((nothing, sines)).reshape(wide),
        )
        return shared, (low == 0.0, high == 0.0, band == 0.0)

    def construct(self, query, key, value, mask, positions=None, rng=None, head_mask=None, query_offset=0):
        batch, length, _ = query.shape
        shape = (batch, length, self.heads, self.size)
        shared, elsewhere = positions
        padded = padding(mask)
        masks = (
            ops.logical_or(elsewhere[0], padded).astype(ms.uint8),
            ops.logical_or(elsewhere[1], padded).astype(ms.uint8),
            ops.logical_or(elsewhere[2], padded).astype(ms.uint8),
        )
        query, key, value = query.reshape(shape), key.reshape(shape), value.reshape(shape)
        if self.drops and rng is not None:
            bits = self.bits((batch, self.heads, length, length))
            context = self.dropping(query, key, value, *shared, *masks, bits)[0]
        else:
            context = self.keeping(query, key, value, *shared, *masks, self.no_bits)[0]
        if head_mask is not None:
            context = context * head_mask.reshape((1, 1, -1, 1)).astype(context.dtype)
        return context.reshape((batch, length, self.heads * self.size)), None, None


def _serves(head_size: int = 64, causal: bool = False, learned_table: bool = False, **arguments) -> str | None:
    if learned_table:
        return "is right for the fixed sinusoid alone, not for a learned table"
    if causal:
        return "has no causal form"
    return f"needs a head size that is a multiple of 16, not {head_size}" if head_size % 16 else None


def _code() -> list[Path]:
    """What prepares positions."""
    return [Path(relative_attention.__file__)]


IMPLEMENTATIONS = (
    Implementation(
        "relative_attention", "flash3", ("ascend",), Flash3, for_flash, serves=_serves, proven=False, code=_code
    ),
)
