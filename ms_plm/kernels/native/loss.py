"""`masked_lm_loss`, over slices of the vocabulary, and `cross_entropy_sum` in C++ (src/loss.cc)."""

from __future__ import annotations

import functools

from mindspore import nn, ops

from ms_plm.kernels.native.library import PRECISION, for_native, operation, options
from ms_plm.kernels.registry import Call, Implementation


@functools.cache
def _masked_lm_loss() -> ops.Custom:
    backward = operation(
        "masked_lm_loss_backward", lambda g, x, e, b, t, w, o, s: (x, e, b), lambda *types: (types[0],) * 3
    )

    def bprop(rows, embedding, bias, labels, weights, numbers, out, dout):
        drows, dembedding, dbias = backward(dout[0], rows, embedding, bias, labels, weights, numbers, out[1])
        fixed = ops.zeros_like(labels), ops.zeros_like(weights), ops.zeros_like(numbers)
        return drows, dembedding, dbias, fixed[0], fixed[1], fixed[2]

    return operation(
        "masked_lm_loss_forward", lambda x, e, b, t, w, o: ([1], [x[0]]), lambda *types: (types[0],) * 2, bprop
    )


class NativeMaskedLMLoss(nn.Cell):
    """Weighted sum of cross-entropies; logits `[M, V]` never exist at once."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.op, self.options = _masked_lm_loss(), options(PRECISION[call.compute])

    def construct(self, rows, embedding, bias, labels, weights):
        return self.op(rows, embedding, bias, labels, weights, self.options)[0].reshape(())


@functools.cache
def _cross_entropy() -> ops.Custom:
    backward = operation("cross_entropy_backward", lambda g, z, t, w: z, lambda *types: types[0])

    def bprop(logits, labels, weights, out, dout):
        return backward(dout, logits, labels, weights), ops.zeros_like(labels), ops.zeros_like(weights)

    return operation("cross_entropy_forward", lambda z, t, w: [1], lambda *types: types[0], bprop)


class NativeCrossEntropySum(nn.Cell):
    """In float64 inside: exact at any size of the logits, the same bits at every call."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.op = _cross_entropy()

    def construct(self, logits, labels, weights):
        return self.op(logits, labels, weights).reshape(())


IMPLEMENTATIONS = (
    Implementation("masked_lm_loss", "native", ("cpu",), NativeMaskedLMLoss, for_native, preference=30),
    Implementation("cross_entropy_sum", "native", ("cpu",), NativeCrossEntropySum, for_native, preference=30),
)
