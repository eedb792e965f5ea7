"""What is compared of a student and a teacher: sums over positions, rows or pairs, each fp32 scalar.

Shapes: B batch, S sequence, H hidden (both already of one width), N heads. `mask` fp32 `[B, S]` is 1 where a position
counts; every sum is later divided by its weight over the whole update (`ms_plm.distill.objective`).
"""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_plm.config.precision import MASKED

ZEROED = -100.0
"""Scores at and below it are those of masked keys, in the code of TinyBERT."""

_sum = ops.ReduceSum(keep_dims=True)


class SoftCrossEntropy(nn.Cell):
    """`sum_r w_r sum_c -p_rc log softmax(z_r)_c`: logits z fp32 `[R, C]`, probabilities p `[R, C]`, weights w `[R]`.

    With the closed-form gradient (softmax(z) sum_c p - p) w, for z only. logsumexp is taken as the largest logit less
    the logarithm of its probability, as the stock CPU log-softmax is wrong by 4e-6 (see `ms_plm.kernels.loss`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.softmax, self.largest, self.log, self.total = ops.Softmax(-1), ops.ReduceMax(True), ops.Log(), _sum

    def construct(self, logits, probabilities, weights):
        shifted = logits - self.largest(logits, -1)
        lowest = self.log(self.largest(self.softmax(logits), -1))
        rows = self.total(probabilities * (shifted + lowest), -1).reshape((-1,))
        return -ops.reduce_sum(rows * weights)

    def bprop(self, logits, probabilities, weights, out, dout):
        slope = self.softmax(logits) * self.total(probabilities, -1) - probabilities
        return slope * (weights * dout).reshape((-1, 1)), ops.zeros_like(probabilities), ops.zeros_like(weights)


class Divergence(nn.Cell):
    """`sum_r w_r KL(softmax(t_r) || softmax(z_r))` of logits fp32 `[..., C]`, weights of rows `[...]`; 0 at best."""

    def __init__(self) -> None:
        super().__init__()
        self.cross, self.softmax = SoftCrossEntropy(), ops.Softmax(-1)

    def construct(self, logits, targets, weights):
        width, weights = logits.shape[-1], weights.reshape((-1,))
        logits, targets = logits.reshape((-1, width)), targets.reshape((-1, width))
        probabilities = self.softmax(targets)
        least = ops.stop_gradient(self.cross(targets, probabilities, weights))
        return self.cross(logits, probabilities, weights) - least


class HiddenDifference(nn.Cell):
    """How two hidden states `[B, S, H]` differ, added over the positions that count.

    Args:
        measure: `mse`: mean over H of the squared differences (TinyBERT, arXiv 1909.10351, equations 8 and 9).
            `normalised_mse`: squared distance of the vectors brought to length 1 (BERT-PKD, arXiv 1908.09355, equation
            7). `cosine`: 1 - their cosine (DistilBERT, arXiv 1910.01108).
        first: of position 0 alone.
    """

    def __init__(self, measure: str, first: bool = False) -> None:
        super().__init__()
        self.measure, self.first = measure, first

    def construct(self, student, teacher, mask):
        if self.first:
            student, teacher, mask = student[:, :1], teacher[:, :1], mask[:, :1]
        if self.measure == "mse":
            difference = ops.square(student - teacher)
            return ops.reduce_sum(difference * mask.reshape((*mask.shape, 1))) / student.shape[-1]
        student, teacher = self._direction(student), self._direction(teacher)
        if self.measure == "cosine":
            return ops.reduce_sum(mask) - ops.reduce_sum(student * teacher * mask.reshape((*mask.shape, 1)))
        return ops.reduce_sum(ops.square(student - teacher) * mask.reshape((*mask.shape, 1)))

    def _direction(self, x):
        return x / ops.sqrt(_sum(ops.square(x), -1) + 1e-12)


class MapDifference(nn.Cell):
    """Mean over heads of the squared differences of two maps `[B, N, S, S]`, added over the pairs that count.

    Those of two positions that count. (TinyBERT, equation 7, over scores.)

    Args:
        zeroed: take scores of masked keys as 0 in either map, as TinyBERT's code does; ones that are truly that low
            become 0 as well.
    """

    def __init__(self, zeroed: bool = False) -> None:
        super().__init__()
        self.zeroed = zeroed

    def construct(self, student, teacher, mask):
        if self.zeroed:
            student, teacher = self._without_masked(student), self._without_masked(teacher)
        batch, heads, length, _ = student.shape
        pairs = mask.reshape((batch, 1, length, 1)) * mask.reshape((batch, 1, 1, length))
        return ops.reduce_sum(ops.square((student - teacher) * pairs)) / heads

    def _without_masked(self, scores):
        return ops.select(scores > ZEROED, scores, ops.zeros_like(scores))


class MapDivergence(nn.Cell):
    """Mean over heads of KL(teacher || student) of attention, from masked scores `[B, N, S, S]`, over rows that count.

    (MiniLM, arXiv 2002.10957, equation 6.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.divergence = Divergence()

    def construct(self, student, teacher, mask):
        batch, heads, length, _ = student.shape
        weights = mask.reshape((batch, 1, length)) * Tensor(1.0 / heads, ms.float32)
        return self.divergence(student, teacher, ops.broadcast_to(weights, (batch, heads, length)))


class RelationDivergence(nn.Cell):
    """`MapDivergence` of softmax(x x^T / sqrt(d)), x queries, keys or values `[B, S, W]` split into `heads`.

    (MiniLM, equation 8, for values; arXiv 2012.15828, equations 3 to 5, for all three and any number of heads.)

    Args:
        heads: relation heads of both.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads, self.divergence = heads, MapDivergence()
        self.product = ops.BatchMatMul(transpose_b=True)

    def construct(self, student, teacher, mask):
        hidden = ((1.0 - mask) * MASKED).reshape((mask.shape[0], 1, 1, mask.shape[1]))
        return self.divergence(self._relations(student, hidden), self._relations(teacher, hidden), mask)

    def _relations(self, x, hidden):
        batch, length, width = x.shape
        size = width // self.heads
        x = x.reshape((batch, length, self.heads, size)).transpose((0, 2, 1, 3))
        return self.product(x, x).astype(ms.float32) * (1.0 / math.sqrt(size)) + hidden


class SoftPrediction(nn.Cell):
    """Soft cross-entropy of logits `[R, C]` over rows with weights `[R]`, times the squared temperature.

    (Hinton et al., arXiv 1503.02531, section 2: the square keeps gradients alike over temperatures.)

    Args:
        temperature: divides the logits of both.
        original: as TinyBERT's code: the mean over classes, not the sum, and no square.
    """

    def __init__(self, temperature: float, original: bool = False) -> None:
        super().__init__()
        self.temperature, self.original = temperature, original
        self.cross, self.softmax = SoftCrossEntropy(), ops.Softmax(-1)

    def construct(self, student, teacher, weights):
        probabilities = self.softmax(teacher / self.temperature)
        loss = self.cross(student / self.temperature, probabilities, weights)
        return loss / student.shape[-1] if self.original else loss * self.temperature**2
