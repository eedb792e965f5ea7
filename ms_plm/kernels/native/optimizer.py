"""`optimizer_update` and `gradient_norm` in C++: all tensors in one call (src/optimizer.cc)."""

from __future__ import annotations

import functools
from dataclasses import replace

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels.native.library import for_native, operation, options
from ms_plm.kernels.registry import Call, Implementation

_RULES = {("adamw", "paper"): 0, ("adamw", "nezha"): 0, ("lamb", "paper"): 1, ("lamb", "nezha"): 2}


@functools.cache
def _update() -> ops.Custom:
    return operation("optimizer_update", lambda *shapes: [1], lambda *types: ms.float32, in_place=True)


@functools.cache
def _norm() -> ops.Custom:
    return operation("gradient_norm", lambda *shapes: [1], lambda *types: ms.float32)


class NativeOptimizerUpdate(nn.Cell):
    """AdamW or LAMB over all tensors, in place; gradients are scaled on the way."""

    def __init__(
        self, call: Call, options: OptimizerSection, decays: tuple[bool, ...], rates: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.op = _update()
        self.decays, self.rates = Tensor(np.array(decays, np.int32)), Tensor(np.array(rates, np.float32))
        constants = options.beta1, options.beta2, options.epsilon, options.weight_decay
        # as fp32 holds them, like other forms; 1 - beta is then taken in fp64
        self.constants = Tensor(np.array(constants, np.float32).astype(np.float64))
        self.rule = _rule(options)

    def construct(self, parameters, first, second, gradients, factor, learning_rate, count):
        scalars = factor.reshape((1,)), learning_rate.reshape((1,)), count.reshape((1,))
        each = self.decays, self.rates
        return self.op(*parameters, *first, *second, *gradients, *each, *scalars, self.constants, self.rule)


def _rule(section: OptimizerSection) -> Tensor:
    return options(_RULES[section.name, section.variant])


class NativeGradientNorm(nn.Cell):
    """Euclidean norm over all gradients, fp32 scalar; not finite if any entry is not."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.op = _norm()

    def construct(self, gradients):
        return self.op(*gradients).reshape(())


def _supports(call: Call) -> str | None:
    """Parameters and gradients are fp32 whatever products are computed in."""
    return for_native(replace(call, compute="fp32"))


IMPLEMENTATIONS = (
    Implementation("optimizer_update", "native", ("cpu",), NativeOptimizerUpdate, _supports, preference=30),
    Implementation("gradient_norm", "native", ("cpu",), NativeGradientNorm, _supports, preference=30),
)
