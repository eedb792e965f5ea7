"""Optimizer state: the moments of every trained parameter, which parameters decay, how many updates were applied."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels import Kernels
from ms_plm.training.sharding import Sharding

_FIRST, _SECOND = "first_moment.", "second_moment."


def decays(name: str) -> bool:
    """Weight decay is for matrices: not for biases and LayerNorm weights."""
    return not (name.endswith("bias") or "norm." in name)


_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")


def layer_rates(names: Iterable[str], layers: int, decay: float) -> dict[str, float]:
    """Each parameter's share of the learning rate under layer-wise decay: decay ^ (layers + 1 - i).

    i is 0 for the embeddings, 1 to `layers` for the layers from below, `layers + 1` (the whole rate) for pooler and
    heads. The numbering is that of BEiT (arXiv 2106.08254); the method that of Sun et al. (arXiv 1905.05583, section
    5.3.4) and ELECTRA (arXiv 2003.10555), whose code lets the layers begin one step lower, at decay ^ 2.

    Args:
        names: of parameters, paths of cells.
        layers: number of layers of the encoder.
        decay: 1: the same rate everywhere.
    """
    rates = {}
    for name in names:
        layer = _LAYER.match(name)
        depth = int(layer[1]) + 1 if layer else 0 if name.startswith("encoder.embeddings.") else layers + 1
        rates[name] = decay ** (layers + 1 - depth)
    return rates


class Optimizer(nn.Cell):
    """Holds fp32 moments and updates parameters in place through the kernel `optimizer_update`.

    Args:
        named: parameters by the name under which their moments are stored.
        options: constants.
        kernels: implementations.
        sharding: of the moments among processes; None: all are here.
        rates: each parameter's share of the learning rate; None: all of it.
    """

    def __init__(
        self,
        named: dict[str, Parameter],
        options: OptimizerSection,
        kernels: Kernels,
        sharding: Sharding | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.sharding = sharding or Sharding({name: parameter.shape for name, parameter in named.items()})
        own = {name: named[name] for name in self.sharding.share(self.sharding.rank)}
        self.parameters = ParameterTuple(list(own.values()))
        self.first = self._moments(_FIRST, own)
        self.second = self._moments(_SECOND, own)
        self.applied = Parameter(Tensor(0, ms.int32), name="applied_updates", requires_grad=False)
        self.idle = not own  # more processes than tensors
        if own:
            shares = tuple(rates[name] if rates else 1.0 for name in own)
            self.update = kernels.build(
                "optimizer_update", options=options, decays=tuple(map(decays, own)), rates=shares
            )

    @staticmethod
    def _moments(prefix: str, named: dict[str, Parameter]) -> ParameterTuple:
        return ParameterTuple(
            Parameter(Tensor(np.zeros(p.shape, np.float32)), name=prefix + name, requires_grad=False)
            for name, p in named.items()
        )

    def construct(self, gradients, factor, learning_rate):
        """Update the tensors of this process from their gradients, each multiplied by `factor`."""
        count = ops.depend(self.applied, ops.assign_add(self.applied, 1)).astype(ms.float32)
        if self.idle:
            return count
        return self.update(self.parameters, self.first, self.second, gradients, factor, learning_rate, count)

    def state(self) -> dict[str, Parameter | None]:
        """Everything that a checkpoint must hold; None: another process holds it."""
        held = {p.name: p for p in (*self.first, *self.second)}
        names = [prefix + name for prefix in (_FIRST, _SECOND) for name in self.sharding.shapes]
        return {**{name: held.get(name) for name in names}, self.applied.name: self.applied}

    def collect(self) -> dict[str, np.ndarray]:
        """The moments, all of them on the first process; all processes must call it together."""
        arrays: dict[str, np.ndarray] = {}
        for prefix, moments in ((_FIRST, self.first), (_SECOND, self.second)):
            values = self.sharding.gather([moment.asnumpy() for moment in moments])
            arrays.update({prefix + name: value for name, value in values.items()})
        return arrays
