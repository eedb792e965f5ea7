"""`attention` and `relative_attention` in C++: no `[S, S]` tensor is kept (src/attention.cc)."""

from __future__ import annotations

import functools

import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.kernels.dropout import DropoutSite
from ms_plm.kernels.native.library import PRECISION, operation, options
from ms_plm.kernels.native.normalization import NOTHING_DROPPED, keys_wanted, no_keys, site_options
from ms_plm.kernels.registry import Call, Implementation


@functools.cache
def _attention() -> ops.Custom:
    backward = operation(
        "attention_backward", lambda g, q, k, v, m, o, r, h, s: (q, k, v, h), lambda *types: (types[0],) * 4
    )

    def bprop(query, key, value, mask, numbers, keys, heads, out, dout):
        dq, dk, dv, dheads = backward(dout[0], query, key, value, mask, numbers, keys, heads, out[1])
        return dq, dk, dv, ops.zeros_like(mask), ops.zeros_like(numbers), ops.zeros_like(keys), dheads

    return operation(
        "attention_forward",
        lambda q, k, v, m, o, r, h: (q, [q[0], h[0], q[1]]),
        lambda *types: (types[0],) * 2,
        bprop,
    )


@functools.cache
def _relative_attention() -> ops.Custom:
    backward = operation(
        "relative_attention_backward",
        lambda g, q, k, v, m, t, o, r, h, s: (q, k, v, h),
        lambda *types: (types[0],) * 4,
    )

    def bprop(query, key, value, mask, table, numbers, keys, heads, out, dout):
        dq, dk, dv, dheads = backward(dout[0], query, key, value, mask, table, numbers, keys, heads, out[1])
        fixed = ops.zeros_like(mask), ops.zeros_like(table), ops.zeros_like(numbers), ops.zeros_like(keys)
        return dq, dk, dv, fixed[0], fixed[1], fixed[2], fixed[3], dheads

    return operation(
        "relative_attention_forward",
        lambda q, k, v, m, t, o, r, h: (q, [q[0], h[0], q[1]]),
        lambda *types: (types[0],) * 2,
        bprop,
    )


class NativeAttention(nn.Cell):
    """Softmax attention over blocks of queries; the gradient recomputes probabilities and masks.

    The mask and the table get no gradient: a learned table is declined.
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
        relative: bool = False,
    ) -> None:
        super().__init__()
        self.relative, self.drops = relative, site is not None
        self.op = _relative_attention() if relative else _attention()
        how = PRECISION[call.compute], int(causal), 0
        self.dropping, self.keeping = options(*how, *site_options(site)), options(*how, *NOTHING_DROPPED)
        self.at_offset = options(0, 0, 1, 0, 0)
        self.no_keys, self.all_heads = no_keys(), Tensor(np.ones(heads, np.float32))

    def positions(self, table, query_length, key_length, query_offset=0):
        """The table `[2K+1, D]` itself."""
        return table if self.relative else None

    def construct(self, query, key, value, mask, positions=None, rng=None, head_mask=None, query_offset=0):
        numbers, keys = self.keeping, self.no_keys
        if self.drops and rng is not None:
            numbers, keys = self.dropping, rng
        if query_offset != 0:
            numbers = numbers + self.at_offset * query_offset
        heads = self.all_heads
        if head_mask is not None:
            heads = head_mask
        if self.relative:
            context = self.op(query, key, value, mask, positions, numbers, keys, heads)[0]
        else:
            context = self.op(query, key, value, mask, numbers, keys, heads)[0]
        return context, None, None


def _supports(call: Call) -> str | None:
    unmet = sorted(call.wants & {"scores", "probabilities"})
    return f"keeps no {' and no '.join(unmet)}" if unmet else keys_wanted(call)


def _serves(learned_table: bool = False, **arguments) -> str | None:
    return "gives a learned table no gradient" if learned_table else None


def _build(relative: bool):
    def build(call: Call, **arguments):
        return NativeAttention(call, relative=relative, **arguments)

    return build


IMPLEMENTATIONS = tuple(
    Implementation(operation, "native", ("cpu",), _build(relative), _supports, preference=30, serves=_serves)
    for operation, relative in (("attention", False), ("relative_attention", True))
)
