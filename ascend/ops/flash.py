"""Ascend's flash attention: the operator pair, its dropout, and `attention` on it.

`FlashAttentionScore` computes softmax(Q K^T scale, masked) V without `[S, S]` in memory and gives the row maxima and
sums, its gradient operator takes them back. Both are stock in CANN for Atlas A2; **we have run neither on hardware**.
Layout BSND throughout: the projections' `[B, S, N*D]` is `[B, S, N, D]` without a transpose.
"""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import nn, ops
from mindspore.ops.auto_generate import FlashAttentionScore, FlashAttentionScoreGrad

from ms_plm.kernels import Call, Implementation
from ms_plm.kernels.attention import MASKED
from ms_plm.kernels.dropout import DropoutSite
from ms_plm.kernels.registry import for_static_training
from ms_plm_ascend.ops.bits import KeepBits
from ms_plm_ascend.ops.limits import draws_bits_of_scores, keeps_less, lacks_chip

EVERYWHERE = 2147483647
"""A reach without limit, of `FlashAttentionScore`."""
WHOLE_ROWS = 2
"""`inner_precise`: rows whose keys are all masked are computed as such."""
STATISTICS = 8
"""Row maxima and sums come and go as `[B, N, S, 8]`, eight times the same."""


class FlashOperator(nn.Cell):
    """The two operators with one configuration.

    Args:
        heads: N.
        scale: of the scores.
        keep: probability to keep an entry; 1: no dropout.
        before, after: how far back and ahead of a query keys may stand, so that blocks beyond are left out; the mask
            says the same exactly.
    """

    def __init__(
        self, heads: int, scale: float, keep: float = 1.0, before: int = EVERYWHERE, after: int = EVERYWHERE
    ) -> None:
        super().__init__()
        options = {
            "keep_prob": keep,
            "scale_value": scale,
            "pre_tokens": before,
            "next_tokens": after,
            "inner_precise": WHOLE_ROWS,
            "input_layout": "BSND",
            "sparse_mode": 0,
        }
        self.score, self.grad = FlashAttentionScore(heads, **options), FlashAttentionScoreGrad(heads, **options)

    def construct(self, query, key, value, dropped, mask):
        """Row maxima and sums before dropout fp32 `[B, N, S, 8]`, and what attention gives `[B, S, N, E]`.

        query, key, value `[B, S, N, E]` fp16 or bf16; dropped: bits that keep entries, uint8, or None; mask uint8
        `[B, 1, S, S]`, 1: not attended to.
        """
        largest, total, _, out = self.score(query, key, value, None, dropped, None, mask)
        return largest, total, out

    def gradient(self, query, key, value, dropped, mask, largest, total, out, dout):
        """Gradients of query, key and value; p = exp(s - largest) / total, and D = rowsum(dout * out)."""
        return self.grad(query, key, value, dout, None, dropped, None, mask, largest, total, None, out)[:3]


def padding(mask):
    """True where a key is padding, bool `[B, 1, 1, S]`, from the additive mask."""
    return mask < 0.5 * MASKED


class FlashAttention(nn.Cell):
    """`attention` in one call of the operator; its gradient is MindSpore's own."""

    def __init__(
        self,
        call: Call,
        heads: int,
        head_size: int,
        site: DropoutSite | None = None,
        causal: bool = False,
        operator: type = FlashOperator,
        bits: type = KeepBits,
    ) -> None:
        super().__init__()
        self.heads, self.size, self.drops = heads, head_size, site is not None
        scale, ahead = 1.0 / math.sqrt(head_size), 0 if causal else EVERYWHERE
        self.causal, self.keeping = causal, operator(heads, scale, after=ahead)
        if self.drops:
            self.bits = bits(call, site)
            self.dropping = operator(heads, scale, 1.0 - site.probability, after=ahead)

    def positions(self, table, query_length, key_length, query_offset=0):
        """Nothing: positions are absolute."""
        return None

    def construct(self, query, key, value, mask, positions=None, rng=None, head_mask=None, query_offset=0):
        batch, length, _ = query.shape
        shape = (batch, length, self.heads, self.size)
        query, key, value = query.reshape(shape), key.reshape(shape), value.reshape(shape)
        hidden = ops.broadcast_to(padding(mask), (batch, 1, length, length))
        if self.causal:
            hidden = ops.logical_or(hidden, ops.triu(ops.ones((length, length), ms.bool_), 1))
        hidden = hidden.astype(ms.uint8)
        if self.drops and rng is not None:
            out = self.dropping(query, key, value, self.bits((batch, self.heads, length, length)), hidden)[2]
        else:
            out = self.keeping(query, key, value, None, hidden)[2]
        if head_mask is not None:
            out = out * head_mask.reshape((1, 1, -1, 1)).astype(out.dtype)
        return out.reshape((batch, length, self.heads * self.size)), None, None


def for_flash(call: Call) -> str | None:
    """`supports` of forms on these operators."""
    if call.compute == "fp32":
        return "multiplies in fp16 or bf16"
    return lacks_chip(call) or keeps_less(call) or draws_bits_of_scores(call) or for_static_training(call)


def _serves(head_size: int = 64, **arguments) -> str | None:
    return f"needs a head size that is a multiple of 16, not {head_size}" if head_size % 16 else None


IMPLEMENTATIONS = (
    Implementation("attention", "flash", ("ascend",), FlashAttention, for_flash, serves=_serves, proven=False),
)
