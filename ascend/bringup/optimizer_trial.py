"""The trial of `optimizer_update`, for AdamW, and its definition in float64 (arXiv 1711.05101, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn

from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels import Call, Implementation
from ms_plm_ascend.bringup.check import TOLERANCE
from ms_plm_ascend.bringup.oracle import error
from ms_plm_ascend.bringup.trial import Trial
from ms_plm_ascend.roofline.counts import ADAMW, Work

OPTIONS = OptimizerSection(name="adamw", weight_decay=0.5, epsilon=1e-2)
"""Decay and epsilon are large, so that what is made of them shows."""
FACTOR = 1.0 / 1024.0
"""By which gradients are multiplied: a loss scale of 1024, nothing clipped."""
RATES = (0.01, 0.02, 0.0, 0.015)
"""Of one update after the other."""
SHARES = (1.0, 0.5)
DECAYS = (True, False)


class Moments(nn.Cell):
    """Tensors with their moments, updated in place by a form.

    Args:
        form: of `optimizer_update`.
        values: float32 arrays; they decay and learn at shares of the rate by turns, as `DECAYS` and `SHARES` say.
    """

    def __init__(self, form: Implementation, call: Call, values: list[np.ndarray]) -> None:
        super().__init__()
        self.values = self._parameters("value", values)
        self.first, self.second = (
            self._parameters(kind, [np.zeros_like(x) for x in values]) for kind in ("first", "second")
        )
        decays, rates = (tuple(kinds[n % 2] for n in range(len(values))) for kinds in (DECAYS, SHARES))
        self.update = form.build(call, options=OPTIONS, decays=decays, rates=rates)

    @staticmethod
    def _parameters(kind: str, values: list[np.ndarray]) -> ParameterTuple:
        return ParameterTuple([Parameter(Tensor(x), name=f"{kind}.{n}") for n, x in enumerate(values)])

    def construct(self, gradients, factor, rate, count):
        done = self.update(self.values, self.first, self.second, gradients, factor, rate, count)
        return done, count + 1.0


def adamw(value: np.ndarray, gradients: list[np.ndarray], decays: bool, share: float) -> tuple[np.ndarray, ...]:
    """Value and both moments, float64, after an update by each gradient. (The betas are those that float32 holds.)"""
    value, beta1, beta2 = value.astype(np.float64), *map(float, map(np.float32, (OPTIONS.beta1, OPTIONS.beta2)))
    first, second = np.zeros_like(value), np.zeros_like(value)
    for count, (gradient, rate) in enumerate(zip(gradients, RATES, strict=True), 1):
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient.astype(np.float64) ** 2
        step = first / (1 - beta1**count) / (np.sqrt(second / (1 - beta2**count)) + OPTIONS.epsilon)
        value = value - rate * share * (step + (OPTIONS.weight_decay if decays else 0.0) * value)
    return value, first, second


@dataclass(frozen=True)
class OptimizerTrial(Trial):
    """How values change, and both moments, after four updates; fp32, whatever products are computed in.

    Attributes:
        shapes: of the tensors that are held against float64; odd numbers of entries.
        timed_shapes: about half of NEZHA-base.
    """

    shapes: tuple[tuple[int, ...], ...] = ((129, 77), (771,), (3, 5), (1,))
    timed_shapes: tuple[tuple[int, ...], ...] = ((21128, 768), *[(3072, 768)] * 12, *[(768,)] * 12)

    @property
    def how(self) -> str:
        weights = sum(map(np.prod, self.timed_shapes)) / 1e6
        return f"AdamW, {len(RATES)} updates against float64, then one of {weights:.0f} M weights timed"

    def tolerance(self, call: Call) -> float:
        return TOLERANCE["fp32"]

    def errors(self, form: Implementation, call: Call) -> dict[str, float]:
        random = np.random.default_rng(0)
        values = [(0.02 * random.standard_normal(shape)).astype(np.float32) for shape in self.shapes]
        drawn = [[random.standard_normal(x.shape).astype(np.float32) for x in values] for _ in RATES]
        cell = Moments(form, call, values)
        for count, (gradients, rate) in enumerate(zip(drawn, RATES, strict=True), 1):
            given = tuple(Tensor(gradient / np.float32(FACTOR)) for gradient in gradients)
            cell(given, *(Tensor(number, ms.float32) for number in (FACTOR, rate, count)))
        errors = dict.fromkeys(("change", "first moment", "second moment"), 0.0)
        for number, before in enumerate(values):
            gradients = [gradients[number] for gradients in drawn]
            after, first, second = adamw(before, gradients, DECAYS[number % 2], SHARES[number % 2])
            held = [kind[number].asnumpy() for kind in (cell.values, cell.first, cell.second)]
            pairs = ((held[0].astype(np.float64) - before, after - before), (held[1], first), (held[2], second))
            for name, (got, right) in zip(errors, pairs, strict=True):
                errors[name] = max(errors[name], error(got, right))
        return errors

    def timed(self, form: Implementation, call: Call, length: int | None = None) -> Callable[[], Tensor]:
        values = [np.full(shape, 0.02, np.float32) for shape in self.timed_shapes]
        cell, gradients = Moments(form, call, values), tuple(Tensor(x) for x in values)
        numbers = [Tensor(number, ms.float32) for number in (FACTOR, 1e-4, 10)]

        def run() -> Tensor:
            cell(gradients, *numbers)
            return cell.values[-1].value()

        return run

    def work(self, form: Implementation, call: Call, length: int | None = None) -> Work:
        weights = float(sum(map(np.prod, self.timed_shapes)))
        return Work("AdamW", "optimizer", vector=24 * weights, bytes=ADAMW * weights)
