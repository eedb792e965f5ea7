"""A stand-in for Ascend's flash attention operators: the arithmetic of their documentation in stock operators."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm_ascend.ops.flash import EVERYWHERE, STATISTICS

FAR = 1e9


def _heads_first(x):
    return x.astype(ms.float32).transpose((0, 2, 1, 3))


class StandIn(nn.Cell):
    """As `FlashOperator`; `dropped` holds 1 where an entry is kept, `[B, N, S, S]`. Sums are fp32, as on the device.

    A row without keys gives NaN: nobody may use it.
    """

    def __init__(self, heads, scale, keep=1.0, before=EVERYWHERE, after=EVERYWHERE) -> None:
        super().__init__()
        self.scale, self.keep, self.before, self.after = scale, keep, before, after
        self.product, self.product_t = ops.BatchMatMul(), ops.BatchMatMul(transpose_b=True)
        self.range, self.exp, self.sum, self.tile = ops.Range(), ops.Exp(), ops.ReduceSum(keep_dims=True), ops.Tile()
        self.largest = ops.ReduceMax(keep_dims=True)

    def _scores(self, query, key, mask):
        """Scaled scores `[B, N, S, S]`, and 1 where a key is attended to."""
        scores = self.product_t(_heads_first(query), _heads_first(key)) * self.scale
        place = self.range(0, scores.shape[-1], 1)
        distance = place.reshape((1, -1)) - place.reshape((-1, 1))
        window = (distance >= -self.before).astype(ms.float32) * (distance <= self.after).astype(ms.float32)
        return scores, (mask == 0).astype(ms.float32) * window

    def _kept(self, weights, dropped):
        return weights if self.keep == 1.0 else weights * dropped.astype(weights.dtype) / self.keep

    def construct(self, query, key, value, dropped, mask):
        scores, seen = self._scores(query, key, mask)
        largest = self.largest(scores - (1.0 - seen) * FAR, -1)
        weights = self.exp((scores - largest) * seen) * seen
        total = self.sum(weights, -1)
        out = self.product(self._kept(weights / total, dropped), _heads_first(value))
        tiles = (1, 1, 1, STATISTICS)
        return self.tile(largest, tiles), self.tile(total, tiles), out.transpose((0, 2, 1, 3)).astype(query.dtype)

    def gradient(self, query, key, value, dropped, mask, largest, total, out, dout):
        scores, seen = self._scores(query, key, mask)
        weights = self.exp((scores - largest[..., :1]) * seen) * seen / total[..., :1]
        out, dout = _heads_first(out), _heads_first(dout)
        dweights = self._kept(self.product_t(dout, _heads_first(value)), dropped)
        dscores = weights * (dweights - self.sum(dout * out, -1)) * self.scale
        dquery = self.product(dscores, _heads_first(key)).transpose((0, 2, 1, 3))
        dkey = self.product(dscores.transpose((0, 1, 3, 2)), _heads_first(query)).transpose((0, 2, 1, 3))
        dvalue = self.product(self._kept(weights, dropped).transpose((0, 1, 3, 2)), dout).transpose((0, 2, 1, 3))
        return dquery.astype(query.dtype), dkey.astype(key.dtype), dvalue.astype(value.dtype)


def kept(factors: np.ndarray | None):
    """A class as `KeepBits` that draws what a problem's dropout kept."""

    class Kept(nn.Cell):
        def __init__(self, call, site) -> None:
            super().__init__()
            self.kept = Tensor((factors > 0).astype(np.uint8), ms.uint8)

        def construct(self, shape):
            return self.kept

    return Kept
