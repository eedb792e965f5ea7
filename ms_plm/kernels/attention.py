"""`attention` and `relative_attention`: softmax(scores) values, with or without functional relative positions.

Relative (NEZHA, arXiv 1909.00204 section 2.2, with the table evaluated at the shifted index as the released weights
need it): s_ij = q_i . (k_j + r_ij) / sqrt(D) + mask_j, o_i = sum_j p_ij (v_j + r_ij),
r_ij = table[clip(j - i, -K, K) + K]. Softmax is taken in fp32.

    cell = kernels.build("relative_attention", heads=N, head_size=D, reach=K, site=..., causal=False,
                         learned_table=False)          # "attention": without reach and learned_table
    positions = cell.positions(table [2K+1, D], S_q, S_k, query_offset)        # once a forward, shared by the layers
    context, scores, probabilities = cell(q, k, v, mask, positions, rng, head_mask, query_offset)

q `[B, S_q, N*D]`; k, v `[B, S_k, N*D]`, of the compute type, as the projections give them; mask: additive fp32
`[B, 1, 1, S_k]` or `[B, 1, S_q, S_k]`; context `[B, S_q, N*D]`; scores (masked, before softmax) and probabilities
(after head_mask, before dropout) fp32 `[B, N, S_q, S_k]` if `Call.wants` names them, else None; head_mask `[N]` or
None; query i stands at position i + query_offset. What `positions` is, is the implementation's own matter.

Here: the definition, and what all forms of stock operators share. Those with positions: `relative_attention.py`.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.config.precision import MASKED
from ms_plm.kernels.dropout import DropoutSite, build_dropout
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation, for_static_training, no_bf16_on_cpu


def sinusoid_table(max_relative_position: int, head_size: int) -> np.ndarray:
    """NEZHA's table: float32 `[2K+1, D]`, row p holds sin/cos(p / 10000^(2m/D)) (modeling.py 742-759)."""
    position = np.arange(2 * max_relative_position + 1, dtype=np.float64)[:, None]
    pairs = head_size // 2
    angle = position / np.power(10000.0, 2.0 * np.arange(pairs) / head_size)
    table = np.zeros((2 * max_relative_position + 1, head_size))
    table[:, 0 : 2 * pairs : 2], table[:, 1 : 2 * pairs : 2] = np.sin(angle), np.cos(angle)
    return table.astype(np.float32)


def table_tensor(max_relative_position: int, head_size: int) -> Tensor:
    """`sinusoid_table` as a constant."""
    return Tensor(sinusoid_table(max_relative_position, head_size))


_range = ops.Range()  # ops.arange, written in Python, takes 0.4 s of compiling


def numbers(count):
    """0 .. count - 1: int64 `[count]`."""
    return _range(0, count, 1)


def distances(query_length, key_length, query_offset=0):
    """How far key j stands behind query i, which stands at i + `query_offset`: int64 `[S_q, S_k]`."""
    return numbers(key_length).reshape((1, -1)) - (numbers(query_length).reshape((-1, 1)) + query_offset)


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


class ComposedAttention(nn.Cell):
    """Scores and probabilities in full, out of stock operators.

    Args:
        call: see `Call`.
        heads, head_size, site, causal: see the module.
        learned_table, reach: nothing changes; gradients are automatic, the table tells K.
        relative: what positions add, a cell with `prepare(table, S_q, S_k, query_offset)`, whose result is handed to
            `scores(query [B, N, S_q, D], positions) -> [B, N, S_q, S_k]` and to
            `values(weights fp32 [B, N, S_q, S_k], positions, dtype) -> [B, N, S_q, D]`; None: nothing.
        softmax: over the last axis; None: the stock operator.
    """

    def __init__(
        self,
        call: Call,
        heads: int,
        head_size: int,
        site: DropoutSite | None = None,
        causal: bool = False,
        learned_table: bool = False,
        reach: int | None = None,
        relative: nn.Cell | None = None,
        softmax: nn.Cell | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.size, self.scale = heads, head_size, 1.0 / math.sqrt(head_size)
        self.has_positions, self.causal = relative is not None, causal
        self.want_scores, self.want_probabilities = "scores" in call.wants, "probabilities" in call.wants
        if self.has_positions:
            self.relative = relative
        self.softmax = softmax if softmax is not None else ops.Softmax(-1)
        self.dropout = build_dropout(call, site)
        self.product, self.product_t = ops.BatchMatMul(), ops.BatchMatMul(transpose_b=True)

    def positions(self, table, query_length, key_length, query_offset=0):
        """What the layers share, from the table `[2K+1, D]`; None without relative positions."""
        if not self.has_positions:
            return None
        return self.relative.prepare(table, query_length, key_length, query_offset)

    def _split(self, x):
        return x.reshape((*x.shape[:2], self.heads, self.size)).transpose((0, 2, 1, 3))

    def construct(self, query, key, value, mask, positions=None, rng=None, head_mask=None, query_offset=0):
        query, key, value = self._split(query) * self.scale, self._split(key), self._split(value)
        length, keys = query.shape[2], key.shape[2]
        scores = self.product_t(query, key).astype(ms.float32)
        if self.has_positions:
            scores = scores + self.relative.scores(query, positions).astype(ms.float32)
        scores = scores + mask
        if self.causal:
            scores = scores + (distances(length, keys, query_offset) > 0).astype(ms.float32) * MASKED
        probabilities = self.softmax(scores)
        if head_mask is not None:
            probabilities = probabilities * head_mask.reshape((1, -1, 1, 1))
        weights = self.dropout(probabilities, rng)
        context = self.product(weights.astype(value.dtype), value)
        if self.has_positions:
            context = context + self.relative.values(weights, positions, value.dtype)
        context = context.transpose((0, 2, 1, 3)).reshape((-1, length, self.heads * self.size))
        return context, scores if self.want_scores else None, probabilities if self.want_probabilities else None


def bf16_for_maps_only(call: Call) -> str | None:
    """`supports` of composed forms: on a CPU in bf16 they serve where maps are wanted, which no other form keeps.

    Tensors are fp32 there (see `ms_plm.config.precision`), and so are these products.
    """
    return None if call.wants & {"scores", "probabilities"} else no_bf16_on_cpu(call)


def for_composed_training(call: Call) -> str | None:
    """`supports` of composed forms whose gain is in the gradient."""
    return bf16_for_maps_only(call) or for_static_training(call)


def _naive(call: Call, **arguments):
    return ComposedAttention(call, softmax=RowSumSoftmax(), **arguments)


IMPLEMENTATIONS = (
    Implementation("attention", "reference", ALL_DEVICES, ComposedAttention, bf16_for_maps_only),
    Implementation("attention", "naive", ("cpu",), _naive, for_composed_training, preference=10),
)
