"""`attention` and `relative_attention`: softmax(scores) values, with or without functional relative positions.

Relative (NEZHA, arXiv 1909.00204 section 2.2, with the table evaluated at the shifted index as the released weights
need it): s_ij = q_i . (k_j + r_ij) / sqrt(D) + mask_j, o_i = sum_j p_ij (v_j + r_ij),
r_ij = table[clip(j - i, -K, K) + K]. Softmax is taken in fp32.

    cell = kernels.build("relative_attention", head_size=D, site=..., causal=False)
    positions = cell.positions(table [2K+1, D], S_q, S_k, query_offset)        # once a forward, shared by the layers
    context, scores, probabilities = cell(q, k, v, mask, positions, rng, head_mask)

q `[B, N, S_q, D]`; k, v `[B, N, S_k, D]`; mask: additive fp32 `[B, 1, 1, S_k]` or `[B, 1, S_q, S_k]`; context
`[B, S_q, N*D]`; scores (masked, before softmax) and probabilities (after head_mask, before dropout) fp32
`[B, N, S_q, S_k]` if `Call.wants` names them, else None; head_mask `[N]` or None.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.kernels.dropout import DropoutSite, build_dropout
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation, for_static_training

MASKED = -10000.0
"""Added to the scores of masked keys, as in the originals; representable in fp16."""


def sinusoid_table(max_relative_position: int, head_size: int) -> np.ndarray:
    """NEZHA's table: float32 `[2K+1, D]`, row p holds sin/cos(p / 10000^(2m/D)) (modeling.py 742-759)."""
    position = np.arange(2 * max_relative_position + 1, dtype=np.float64)[:, None]
    pairs = head_size // 2
    angle = position / np.power(10000.0, 2.0 * np.arange(pairs) / head_size)
    table = np.zeros((2 * max_relative_position + 1, head_size))
    table[:, 0 : 2 * pairs : 2], table[:, 1 : 2 * pairs : 2] = np.sin(angle), np.cos(angle)
    return table.astype(np.float32)


class RowSumSoftmax(nn.Cell):
    """Softmax over the last axis whose gradient adds rows by MatMul: the stock gradient is slow on CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax, self.matmul = ops.Softmax(-1), ops.MatMul()

    def construct(self, x):
        return self.softmax(x)

    def bprop(self, x, out, dout):
        product = out * dout
        shape = product.shape
        ones = ops.ones((shape[-1], 1), ms.float32)
        rows = self.matmul(product.reshape((-1, shape[-1])), ones).reshape((*shape[:-1], 1))
        return (product - out * rows,)


class NaiveAttention(nn.Cell):
    """Scores and probabilities in full; relative positions gathered to `[S_q, S_k, D]`.

    Products with positions are batched over the query index: `[S_q, B*N, D] x [S_q, D, S_k]`.
    """

    def __init__(
        self,
        call: Call,
        head_size: int,
        site: DropoutSite | None = None,
        causal: bool = False,
        relative: bool = False,
        softmax=None,
    ) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(head_size)
        self.relative, self.causal = relative, causal
        self.want_scores, self.want_probabilities = "scores" in call.wants, "probabilities" in call.wants
        self.softmax = softmax if softmax is not None else ops.Softmax(-1)
        self.dropout = build_dropout(call, site)
        self.product, self.product_t = ops.BatchMatMul(), ops.BatchMatMul(transpose_b=True)

    def positions(self, table, query_length, key_length, query_offset=0):
        """Relative rows `[S_q, S_k, D]` of the table `[2K+1, D]`; query i stands at position i + query_offset."""
        if not self.relative:
            return None
        reach = (table.shape[0] - 1) // 2
        distance = ops.arange(0, key_length).reshape((1, -1)) - ops.arange(0, query_length).reshape((-1, 1))
        row = ops.clamp(distance - query_offset, -reach, reach) + reach
        return ops.gather(table, row, 0)

    def construct(self, query, key, value, mask, positions=None, rng=None, head_mask=None, query_offset=0):
        _, heads, length, size = query.shape
        keys = key.shape[2]
        query = query * self.scale
        scores = self.product_t(query, key)
        if self.relative:
            positions = positions.astype(query.dtype)
            by_query = query.transpose((2, 0, 1, 3)).reshape((length, -1, size))
            scores = scores + self.product_t(by_query, positions).reshape((length, -1, heads, keys)).transpose(
                (1, 2, 0, 3)
            )
        scores = scores.astype(ms.float32) + mask
        if self.causal:
            ahead = ops.arange(0, keys).reshape((1, -1)) > ops.arange(0, length).reshape((-1, 1)) + query_offset
            scores = scores + ahead.astype(ms.float32) * MASKED
        probabilities = self.softmax(scores)
        if head_mask is not None:
            probabilities = probabilities * head_mask.reshape((1, -1, 1, 1))
        weights = self.dropout(probabilities, rng).astype(value.dtype)
        context = self.product(weights, value)
        if self.relative:
            by_query = weights.transpose((2, 0, 1, 3)).reshape((length, -1, keys))
            context = context + self.product(by_query, positions).reshape((length, -1, heads, size)).transpose(
                (1, 2, 0, 3)
            )
        context = context.transpose((0, 2, 1, 3)).reshape((-1, length, heads * size))
        return context, scores if self.want_scores else None, probabilities if self.want_probabilities else None


def table_tensor(max_relative_position: int, head_size: int) -> Tensor:
    """`sinusoid_table` as a constant."""
    return Tensor(sinusoid_table(max_relative_position, head_size))


def _build(relative: bool, row_sums: bool):
    def build(call: Call, **arguments):
        return NaiveAttention(call, relative=relative, softmax=RowSumSoftmax() if row_sums else None, **arguments)

    return build


IMPLEMENTATIONS = tuple(
    implementation
    for operation, relative in (("attention", False), ("relative_attention", True))
    for implementation in (
        Implementation(operation, "reference", ALL_DEVICES, _build(relative, False)),
        Implementation(operation, "naive", ("cpu",), _build(relative, True), for_static_training, preference=10),
    )
)
