"""One update, compiled in graph mode: forward, loss scale, gradients, accumulation, finite check, clipping, optimizer.

Losses are named sums. The host knows the weight of every term over the whole update (all micro-batches, all devices),
so each forward divides its sums by these weights and gradients are only ever *added*: accumulation and data parallel
equal one big batch up to rounding, and fp16 never sees an unnormalised sum.

Without accumulation an update is one graph; with it, one that adds a micro-batch (of a loss in parts, one for each) and
one that updates. Where the optimizer's state is shared out, the update is a graph of its own: `training.sharding`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_plm.config.recipe import TrainSection
from ms_plm.kernels import Kernels
from ms_plm.training.accumulation import Accumulation
from ms_plm.training.forward import Forward, LossInParts
from ms_plm.training.optimizer import Optimizer
from ms_plm.training.overflow import FINITE, LARGEST, watched
from ms_plm.training.sharding import HandOut, Sharding


class StepOptions(NamedTuple):
    """What a compiled step has to know.

    Attributes:
        clip_norm: largest global gradient norm; 0: no clipping.
        loss_scale: first loss scale, or None where no scaling is needed.
        window: good updates after which the scale doubles.
        ranks: number of processes whose gradients are added.
        status: for chips whose overflow saturates, makes the cell that reads their register; see `training.overflow`.
        forward: makes the cell that gives losses and gradients of a micro-batch; see `training.forward`.
        rates: each parameter's share of the learning rate, by name; None: all of it.
        table: word embeddings of which the loss takes rows, and `forward` is the plain one: where micro-batches are
            accumulated, each adds to the rows that it has looked up only. None: their gradient is as any other.
    """

    clip_norm: float = 1.0
    loss_scale: float | None = None
    window: int = 1000
    ranks: int = 1
    status: Callable[[], nn.Cell] | None = None
    forward: Callable[[nn.Cell, ParameterTuple], nn.Cell] = Forward
    rates: Mapping[str, float] | None = None
    table: Parameter | None = None


class StepResult(NamedTuple):
    """Device tensors of one update; converting one waits for the device.

    Attributes:
        terms: fp32 `[terms]`, sums over the update divided by their weights.
        norm: global gradient norm before clipping.
        finite: whether the update was applied.
        scale: loss scale with which it was computed.
    """

    terms: Tensor
    norm: Tensor
    finite: Tensor
    scale: Tensor


class AddOverRanks(nn.Cell):
    """Sum of tensors over all processes, or nothing with one process."""

    def __init__(self, ranks: int) -> None:
        super().__init__()
        self.parallel, self.map = ranks > 1, ops.HyperMap()
        if self.parallel:
            # the mark that MindSpore's own gradient reducer sets: such messages may be joined into larger ones
            self.reduce = ops.AllReduce().add_prim_attr("fusion", 1)

    def construct(self, values):
        if self.parallel:
            return self.map(self.reduce, values)
        return values


class AddGradients(nn.Cell):
    """Loss terms and gradients added over ranks, with the gradients' norm: `LARGEST` if a forward told of overflow."""

    def __init__(self, options: StepOptions, kernels: Kernels) -> None:
        super().__init__(auto_prefix=False)
        self.over_ranks, self.norm = AddOverRanks(options.ranks), kernels.build("gradient_norm")
        self.watched = options.status is not None

    def construct(self, terms, gradients):
        gradients = self.over_ranks(gradients)
        terms, norm = self.over_ranks((terms,))[0], self.norm(gradients)
        if self.watched:  # the last term counts forwards that overflowed
            norm = ops.select(terms[-1] > 0, Tensor(LARGEST, ms.float32), norm)
            terms = terms[:-1]
        return terms, norm, gradients


class ApplyGradients(nn.Cell):
    """Checks, clips, updates; an overflow skips the update and halves the loss scale."""

    def __init__(self, optimizer: Optimizer, options: StepOptions) -> None:
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.clip, self.scaling, self.window = options.clip_norm, options.loss_scale is not None, options.window
        self.clipping = options.clip_norm > 0
        self.scale = Parameter(Tensor(options.loss_scale or 1.0, ms.float32), name="loss_scale", requires_grad=False)
        self.good = Parameter(Tensor(0, ms.int32), name="good_updates", requires_grad=False)
        self.skipped = Parameter(Tensor(0, ms.int32), name="skipped_updates", requires_grad=False)

    def counters(self) -> dict[str, Parameter]:
        """What a checkpoint must hold beside the optimizer's state."""
        return {p.name: p for p in (self.scale, self.good, self.skipped)}

    def construct(self, norm, gradients, learning_rate):
        """`norm` is that of all gradients, `gradients` are those of the optimizer's tensors; both times the scale."""
        scale = self.scale + 0.0
        finite = norm < FINITE  # neither NaN nor infinite, nor what infinity becomes where overflow saturates
        norm = norm / scale
        if finite:
            factor = 1.0 / scale
            if self.clipping:
                factor = factor * (self.clip / ops.maximum(norm, Tensor(self.clip, ms.float32)))
            self.optimizer(gradients, factor, learning_rate)
            if self.scaling:
                good = self.good + 1
                if good >= self.window:
                    good = ops.zeros_like(good)
                    ops.assign(self.scale, scale * 2.0)
                ops.assign(self.good, good)
        else:
            ops.assign_add(self.skipped, 1)
            if self.scaling:
                ops.assign(self.scale, ops.maximum(scale / 2.0, Tensor(1.0, ms.float32)))
                ops.assign(self.good, ops.zeros_like(self.good))
        return norm, finite, scale


class _Gradients(nn.Cell):
    """Forward and gradients of an update's only micro-batch, added over ranks."""

    def __init__(self, forward: nn.Cell, scale: Parameter, add: AddGradients) -> None:
        super().__init__(auto_prefix=False)
        self.forward, self.scale, self.add = forward, scale, add

    def construct(self, inverse_weights, *inputs):
        terms, gradients = self.forward(self.scale, inverse_weights, *inputs)
        return self.add(terms, gradients)


class _WholeStep(nn.Cell):
    """Forward and update in one graph."""

    def __init__(self, gradients: _Gradients, apply: ApplyGradients) -> None:
        super().__init__(auto_prefix=False)
        self.gradients, self.applier = gradients, apply

    def construct(self, learning_rate, inverse_weights, *inputs):
        terms, norm, gradients = self.gradients(inverse_weights, *inputs)
        return terms, *self.applier(norm, gradients, learning_rate)


class _ShardStep(nn.Cell):
    """Updates the tensors of this process; nothing is exchanged here."""

    def __init__(self, apply: ApplyGradients) -> None:
        super().__init__(auto_prefix=False)
        self.applier = apply

    def construct(self, learning_rate, norm, *gradients):
        return self.applier(norm, gradients, learning_rate)


class TrainingStep:
    """One update from the micro-batches of this process.

    Args:
        loss: a cell `loss(rng, *arrays) -> fp32 [terms]` with `inputs` (names of the arrays) and `terms` (names), or
            several as one.
        named: trained parameters by the names under which their state is stored.
        train: optimizer and clipping.
        kernels: implementations.
        options: see `StepOptions`.
        accumulate: more than one micro-batch an update; a loss in parts is accumulated in any case.
        sharding: of the optimizer's state among processes; None: all of it is in each.
    """

    def __init__(
        self,
        loss: nn.Cell | LossInParts,
        named: Mapping[str, Parameter],
        train: TrainSection,
        kernels: Kernels,
        options: StepOptions,
        accumulate: bool,
        sharding: Sharding | None = None,
    ) -> None:
        self.loss, self.sharding = loss, sharding
        self.accumulate = accumulate or isinstance(loss, LossInParts)
        parameters = ParameterTuple(list(named.values()))
        self.optimizer = Optimizer(dict(named), train.optimizer, kernels, sharding, options.rates)
        self.applier = ApplyGradients(self.optimizer, options)
        add = AddGradients(options, kernels)
        if self.accumulate:
            self.accumulation = Accumulation(loss, named, kernels, options, add, self.applier)
            self._gradients, self._update = self.accumulation.take, self.accumulation.update
        else:
            forward = watched(options.forward(loss, parameters), options.status)
            self._gradients = _Gradients(forward, self.applier.scale, add)
            self._update = _WholeStep(self._gradients, self.applier)
        if sharding is not None:
            self._shard, self._hand_out = _ShardStep(self.applier), HandOut(parameters, sharding)
        for cell in vars(self).values():
            if isinstance(cell, nn.Cell):
                cell.set_train(True)

    def __call__(
        self, learning_rate: float, weights: Sequence[float], micro_batches: Sequence[Mapping[str, np.ndarray]]
    ) -> StepResult:
        """Run one update.

        Args:
            learning_rate: of this update.
            weights: of every term over the whole update and all processes; a term without weight counts nothing.
            micro_batches: arrays by name, with `rng` where the model drops values.
        """
        inverse, rate, inputs = _inverse(weights), Tensor(learning_rate, ms.float32), ()
        if self.accumulate:
            for batch in micro_batches:
                self.accumulation(inverse, self.tensors(batch))
        else:
            (batch,) = micro_batches
            inputs = (inverse, *self.tensors(batch))
        if self.sharding is None:
            return StepResult(*self._update(rate, *inputs))
        terms, norm, gradients = self._gradients(*inputs)
        applied = self._shard(rate, norm, *(gradients[number] for number in self.sharding.own))
        self._hand_out()  # a skipped update hands out what all have
        return StepResult(terms, *applied)

    def graphs(
        self, learning_rate: float, weights: Sequence[float], batch: Mapping[str, np.ndarray]
    ) -> list[tuple[nn.Cell, tuple]]:
        """The cells that an update compiles, with what each is called with: to be exported and looked at.

        Raises:
            ValueError: the loss is one in parts, or the optimizer's state is shared out.
        """
        if isinstance(self.loss, LossInParts) or self.sharding is not None:
            raise ValueError("graphs() is for a loss in one part and a state that is not shared out")
        inputs, rate = (_inverse(weights), *self.tensors(batch)), Tensor(learning_rate, ms.float32)
        if self.accumulate:
            return [(self.accumulation.first, inputs), (self._update, (rate,))]
        return [(self._update, (rate, *inputs))]

    def tensors(self, batch: Mapping[str, np.ndarray]) -> list:
        """`rng` (one for each part where parts draw their own masks) and the arrays of the loss, on the device."""
        rng = batch.get("rng")
        if isinstance(rng, list):
            rng = [Tensor.from_numpy(values) for values in rng]
        elif rng is not None:
            rng = Tensor.from_numpy(rng)
        return [rng, *(Tensor.from_numpy(np.ascontiguousarray(batch[name])) for name in self.loss.inputs)]

    scale_state = ("loss_scale", "good_updates")
    """Names in `state()` that belong to the precision of a run."""

    def state(self) -> dict[str, Parameter | None]:
        """Everything beside the model that a checkpoint must hold; None: another process holds it."""
        return {**self.optimizer.state(), **self.applier.counters()}

    def collect(self) -> dict[str, np.ndarray]:
        """The values of `state()`, all of them on the first process; all processes must call it together."""
        counters = {self.optimizer.applied.name: self.optimizer.applied, **self.applier.counters()}
        return {**self.optimizer.collect(), **{name: counter.asnumpy() for name, counter in counters.items()}}


def _inverse(weights: Sequence[float]) -> Tensor:
    """Of the terms' weights; 0 where there is none."""
    return Tensor(np.array([1.0 / w if w > 0 else 0.0 for w in weights], np.float32))


def rng_maker(*models) -> Callable[[dict], dict]:
    """What a loader's worker threads add to a micro-batch: `rng`, in the form that the models' dropout reads.

    Masks of several models, those of a loss in parts, are a list, one for each.
    """
    form = models[0].kernels.choose("dropout")[0].name

    def finish(batch: dict) -> dict:
        if any(model.plan for model in models):
            keys, length = batch["dropout_keys"], batch["input_ids"].shape[1]
            if form != "host_mask":
                batch["rng"] = keys
            elif len(models) == 1:
                batch["rng"] = models[0].plan.host_mask(keys, length)
            else:
                batch["rng"] = [model.plan.host_mask(keys, length) for model in models]
        return batch

    return finish
