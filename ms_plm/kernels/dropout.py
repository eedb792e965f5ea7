"""Dropout as a function of keys: where it happens (`DropoutSite`, `DropoutPlan`), and the forms it takes.

`dropout(x, rng)`: `rng` is None (evaluation), int32 keys `[B, 2]`, or one flat bool mask `[DropoutPlan.size(B, S)]`
made on the host by `DropoutPlan.host_mask`. The random bits are those of `ms_plm.common.rng` in every exact form.
"""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.common import rng as generator
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation


@dataclass(frozen=True)
class DropoutSite:
    """One place where a model drops values.

    Attributes:
        probability: of dropping.
        operation: its number in the model.
        hidden_before: widths of all `[B, S, width]` sites before it, added up: its place in the flat mask.
        heads_before: the same for the heads of `[B, heads, S, S]` sites.
        pooled: a site on `[B, width]`, which stands at the end of the flat mask.
    """

    probability: float
    operation: int
    hidden_before: int
    heads_before: int
    pooled: bool = False

    @property
    def threshold(self) -> int:
        """16-bit draws below it are kept."""
        return generator.keep_threshold(self.probability)

    @property
    def base(self) -> int:
        """What the hash adds for this place."""
        with np.errstate(over="ignore"):
            return int(np.int32(self.operation) * generator.OPERATION)

    def offset(self, batch: int, length: int) -> int:
        """Where this site's mask begins in the flat host mask."""
        return batch * length * (self.hidden_before + length * self.heads_before)


class DropoutPlan:
    """Numbers the dropout sites of a model in the order in which it is built, and makes their masks on the host.

    A `pooled` site comes last, as heads are built after the encoder: `x [B, width]` does not know the length S that the
    other sites' masks grow with, so that its mask is found from the end of the flat one.

    Args:
        first: number of the first site, so that models that drop values by the same keys draw different masks.
    """

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._sites: list[tuple[DropoutSite, int, int]] = []  # with its width and the power of S in its size
        self._hidden = self._heads = self._pooled = 0

    def hidden(self, probability: float, width: int) -> DropoutSite | None:
        """A site for `[B, S, width]`; None if nothing is dropped there."""
        return self._add(probability, width, 1)

    def scores(self, probability: float, heads: int) -> DropoutSite | None:
        """A site for `[B, heads, S, S]`; None if nothing is dropped there."""
        return self._add(probability, heads, 2)

    def pooled(self, probability: float, width: int) -> DropoutSite | None:
        """A site for `[B, width]`, the last one of the plan; None if nothing is dropped there."""
        return self._add(probability, width, 0)

    def _add(self, probability: float, width: int, power: int) -> DropoutSite | None:
        if probability == 0.0:
            return None
        if self._pooled:
            raise ValueError(
                "a plan ends with its pooled site: build the heads last, with one dropout on pooled values"
            )
        site = DropoutSite(probability, self._first + len(self._sites), self._hidden, self._heads, pooled=power == 0)
        self._sites.append((site, width, power))
        self._pooled += width if power == 0 else 0
        self._hidden += width if power == 1 else 0
        self._heads += width if power == 2 else 0
        return site

    def __bool__(self) -> bool:
        return bool(self._sites)

    @property
    def end(self) -> int:
        """The number after the last site's."""
        return self._first + len(self._sites)

    def size(self, batch: int, length: int) -> int:
        """Length of the flat host mask."""
        return batch * (length * (self._hidden + length * self._heads) + self._pooled)

    def host_mask(self, keys: np.ndarray, length: int) -> np.ndarray:
        """The flat mask of all sites: bool `[size(B, S)]`, True where a value is kept, from keys int32 `[B, 2]`."""
        batch = len(keys)
        mask = np.empty(self.size(batch, length), np.bool_)
        for site, width, power in self._sites:
            count = width * length**power
            start = site.offset(batch, length)
            out = mask[start : start + batch * count].reshape(batch, count)
            generator.keep_mask(keys, site.operation, count, site.threshold, out)
        return mask


class NoDropout(nn.Cell):
    """A place where nothing is dropped."""

    def construct(self, x, rng=None):
        return x


class HostMaskDropout(nn.Cell):
    """Reads its slice of the flat host mask."""

    def __init__(self, call: Call, site: DropoutSite) -> None:
        super().__init__()
        self.hidden_before, self.heads_before, self.pooled = site.hidden_before, site.heads_before, site.pooled
        self.scale = 65536.0 / site.threshold

    def construct(self, x, rng=None):
        if rng is None:
            return x
        shape = x.shape
        if self.pooled:
            start = rng.size - x.size
        else:
            length = shape[-2]
            start = shape[0] * length * (self.hidden_before + length * self.heads_before)
        kept = rng[start : start + x.size].reshape(shape)
        return x * (kept.astype(x.dtype) * self.scale)


class HashDropout(nn.Cell):
    """Computes the hash inside the graph from keys int32 `[B, 2]`; bit for bit the masks of the host."""

    def __init__(self, call: Call, site: DropoutSite) -> None:
        super().__init__()
        self.base, self.threshold, self.scale = site.base, site.threshold, 65536.0 / site.threshold
        self.golden, self.mix_1, self.mix_2 = int(generator.GOLDEN), int(generator.MIX_1), int(generator.MIX_2)
        self.s15, self.s13, self.s16 = (Tensor(n, ms.int32) for n in (15, 13, 16))
        self.low = Tensor(0xFFFF, ms.int32)
        self.range = ops.Range()  # ops.arange, written in Python, takes 0.4 s of compiling

    def construct(self, x, rng=None):
        if rng is None:
            return x
        shape = x.shape
        count = x.size // shape[0]
        counters = self.range(0, (count + 1) // 2, 1).astype(ms.int32) * self.golden
        h = counters.reshape((1, -1)) + (rng[:, 0:1] + self.base)
        h = ops.bitwise_xor(h, ops.bitwise_right_shift(h, self.s15)) * self.mix_1
        h = ops.bitwise_xor(h, rng[:, 1:2])
        h = ops.bitwise_xor(h, ops.bitwise_right_shift(h, self.s13)) * self.mix_2
        high = ops.bitwise_and(ops.bitwise_right_shift(h, self.s16), self.low)
        low = ops.bitwise_and(ops.bitwise_xor(h, high), self.low)
        draws = ops.stack((low, high), -1).reshape((shape[0], -1))[:, :count]
        return x * ((draws < self.threshold).reshape(shape).astype(x.dtype) * self.scale)


def device_seeds(call: Call, site: DropoutSite) -> tuple[int, int]:
    """Of the device's own generator at a site: places, processes and runs draw different values."""
    words = generator.sample_keys(call.seed, 0, np.array([site.operation]), generator.DROPOUT)[0]
    first, second = (int(word) & 0x7FFFFFFF | 1 for word in words)  # above 0, which means a seed of its own
    return first, second


class StockDropout(nn.Cell):
    """The device's own dropout: faster on some, its state can be neither saved nor restored."""

    def __init__(self, call: Call, site: DropoutSite) -> None:
        super().__init__()
        first, second = device_seeds(call, site)
        self.dropout = ops.Dropout(keep_prob=1.0 - site.probability, Seed0=first, Seed1=second)
        self.dropout.recompute(False)  # a second draw would be another mask

    def construct(self, x, rng=None):
        if rng is None:
            return x
        return self.dropout(x)[0]


def _host_mask(call: Call) -> str | None:
    return "needs static shapes" if call.dynamic else None


def _stock(call: Call) -> str | None:
    return "cannot be resumed exactly (set impl.exact_resume: false to allow it)" if call.exact_dropout else None


def _at(form):
    def build(call: Call, site: DropoutSite | None):
        return NoDropout() if site is None else form(call, site)

    return build


IMPLEMENTATIONS = (
    Implementation("dropout", "hash", ALL_DEVICES, _at(HashDropout)),
    Implementation("dropout", "host_mask", ("cpu",), _at(HostMaskDropout), _host_mask, preference=10),
    Implementation("dropout", "stock", ("ascend", "gpu"), _at(StockDropout), _stock, preference=20),
)


def build_dropout(call: Call, site: DropoutSite | None):
    """Dropout at a site, in the form chosen for the model; for None a cell that passes values on."""
    return (call.dropout or IMPLEMENTATIONS[0]).build(call, site)
