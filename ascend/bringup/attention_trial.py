"""The trial of `attention` and `relative_attention`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_plm.config.precision import MASKED
from ms_plm.kernels import Call, Implementation
from ms_plm.kernels.attention import sinusoid_table
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm.kernels.dtypes import COMPUTE
from ms_plm_ascend.bringup.oracle import Given, error, forward, gradients, relations, rounded
from ms_plm_ascend.bringup.trial import DROPPED, FACTOR, KEPT, OTHERWISE, Measured, Trial
from ms_plm_ascend.roofline.counts import ATTENTION, Work

REACH, SIZE = 64, 64
COUNTED = {"flash3": "flash3", "flash": "flash"}
"""Form -> its entry in `roofline.counts.ATTENTION`; others are held against the bound of one fused kernel."""


class _Context(nn.Cell):
    """Context `[B, S, N*D]`, fp32, of fp32 vectors that are rounded to the compute type."""

    def __init__(self, cell: nn.Cell, compute: str) -> None:
        super().__init__()
        self.cell, self.compute = cell, COMPUTE[compute]
        self.table = Tensor(sinusoid_table(REACH, SIZE))

    def construct(self, query, key, value, mask, keys):
        query, key, value = query.astype(self.compute), key.astype(self.compute), value.astype(self.compute)
        positions = self.cell.positions(self.table, query.shape[1], key.shape[1])
        return self.cell(query, key, value, mask, positions, keys)[0].astype(ms.float32)


@dataclass(frozen=True)
class AttentionTrial(Trial):
    """Context and gradients of query, key and value.

    Attributes:
        relative: with NEZHA's positions.
        lengths: of sequences that are held against float64: shorter than the band, one block, several.
        timed_lengths, tokens, heads: of what is timed; one form may be the faster with short sequences, another with
            long ones.
    """

    relative: bool
    lengths: tuple[int, ...] = (48, 128, 512)
    timed_lengths: tuple[int, ...] = (128, 512)
    tokens: int = 8192
    heads: int = 12

    @property
    def how(self) -> str:
        lengths = ", ".join(map(str, self.lengths))
        timed = " and ".join(map(str, self.timed_lengths))
        return f"lengths {lengths} with padding against float64, dropout, then {self.tokens} tokens timed at {timed}"

    def _built(self, form: Implementation, call: Call, heads: int, drops: float = 0.0) -> Measured:
        arguments: dict[str, Any] = {"heads": heads, "head_size": SIZE, "site": DropoutPlan().scores(drops, heads)}
        if self.relative:
            arguments["reach"] = REACH
        return Measured(_Context(form.build(call, **arguments), call.compute), gradients=3)

    def errors(self, form: Implementation, call: Call) -> dict[str, float]:
        """Largest over all lengths, of a batch whose second sequence is padded, and whose third is nothing else: its
        output counts nowhere, but it has no gradient."""
        found: dict[str, float] = {}
        for length in self.lengths:
            for name, value in self._errors(form, call, length).items():
                found[name] = max(found.get(name, 0.0), value)
        return found

    def _errors(self, form: Implementation, call: Call, length: int) -> dict[str, float]:
        batch, heads = 3, 2
        random = np.random.default_rng(length)
        draws = (random.standard_normal((batch, length, heads, SIZE)) * factor for factor in (0.5, 1.0, 1.0, 1.0))
        query, key, value, cotangent = (rounded(x, call.compute) for x in draws)
        mask = np.zeros((batch, 1, 1, length), np.float32)
        mask[1, ..., -length // 3 :], mask[2], cotangent[2] = MASKED, MASKED, 0.0
        relative = relations(sinusoid_table(REACH, SIZE), length) if self.relative else None
        given = Given(query, key, value, SIZE**-0.5, seen=mask > MASKED / 2, relations=relative)
        packed = (batch, length, heads * SIZE)
        vectors = [Tensor(x.reshape(packed)) for x in (query, key, value, cotangent)]
        out, found = self._built(form, call, heads)(*vectors[:3], Tensor(mask), None, vectors[3])
        errors = {"context": error(out.asnumpy().reshape(query.shape)[:2], forward(given).out[:2])}
        names = ("d query", "d key", "d value")
        for name, got, right in zip(names, found, gradients(given, cotangent), strict=True):
            errors[name] = error(got.asnumpy().reshape(query.shape), right)
        return errors

    def dropout(self, form: Implementation, call: Call) -> dict[str, float]:
        """All scores are 0 and values are large unit vectors, for one half of the keys at a time, so that outputs are
        the weights (what relative positions add is small beside them). Where the cotangent of query i is the unit
        vector of i modulo D, the gradient of value j holds sums of the weights of key j over the queries that are equal
        modulo D.
        """
        heads, length, large = 2, 2 * SIZE, 16384.0
        cell, zeros = self._built(form, call, heads, DROPPED), np.zeros((1, length, heads, SIZE), np.float32)
        mask, keys = Tensor(np.zeros((1, 1, 1, length), np.float32)), Tensor(np.array([[3, 5]], np.int32))
        units = np.broadcast_to(np.eye(SIZE, dtype=np.float32)[None, :, None], (1, SIZE, heads, SIZE))
        unit, kept, sizes, differing = 1.0 / (length * (1.0 - DROPPED)), [], [], []
        for half in (slice(0, SIZE), slice(SIZE, length)):
            value, cotangent = zeros.copy(), np.concatenate((units, units), 1)
            value[:, half] = large * units
            given = [Tensor(x.reshape(1, length, -1)) for x in (zeros, zeros, value, cotangent)]
            out, found = cell(*given[:3], mask, keys, given[3])
            weights = out.asnumpy().reshape(length, heads, SIZE) / large  # of query i, for key d of this half
            sums = found[2].asnumpy().reshape(length, heads, SIZE)[half].transpose(2, 1, 0)
            seen = weights > unit / 2
            kept.append(seen.mean())
            sizes.append(weights[seen] / unit if seen.any() else np.zeros(1))
            differing.append(abs(seen[:SIZE].astype(int) + seen[SIZE:] - sums / unit) > 0.25)
        return {
            KEPT: float(np.mean(kept)),
            FACTOR: float(np.median(np.concatenate(sizes))),
            OTHERWISE: float(np.mean(differing)),
        }

    def timed(self, form: Implementation, call: Call, length: int) -> Callable[[], Tensor]:
        random, batch = np.random.default_rng(0), self.tokens // length
        shape = (batch, length, self.heads * SIZE)
        *vectors, cotangent = (Tensor(random.standard_normal(shape).astype(np.float32)) for _ in range(4))
        mask = Tensor(np.zeros((batch, 1, 1, length), np.float32))
        cell = self._built(form, call, self.heads)
        return lambda: cell(*vectors, mask, None, cotangent)[1][0]

    def work(self, form: Implementation, call: Call, length: int) -> Work:
        rows = float(self.tokens // length * self.heads * length)
        count = ATTENTION[COUNTED.get(form.name, "fused" if self.relative else "flash")]
        return count(rows * length, SIZE, rows, length, REACH)
