"""Sums over what an update is computed from: micro-batches, and the parts of a loss; then the update from the sums."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_plm.kernels import Kernels
from ms_plm.training.forward import LookupForward, LossInParts
from ms_plm.training.overflow import watched

log = logging.getLogger(__name__)
_accumulate = ops.MultitypeFuncGraph("accumulate")


@_accumulate.register("Tensor", "Tensor")
def _(total, gradient):
    return ops.assign_add(total, gradient)


_clear = ops.MultitypeFuncGraph("clear")


@_clear.register("Tensor")
def _(total):
    return ops.assign(total, ops.zeros_like(total))


class Accumulators(nn.Cell):
    """Sums over the micro-batches of an update."""

    def __init__(self, named: Mapping[str, Parameter], terms: int, add: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.names = tuple(named)
        self.totals = ParameterTuple(
            Parameter(Tensor(np.zeros(p.shape, np.float32)), name=f"accumulated.{name}", requires_grad=False)
            for name, p in named.items()
        )
        self.terms = Parameter(Tensor(np.zeros(terms, np.float32)), name="terms", requires_grad=False)
        self.add, self.map = add, ops.HyperMap()

    def of(self, names: Collection[str]) -> ParameterTuple:
        """The sums of some parameters."""
        return ParameterTuple([total for name, total in zip(self.names, self.totals, strict=True) if name in names])

    def receive(self, totals, terms, gradients):
        """Add what one forward gave to these sums."""
        done = self.map(_accumulate, totals, gradients)
        return ops.depend(terms, (done, ops.assign_add(self.terms, terms)))

    def over_ranks(self):
        """The sums over all processes."""
        return self.add(self.terms + 0.0, self.totals)

    def clear(self):
        """Back to zero."""
        self.map(_clear, self.totals)
        ops.assign(self.terms, ops.zeros_like(self.terms))


class LookupSum(nn.Cell):
    """Adds the last gradient, that of rows of the word embeddings, to a sum `[V, H]`; no forward makes its own."""

    def __init__(self, total: Parameter, kernels: Kernels) -> None:
        super().__init__(auto_prefix=False)
        self.total, self.add_rows = total, kernels.build("add_rows")

    def construct(self, terms, gradients, input_ids):
        """Terms and the other gradients."""
        return ops.depend(terms, self.add_rows(self.total, gradients[-1], input_ids)), gradients[:-1]


class AccumulateStep(nn.Cell):
    """Adds one micro-batch to the accumulators of the parameters that its forward reads.

    Args:
        forward: gives terms and gradients.
        scale: of the loss.
        sums: the accumulators.
        names: of the parameters of the forward's gradients.
        lookup: takes the gradient of a `LookupForward`'s rows, where it is one.
    """

    def __init__(
        self,
        forward: nn.Cell,
        scale: Parameter,
        sums: Accumulators,
        names: Collection[str],
        lookup: LookupSum | None = None,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.forward, self.scale, self.sums, self.totals = forward, scale, sums, sums.of(names)
        self.lookup = lookup

    def construct(self, inverse_weights, *inputs):
        terms, gradients = self.forward(self.scale, inverse_weights, *inputs)
        if self.lookup is not None:
            terms, gradients = self.lookup(terms, gradients, inputs[1])
        return self.sums.receive(self.totals, terms, gradients)


class ApplyStep(nn.Cell):
    """Updates from the accumulators and empties them."""

    def __init__(self, sums: Accumulators, apply: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.sums, self.applier = sums, apply

    def construct(self, learning_rate):
        terms, norm, gradients = self.sums.over_ranks()
        norm, finite, scale = self.applier(norm, gradients, learning_rate)
        self.sums.clear()
        return terms, norm, finite, scale


class TakeStep(nn.Cell):
    """Gives out the accumulators' sums over ranks and empties them."""

    def __init__(self, sums: Accumulators) -> None:
        super().__init__(auto_prefix=False)
        self.sums = sums

    def construct(self):
        terms, norm, gradients = self.sums.over_ranks()
        self.sums.clear()
        return terms, norm, gradients


class Options(Protocol):
    """What is read of `StepOptions`."""

    forward: Callable[[nn.Cell, ParameterTuple], nn.Cell]
    status: Callable[[], nn.Cell] | None
    table: Parameter | None


class Accumulation:
    """Adds micro-batches to sums of terms and gradients, part by part; each part is a graph.

    Attributes:
        take: cell that gives out the sums over all processes, and empties them.
        update: cell that updates from them, and empties them.

    Args:
        loss: whole or in parts.
        named: trained parameters.
        kernels: implementations.
        options: of the step.
        add: adds over ranks.
        apply: updates.
    """

    def __init__(
        self,
        loss: nn.Cell | LossInParts,
        named: Mapping[str, Parameter],
        kernels: Kernels,
        options: Options,
        add: nn.Cell,
        apply: nn.Cell,
    ) -> None:
        sums = Accumulators(named, len(loss.terms) + (options.status is not None), add)
        in_parts = isinstance(loss, LossInParts)
        parts, self._shared = (loss.parts, loss.shared) if in_parts else ([loss], [None])
        self._adds, self._compiled = [], set()
        for part in parts:
            read = _read_by(part, named) if in_parts else named
            rest = {name: parameter for name, parameter in read.items() if parameter is not options.table}
            weights, lookup = ParameterTuple(list(rest.values())), None
            if len(rest) < len(read):
                (name,) = set(read) - set(rest)
                forward, lookup = LookupForward(part, weights, options.table), LookupSum(sums.of([name])[0], kernels)
            else:
                forward = options.forward(part, weights)
            forward = watched(forward, options.status)
            self._adds.append(AccumulateStep(forward, apply.scale, sums, rest, lookup).set_train(True))
        self.take, self.update = TakeStep(sums), ApplyStep(sums, apply)

    @property
    def first(self) -> nn.Cell:
        """The cell that adds a micro-batch of the loss, or of its first part."""
        return self._adds[0]

    @property
    def totals(self) -> ParameterTuple:
        """The sums of the gradients."""
        return self._adds[0].sums.totals

    def __call__(self, inverse: Tensor, tensors: Sequence) -> None:
        """Add a micro-batch.

        Args:
            inverse: 1 / weight of every term.
            tensors: of `TrainingStep.tensors`.
        """
        answers: dict[int, Sequence[Tensor]] = {}
        begun, shape = time.monotonic(), tensors[1].shape
        for number in range(len(self._adds)):
            self.add_part(number, inverse, tensors, answers)
        if shape not in self._compiled:
            self._compiled.add(shape)
            if len(self._adds) > 1:
                seconds = time.monotonic() - begun
                log.info("%d parts compiled and run for inputs %s in %.0f s", len(self._adds), shape, seconds)

    def add_part(self, number: int, inverse: Tensor, tensors: Sequence, answers: dict[int, Sequence[Tensor]]) -> Tensor:
        """Add one part of the loss of a micro-batch; its terms. `answers`: of the shared cells that have run."""
        rng, *arrays = tensors
        cell = self._shared[number]
        if cell is not None and id(cell) not in answers:
            answers[id(cell)] = cell(*arrays)
        own = rng[number] if isinstance(rng, list) else rng
        return self._adds[number](inverse, own, *arrays, *answers.get(id(cell), ()))


def _read_by(part: nn.Cell, named: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The trained parameters that a part of the loss reads."""
    own = {id(parameter) for parameter in part.get_parameters()}
    return {name: parameter for name, parameter in named.items() if id(parameter) in own}
