"""One update, compiled in graph mode: forward, loss scale, gradients, accumulation, finite check, clipping, optimizer.

Losses are named sums. The host knows the weight of every term over the whole update (all micro-batches, all devices),
so each forward divides its sums by these weights and gradients are only ever *added*: accumulation and data parallel
equal one big batch up to rounding, and fp16 never sees an unnormalised sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_plm.config.recipe import TrainSection
from ms_plm.kernels import Kernels
from ms_plm.training.optimizer import Optimizer


class StepOptions(NamedTuple):
    """What a compiled step has to know.

    Attributes:
        clip_norm: largest global gradient norm; 0: no clipping.
        loss_scale: first loss scale, or None where no scaling is needed.
        window: good updates after which the scale doubles.
        ranks: number of processes whose gradients are added.
    """

    clip_norm: float = 1.0
    loss_scale: float | None = None
    window: int = 1000
    ranks: int = 1


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


_scaled = ops.MultitypeFuncGraph("scaled")


@_scaled.register("Tensor", "Tensor")
def _(factor, gradient):
    return gradient * factor


_accumulate = ops.MultitypeFuncGraph("accumulate")


@_accumulate.register("Tensor", "Tensor")
def _(total, gradient):
    return ops.assign_add(total, gradient)


_clear = ops.MultitypeFuncGraph("clear")


@_clear.register("Tensor")
def _(total):
    return ops.assign(total, ops.zeros_like(total))


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


class ApplyGradients(nn.Cell):
    """Adds over ranks, checks, clips, updates; an overflow skips the update and halves the loss scale."""

    def __init__(self, optimizer: Optimizer, options: StepOptions, kernels: Kernels) -> None:
        super().__init__(auto_prefix=False)
        self.optimizer, self.options = optimizer, options
        self.over_ranks = AddOverRanks(options.ranks)
        self.norm = kernels.build("gradient_norm")
        self.map = ops.HyperMap()
        self.clip, self.scaling, self.window = options.clip_norm, options.loss_scale is not None, options.window
        self.clipping = options.clip_norm > 0
        self.scale = Parameter(Tensor(options.loss_scale or 1.0, ms.float32), name="loss_scale", requires_grad=False)
        self.good = Parameter(Tensor(0, ms.int32), name="good_updates", requires_grad=False)
        self.skipped = Parameter(Tensor(0, ms.int32), name="skipped_updates", requires_grad=False)

    def state(self) -> dict[str, Parameter]:
        """Everything that a checkpoint must hold, the optimizer's included."""
        return {**self.optimizer.state(), **{p.name: p for p in (self.scale, self.good, self.skipped)}}

    def construct(self, gradients, learning_rate):
        gradients = self.over_ranks(gradients)
        scale = self.scale + 0.0
        norm = self.norm(gradients) / scale
        finite = ops.isfinite(norm)
        if finite:
            factor = 1.0 / scale
            if self.clipping:
                factor = factor * (self.clip / ops.maximum(norm, Tensor(self.clip, ms.float32)))
            if self.clipping or self.scaling:
                gradients = self.map(ops.partial(_scaled, factor), gradients)
            self.optimizer(gradients, learning_rate)
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


class _Forward(nn.Cell):
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


class _WholeStep(nn.Cell):
    """Forward and update in one graph."""

    def __init__(self, forward: _Forward, apply: ApplyGradients) -> None:
        super().__init__(auto_prefix=False)
        self.forward, self.applier, self.over_ranks = forward, apply, AddOverRanks(apply.options.ranks)

    def construct(self, learning_rate, inverse_weights, *inputs):
        terms, gradients = self.forward(self.applier.scale, inverse_weights, *inputs)
        norm, finite, scale = self.applier(gradients, learning_rate)
        return self.over_ranks((terms,))[0], norm, finite, scale


class _AccumulateStep(nn.Cell):
    """Adds one micro-batch to the accumulators."""

    def __init__(self, forward: _Forward, apply: ApplyGradients, totals: ParameterTuple, terms: Parameter) -> None:
        super().__init__(auto_prefix=False)
        self.forward, self.apply_scale, self.totals, self.terms = forward, apply.scale, totals, terms
        self.map = ops.HyperMap()

    def construct(self, inverse_weights, *inputs):
        terms, gradients = self.forward(self.apply_scale, inverse_weights, *inputs)
        done = self.map(_accumulate, self.totals, gradients)
        return ops.depend(terms, (done, ops.assign_add(self.terms, terms)))


class _ApplyStep(nn.Cell):
    """Updates from the accumulators and empties them."""

    def __init__(self, apply: ApplyGradients, totals: ParameterTuple, terms: Parameter) -> None:
        super().__init__(auto_prefix=False)
        self.applier, self.totals, self.terms = apply, totals, terms
        self.over_ranks, self.map = AddOverRanks(apply.options.ranks), ops.HyperMap()

    def construct(self, learning_rate):
        norm, finite, scale = self.applier(self.totals, learning_rate)
        terms = self.over_ranks((self.terms + 0.0,))[0]
        self.map(_clear, self.totals)
        ops.assign(self.terms, ops.zeros_like(self.terms))
        return terms, norm, finite, scale


class TrainingStep:
    """One update from the micro-batches of this process.

    Args:
        loss: a cell `loss(rng, *arrays) -> fp32 [terms]` with `inputs` (names of the arrays) and `terms` (names).
        named: trained parameters by the names under which their state is stored.
        train: optimizer and clipping.
        kernels: implementations.
        options: see `StepOptions`.
        accumulate: more than one micro-batch an update.
    """

    def __init__(
        self,
        loss: nn.Cell,
        named: Mapping[str, Parameter],
        train: TrainSection,
        kernels: Kernels,
        options: StepOptions,
        accumulate: bool,
    ) -> None:
        self.loss, self.accumulate = loss, accumulate
        self.optimizer = Optimizer(dict(named), train.optimizer, kernels)
        self.applier = ApplyGradients(self.optimizer, options, kernels)
        forward = _Forward(loss, self.optimizer.parameters)
        if accumulate:
            totals = ParameterTuple(
                Parameter(Tensor(np.zeros(p.shape, np.float32)), name=f"accumulated.{name}", requires_grad=False)
                for name, p in named.items()
            )
            terms = Parameter(Tensor(np.zeros(len(loss.terms), np.float32)), name="terms", requires_grad=False)
            self._add = _AccumulateStep(forward, self.applier, totals, terms)
            self._apply = _ApplyStep(self.applier, totals, terms)
        else:
            self._whole = _WholeStep(forward, self.applier)
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
        inverse = Tensor(np.array([1.0 / w if w > 0 else 0.0 for w in weights], np.float32))
        rate = Tensor(learning_rate, ms.float32)
        if not self.accumulate:
            (batch,) = micro_batches
            return StepResult(*self._whole(rate, inverse, *self._tensors(batch)))
        for batch in micro_batches:
            self._add(inverse, *self._tensors(batch))
        return StepResult(*self._apply(rate))

    def _tensors(self, batch: Mapping[str, np.ndarray]) -> list:
        rng = batch.get("rng")
        arrays = [Tensor.from_numpy(np.ascontiguousarray(batch[name])) for name in self.loss.inputs]
        return [None if rng is None else Tensor.from_numpy(rng), *arrays]

    scale_state = ("loss_scale", "good_updates")
    """Names in `state()` that belong to the precision of a run."""

    def state(self) -> dict[str, Parameter]:
        """Everything beside the model that a checkpoint must hold."""
        return self.applier.state()


def rng_maker(model) -> Callable[[dict], dict]:
    """What a loader's worker threads add to a micro-batch: `rng`, in the form that the model's dropout reads."""
    form = model.kernels.choose("dropout")[0].name

    def finish(batch: dict) -> dict:
        if model.plan:
            keys = batch["dropout_keys"]
            mask = form == "host_mask"
            batch["rng"] = model.plan.host_mask(keys, batch["input_ids"].shape[1]) if mask else keys
        return batch

    return finish
