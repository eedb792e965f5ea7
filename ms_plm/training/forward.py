"""Losses and gradients of one micro-batch, as a part of the step's graph: plain, or with an adversarial second pass.

A loss is a cell `loss(rng, *arrays) -> fp32 [terms]`. One whose `takes_words` is true reads the word embeddings in no
other way than by looking up rows, and takes these, after its arrays, as `words`, fp32 `[B, S, H]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mindspore as ms
from mindspore import Parameter, ParameterTuple, nn, ops


@dataclass(frozen=True)
class LossInParts:
    """A loss whose terms are sums over several graphs, such as those of sub-networks, which follow one another.

    Only one part's activations are held at a time. What the parts share (a teacher's answers) is computed once.

    Attributes:
        parts: losses of the same `inputs`, `terms` and weights.
        shared: for each part the cell whose outputs it takes behind its arrays, or None; `cell(*arrays)` runs once a
            micro-batch, whatever the number of parts that name it.
        models: those that the parts run, which drop values.
    """

    parts: Sequence[nn.Cell]
    shared: Sequence[nn.Cell | None]
    models: Sequence[nn.Cell]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return self.parts[0].inputs

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms."""
        return self.parts[0].terms

    @property
    def takes_words(self) -> bool:
        """Whether all parts take rows of the word embeddings."""
        return all(part.takes_words for part in self.parts)

    @property
    def weights_of(self) -> Callable[[dict], dict[str, float]]:
        """Weights of the terms over some samples, from their arrays."""
        return self.parts[0].weights_of


class Forward(nn.Cell):
    """Loss terms divided by their weights, and the gradients of their sum times the loss scale."""

    def __init__(self, loss: nn.Cell, parameters: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.value_and_grad = ms.value_and_grad(self._scaled_sum, None, parameters, has_aux=True)

    def _scaled_sum(self, scale, inverse_weights, *inputs):
        terms = self.loss(*inputs) * inverse_weights
        return ops.reduce_sum(terms) * scale, terms

    def construct(self, scale, inverse_weights, *inputs):
        (_, terms), gradients = self.value_and_grad(scale, inverse_weights, *inputs)
        return terms, gradients


class LookupForward(nn.Cell):
    """As `Forward`; behind all other gradients stands that of the rows of the word embeddings, fp32 `[B, S, H]`.

    Args:
        loss: one that takes `words`, the first of its arrays `input_ids`.
        parameters: trained, without the word embeddings.
        table: word embeddings `[V, H]`.
    """

    def __init__(self, loss: nn.Cell, parameters: ParameterTuple, table: Parameter) -> None:
        super().__init__(auto_prefix=False)
        self.loss, self.table = loss, table
        self.value_and_grad = ms.value_and_grad(self._scaled_sum, 0, parameters, has_aux=True)

    def _scaled_sum(self, words, scale, inverse_weights, *inputs):
        terms = self.loss(*inputs, words) * inverse_weights
        return ops.reduce_sum(terms) * scale, terms

    def construct(self, scale, inverse_weights, rng, input_ids, *inputs):
        words = ops.gather(self.table, input_ids, 0)
        (_, terms), (rows, gradients) = self.value_and_grad(words, scale, inverse_weights, rng, input_ids, *inputs)
        return terms, (*gradients, rows)


_add = ops.MultitypeFuncGraph("add")


@_add.register("Tensor", "Tensor")
def _(one, other):
    return one + other


class AdversarialForward(nn.Cell):
    """Forward twice: as it is, then with the word embeddings moved to where the loss grows fastest; gradients add up.

    FGM (Miyato et al., arXiv 1605.07725, section 3): r = epsilon g / ||g||, g the gradient of a sequence's loss with
    respect to the rows of the word embeddings that it reads, the norm over all of that sequence, and the update is
    that of loss(w) + loss(w + r), r held fixed. The widespread variant for BERT perturbs the embedding table by the
    normalised gradient of a whole batch: there r changes with the batch, the micro-batch and the number of processes,
    and one hard sequence takes what the others would have got. Here each sequence has its own r, whatever it is
    computed with, and nothing is written that would have to be put back.

    Padding has no gradient and stays where it is, and so do sequences without weight. The loss scale does not enter r.
    Both passes drop the same values, as g belongs to the network that is left (with the device's own dropout they
    differ). The terms are those of the first pass.

    Args:
        loss: one that takes `words`, the first of its arrays `input_ids`.
        parameters: trained.
        table: word embeddings `[V, H]`.
        epsilon: Euclidean length of r.
    """

    def __init__(self, loss: nn.Cell, parameters: ParameterTuple, table: Parameter, epsilon: float) -> None:
        super().__init__(auto_prefix=False)
        self.loss, self.table, self.epsilon = loss, table, epsilon
        self.value_and_grad = ms.value_and_grad(self._scaled_sum, 0, parameters, has_aux=True)
        self.map, self.sum = ops.HyperMap(), ops.ReduceSum(keep_dims=True)

    def _scaled_sum(self, moved, scale, inverse_weights, rng, input_ids, *inputs):
        words = ops.gather(self.table, input_ids, 0) + moved
        terms = self.loss(rng, input_ids, *inputs, words) * inverse_weights
        return ops.reduce_sum(terms) * scale, terms

    def construct(self, scale, inverse_weights, rng, input_ids, *inputs):
        still = ops.zeros((*input_ids.shape, self.table.shape[1]), ms.float32)
        still = ops.depend(still, input_ids)  # a constant would have no gradient
        (_, terms), (slope, first) = self.value_and_grad(still, scale, inverse_weights, rng, input_ids, *inputs)
        # otherwise the first pass's gradients may be left for later, and both passes' activations held at a time
        moved = ops.depend(self._towards(slope), first)
        _, (_, second) = self.value_and_grad(moved, scale, inverse_weights, rng, input_ids, *inputs)
        return terms, self.map(_add, first, second)

    def _towards(self, slope):
        """`[B, S, H]` of length epsilon for each sequence in the direction of `slope`; 0 where that is 0."""
        length = ops.sqrt(self.sum(ops.square(slope), (1, 2)))
        known = length > 0.0
        factor = ops.select(known, self.epsilon / ops.select(known, length, ops.ones_like(length)), length)
        return slope * factor
