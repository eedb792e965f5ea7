"""Figures of any sub-network with few graphs: what is left out is zero, so that one graph serves every width.

Columns of zeros behind a head or a neuron do what slicing does, at the cost of the whole width; for many sub-networks
that is far less than compiling each. A number of layers is a graph of its own, as leaving out a layer is no zero.
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

from ms_plm.elastic.subnetworks import SubNetwork
from ms_plm.models.model import Model
from ms_plm.tasks.runner import TaskEvaluator


class MaskedEvaluator:
    """Evaluates parts of one model, with the weights that it has when it is asked.

    Args:
        model: the whole, with a task's head.
        arguments: of `TaskEvaluator`, behind the model.
    """

    def __init__(self, model: Model, *arguments) -> None:
        self.model, self.arguments = model, arguments
        self._evaluators: dict[int, tuple[Model, TaskEvaluator]] = {}

    def figures(self, part: SubNetwork) -> dict[str, float]:
        """Those of `TaskEvaluator.figures`."""
        model, evaluator = self._of_depth(len(part.layers))
        self._assign(model, part)
        return evaluator.figures()

    def _of_depth(self, layers: int) -> tuple[Model, TaskEvaluator]:
        if layers not in self._evaluators:
            whole = self.model
            config = whole.config.model_copy(update={"num_hidden_layers": layers})
            made = Model(config, whole.head, whole.kernels, pooler=whole.has_pooler)
            self._evaluators[layers] = made, TaskEvaluator(made, *self.arguments)
        return self._evaluators[layers]

    def _assign(self, model: Model, part: SubNetwork) -> None:
        size, theirs = self.model.config.attention_head_size, dict(self.model.parameters_and_names())
        for name, parameter in model.parameters_and_names():
            value = theirs[part.source(name)].asnumpy()
            if name.endswith(("attention_output.weight", ".output.weight")):
                layer = int(name.split(".")[2])
                kept = part.heads[layer] * size if "attention_output" in name else part.intermediate[layer]
                value = np.where(np.arange(value.shape[1]) < kept, value, np.float32(0))
            parameter.set_data(Tensor(value))
