"""A loss whose gradient a test decides, and a stand-in for the status register of a chip that saturates."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

KEPT = ("weight", "first_moment.dense.weight", "second_moment.dense.weight", "applied_updates")
"""State that an update which is skipped leaves alone; `weight` is the loss's own."""


class Slope(nn.Cell):
    """w . x summed over the rows: the gradient of w is the sum of x."""

    terms, inputs = ("slope",), ("x",)
    takes_words = False

    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.array([1.0, -2.0, 3.0], np.float32)), name="dense.weight")

    def construct(self, rng, x):
        return ops.stack((ops.reduce_sum(x * self.weight),))


class Register(nn.Cell):
    """Stands in for a chip's register: what is to be read lies in a parameter, and clearing is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.word = Parameter(Tensor(np.zeros((), np.float32)), name="word", requires_grad=False)
        self.cleared = Parameter(Tensor(np.zeros((), np.float32)), name="cleared", requires_grad=False)

    def clear(self, after):
        return ops.assign_add(self.cleared, ops.depend(Tensor(np.ones((), np.float32)), after))

    def read(self, after):
        return ops.depend(self.word, after) + 0.0
