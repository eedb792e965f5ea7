"""`masked_lm_loss(rows [M, H], embedding [V, H], bias [V], labels int32 [M], weights fp32 [M]) -> fp32 scalar` and
`cross_entropy_sum(logits fp32 [M, V], labels, weights) -> fp32 scalar`.

Sums (not means) over rows of weight x (logsumexp(z) - z[label]); for the masked LM z = rows embedding^T + bias.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_plm.kernels.linear import MatMulLinear
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation, no_bf16_on_cpu


class CrossEntropySum(nn.Cell):
    """With the closed-form gradient (softmax - one_hot) x weight, for logits only.

    The value is -log of the label's probability from the stock softmax: the stock CPU exponential and log-softmax are
    wrong by 4e-6, and row maxima are slow. A loss beyond 87 nats (a probability below fp32's range) counts as 87; its
    gradient is exact all the same.
    """

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.softmax, self.one_hot, self.pick = ops.Softmax(-1), ops.OneHot(), ops.GatherD()
        self.log = ops.Log()
        self.one, self.zero = Tensor(1.0, ms.float32), Tensor(0.0, ms.float32)
        self.smallest = Tensor(1.2e-38, ms.float32)

    def construct(self, logits, labels, weights):
        probabilities = self.pick(self.softmax(logits), 1, labels.reshape((-1, 1))).reshape((-1,))
        return -ops.reduce_sum(self.log(probabilities + self.smallest) * weights)

    def bprop(self, logits, labels, weights, out, dout):
        hot = self.one_hot(labels, logits.shape[1], self.one, self.zero)
        factor = (weights * dout).reshape((-1, 1))
        return (self.softmax(logits) - hot) * factor, ops.zeros_like(labels), ops.zeros_like(weights)


class MaskedLMLoss(nn.Cell):
    """Logits of the given rows, then the weighted sum of their cross-entropies."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.linear, self.cross_entropy = MatMulLinear(call), CrossEntropySum(call)

    def construct(self, rows, embedding, bias, labels, weights):
        logits = self.linear(rows, embedding, bias).astype(ms.float32)
        return self.cross_entropy(logits, labels, weights)


IMPLEMENTATIONS = (
    Implementation("masked_lm_loss", "reference", ALL_DEVICES, MaskedLMLoss, no_bf16_on_cpu),
    Implementation("cross_entropy_sum", "reference", ALL_DEVICES, CrossEntropySum),
)
