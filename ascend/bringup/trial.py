"""What an operation brings so that its forms can be held against its definition: a trial.

A trial knows inputs and expected values in float64, how dropout shows in outputs and gradients, what is timed, and what
that computes and moves at least. `forms_check` asks every form of an operation by the operation's trial.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.kernels import Call, Implementation
from ms_plm_ascend.bringup.check import TOLERANCE
from ms_plm_ascend.roofline.counts import Work

DROPPED = 0.25
"""Probability of dropping where dropout is looked at."""
KEPT, FACTOR, OTHERWISE = "kept", "factor", "gradient drops otherwise"
"""Figures of `Trial.dropout`."""


class Measured(nn.Cell):
    """Result and gradients of a form, fp32, from one forward pass: a second one might drop other entries.

    Args:
        run: a cell of four tensors and dropout's keys (int32 `[B, 2]`, or None) that gives one fp32 tensor.
        gradients: of so many of its inputs.
    """

    def __init__(self, run: nn.Cell, gradients: int) -> None:
        super().__init__()
        self.run = run
        self.value_and_grad = ms.value_and_grad(self._sum, tuple(range(gradients)), None, has_aux=True)
        self.set_train(True)

    def _sum(self, a, b, c, d, keys, cotangent):
        out = self.run(a, b, c, d, keys)
        return ops.reduce_sum(out * cotangent), out

    def construct(self, a, b, c, d, keys, cotangent):
        result, gradients = self.value_and_grad(a, b, c, d, keys, cotangent)
        return result[1], gradients


class Trial(ABC):
    """How forms of one operation are held against its definition.

    Attributes:
        how: what is asked, for people.
    """

    how: str

    @abstractmethod
    def errors(self, form: Implementation, call: Call) -> dict[str, float]:
        """Largest errors of outputs and gradients against float64, by name; see `oracle.error`."""

    def tolerance(self, call: Call) -> float:
        """What every error must stay below."""
        return TOLERANCE[call.compute]

    def dropout(self, form: Implementation, call: Call) -> dict[str, float] | None:
        """With a probability of `DROPPED`: the share that is `KEPT`, the `FACTOR` on it as a share of what it should
        be, and the share of entries that the gradient treats otherwise than the forward pass (`OTHERWISE`); None: the
        operation drops nothing."""
        return None

    @property
    def timed_lengths(self) -> tuple[int | None, ...]:
        """Of sequences, for which it is timed; None: it does not depend on them."""
        return (None,)

    @abstractmethod
    def timed(self, form: Implementation, call: Call, length: int | None) -> Callable[[], Tensor]:
        """What is timed, without dropout: a run, and one of its results to wait for."""

    @abstractmethod
    def work(self, form: Implementation, call: Call, length: int | None) -> Work:
        """What the timed run computes and moves at least."""


def dropout_is_right(figures: dict[str, float]) -> bool:
    """Whether `Trial.dropout` found what it should."""
    near = abs(figures[KEPT] - (1.0 - DROPPED)) < 0.05 and abs(figures[FACTOR] - 1.0) < 0.05
    return near and figures[OTHERWISE] == 0.0


def milliseconds(trial: Trial, form: Implementation, call: Call, length: int | None, repeats: int = 20) -> float:
    """Median time of what a trial times."""
    run, times = trial.timed(form, call, length), []
    for _ in range(repeats + 3):
        begun = time.perf_counter()
        run().reshape((-1,))[:1].asnumpy()  # waits for the device, and copies next to nothing
        times.append(1000 * (time.perf_counter() - begun))
    return float(np.median(times[3:]))
