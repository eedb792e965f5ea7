"""Heads and neurons in the order of their importance; what the model computes stays the same (DynaBERT, 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, Tensor

from ms_plm.models.model import Model


@dataclass(frozen=True)
class Importance:
    """What leaving out a head or a neuron would change of the loss, to first order; floats.

    Attributes:
        heads: `[N]` of every layer.
        neurons: `[F]` of every layer.
    """

    heads: Sequence[np.ndarray]
    neurons: Sequence[np.ndarray]


def rewire(model: Model, importance: Importance) -> None:
    """Put the most important heads and neurons of every layer first; among equals the order stays."""
    size = model.config.attention_head_size
    for layer, heads, neurons in zip(model.encoder.layers, importance.heads, importance.neurons, strict=True):
        order = np.argsort(-heads, kind="stable")
        columns = (order[:, None] * size + np.arange(size)).reshape(-1)
        for linear in (layer.attention.query, layer.attention.key, layer.attention.value):
            _reorder(linear.weight, columns, 0)
            _reorder(linear.bias, columns, 0)
        _reorder(layer.attention_output.weight, columns, 1)
        order = np.argsort(-neurons, kind="stable")
        _reorder(layer.intermediate.weight, order, 0)
        _reorder(layer.intermediate.bias, order, 0)
        _reorder(layer.output.weight, order, 1)


def _reorder(parameter: Parameter, order: np.ndarray, axis: int) -> None:
    parameter.set_data(Tensor(np.ascontiguousarray(np.take(parameter.asnumpy(), order, axis))))
