"""The trial of `dropout_add_layer_norm`, and its definition in float64.

y = (t - mean t) / sqrt(variance t + epsilon) * weight + bias over the last axis, t = x * factors + residual, where
`factors` are dropout's: 0, or 1 / (1 - probability).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_plm.kernels import Call, Implementation
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm.kernels.dtypes import COMPUTE
from ms_plm_ascend.bringup.oracle import error, rounded
from ms_plm_ascend.bringup.trial import DROPPED, FACTOR, KEPT, OTHERWISE, Measured, Trial
from ms_plm_ascend.roofline.counts import FULL, WIDTH, Work, layer_norm

WIDTHS = {"fp32": FULL, "fp16": WIDTH, "bf16": WIDTH}


def normalise(x, residual, weight, bias, epsilon: float, factors: np.ndarray | float = 1.0) -> np.ndarray:
    """y, float64 `[..., H]`."""
    normal, _ = _normal(x, residual, epsilon, factors)
    return normal * weight + bias


def norm_gradients(x, residual, weight, cotangent, epsilon: float, factors: np.ndarray | float = 1.0) -> tuple:
    """Of x, residual, weight and bias for sum(y x cotangent), float64."""
    normal, deviation = _normal(x, residual, epsilon, factors)
    inner = cotangent.astype(np.float64) * weight
    means = inner.mean(-1, keepdims=True), (inner * normal).mean(-1, keepdims=True)
    total = (inner - means[0] - normal * means[1]) / deviation
    rows = tuple(range(cotangent.ndim - 1))
    return total * factors, total, (cotangent * normal).sum(rows), cotangent.astype(np.float64).sum(rows)


def _normal(x, residual, epsilon: float, factors) -> tuple[np.ndarray, np.ndarray]:
    total = x.astype(np.float64) * factors + residual
    centred = total - total.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return centred / deviation, deviation


class Problem(NamedTuple):
    """Rows that are held against float64.

    Attributes:
        size: H.
        epsilon: as the models have it; or of the size of the variance, so that what is made of it shows.
        deviation: of rows, about.
    """

    size: int
    epsilon: float
    deviation: float


class _Norm(nn.Cell):
    """y, fp32, of fp32 inputs: x is rounded to the compute type, the residual is the fp32 of the norm before it."""

    def __init__(self, cell: nn.Cell, compute: str) -> None:
        super().__init__()
        self.cell, self.compute = cell, COMPUTE[compute]

    def construct(self, x, residual, weight, bias, keys):
        return self.cell(x.astype(self.compute), residual, weight, bias, keys).astype(ms.float32)


@dataclass(frozen=True)
class NormTrial(Trial):
    """The result and gradients of x, residual, weight and bias.

    Attributes:
        problems: see `Problem`.
        rows, size: of what is timed.
    """

    problems: tuple[Problem, ...] = (Problem(768, 1e-12, 1.0), Problem(1024, 1e-12, 30.0), Problem(312, 1e-3, 0.03))
    rows: int = 16384
    size: int = 768

    @property
    def how(self) -> str:
        widths = ", ".join(str(problem.size) for problem in self.problems)
        timed = f"{self.rows} x {self.size}"
        return f"widths {widths} with small and large epsilon against float64, dropout, then {timed} timed"

    def _built(self, form: Implementation, call: Call, size: int, epsilon: float, drops: float = 0.0) -> Measured:
        site = DropoutPlan().hidden(drops, size)
        return Measured(_Norm(form.build(call, size=size, epsilon=epsilon, site=site), call.compute), gradients=4)

    def errors(self, form: Implementation, call: Call) -> dict[str, float]:
        """Largest over all problems; odd numbers of rows."""
        found: dict[str, float] = {}
        for problem in self.problems:
            for name, value in self._errors(form, call, problem).items():
                found[name] = max(found.get(name, 0.0), value)
        return found

    def _errors(self, form: Implementation, call: Call, problem: Problem) -> dict[str, float]:
        size, epsilon, deviation = problem
        random = np.random.default_rng(size)
        x, residual, cotangent = random.standard_normal((3, 3, 37, size)).astype(np.float32)
        x, residual = rounded(deviation * x, call.compute), (deviation * (residual + 1.0)).astype(np.float32)
        weight, bias = random.standard_normal((2, size)).astype(np.float32) / 4 + np.array([[1.0], [0.0]], np.float32)
        given = [Tensor(value) for value in (x, residual, weight, bias)]
        out, found = self._built(form, call, size, epsilon)(*given, None, Tensor(cotangent))
        errors = {"y": error(out.asnumpy(), normalise(x, residual, weight, bias, epsilon))}
        names = ("d x", "d residual", "d weight", "d bias")
        right = norm_gradients(x, residual, weight, cotangent, epsilon)
        for name, got, expected in zip(names, found, right, strict=True):
            errors[name] = error(got.asnumpy(), expected)
        return errors

    def dropout(self, form: Implementation, call: Call) -> dict[str, float]:
        """x is 1 and the residual 0, but for the last two entries of a row, where x is 0 and the residual 0 and 1: they
        tell what 0 and 1 become, so that y tells what became of every other entry of x. What the gradient of x must
        then be follows from that.
        """
        size, epsilon = self.problems[0].size, 1e-5
        x, residual = np.ones((2, 37, size), np.float32), np.zeros((2, 37, size), np.float32)
        x[..., -2:], residual[..., -1] = 0.0, 1.0
        cotangent = np.random.default_rng(0).choice((-1.0, 1.0), x.shape).astype(np.float32)
        ones, zeros = np.ones(size, np.float32), np.zeros(size, np.float32)
        given = [Tensor(value) for value in (x, residual, ones, zeros)]
        keys = Tensor(np.array([[3, 5], [7, 11]], np.int32))
        out, found = self._built(form, call, size, epsilon, DROPPED)(*given, keys, Tensor(cotangent))
        y, dx = out.asnumpy().astype(np.float64), found[0].asnumpy()[..., :-2]
        with np.errstate(invalid="ignore", divide="ignore"):  # of a form that gives zeros, nothing is kept
            values = ((y - y[..., -2:-1]) / (y[..., -1:] - y[..., -2:-1]))[..., :-2]
        unit = 1.0 / (1.0 - DROPPED)
        seen = values > unit / 2
        factors = np.concatenate((seen * unit, np.zeros((*seen.shape[:-1], 2))), -1)
        slope = norm_gradients(x, residual, ones, cotangent, epsilon, factors)[1][..., :-2]
        told = abs(slope) > abs(slope).max() / 100  # elsewhere roundings are as large
        return {
            KEPT: float(seen.mean()),
            FACTOR: float(np.median(values[seen]) / unit) if seen.any() else 0.0,
            OTHERWISE: float((abs(dx / np.where(told, slope, 1.0) / unit - seen) > 0.25)[told].mean()),
        }

    def timed(self, form: Implementation, call: Call, length: int | None = None) -> Callable[[], Tensor]:
        random = np.random.default_rng(0)
        shape = (1, self.rows, self.size)
        x, residual, cotangent = (Tensor(random.standard_normal(shape).astype(np.float32)) for _ in range(3))
        weight, bias = Tensor(np.ones(self.size, np.float32)), Tensor(np.zeros(self.size, np.float32))
        cell = self._built(form, call, self.size, 1e-12)
        return lambda: cell(x, residual, weight, bias, None, cotangent)[1][0]

    def work(self, form: Implementation, call: Call, length: int | None = None) -> Work:
        return layer_norm(float(self.rows * self.size), WIDTHS[call.compute])
