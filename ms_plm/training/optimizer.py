"""Optimizer state: the moments of every trained parameter, which parameters decay, how many updates were applied."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels import Kernels


def decays(name: str) -> bool:
    """Weight decay is for matrices: not for biases and LayerNorm weights."""
    return not (name.endswith("bias") or "norm." in name)


class Optimizer(nn.Cell):
    """Holds fp32 moments and updates parameters in place through the kernel `optimizer_update`.

    Args:
        named: parameters by the name under which their moments are stored.
        options: constants.
        kernels: implementations.
    """

    def __init__(self, named: dict[str, Parameter], options: OptimizerSection, kernels: Kernels) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(list(named.values()))
        self.first = self._moments("first_moment.", named)
        self.second = self._moments("second_moment.", named)
        self.applied = Parameter(Tensor(0, ms.int32), name="applied_updates", requires_grad=False)
        self.update = kernels.build("optimizer_update", options=options, decays=tuple(decays(name) for name in named))

    @staticmethod
    def _moments(prefix: str, named: dict[str, Parameter]) -> ParameterTuple:
        return ParameterTuple(
            Parameter(Tensor(np.zeros(p.shape, np.float32)), name=prefix + name, requires_grad=False)
            for name, p in named.items()
        )

    def construct(self, gradients, learning_rate):
        count = ops.depend(self.applied, ops.assign_add(self.applied, 1)).astype(ms.float32)
        return self.update(self.parameters, self.first, self.second, gradients, learning_rate, count)

    def state(self) -> dict[str, Parameter]:
        """Everything that a checkpoint must hold."""
        return {p.name: p for p in (*self.first, *self.second, self.applied)}
