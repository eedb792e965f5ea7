"""General distillation whose layer map is an input of the graph: what is compiled once serves every map."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import mindspore as ms
from mindspore import ops

from ms_plm.config.distillation import DistillMethod
from ms_plm.distill.objective import DistillationLoss, Objective


@dataclass(frozen=True)
class AnyMap(Objective):
    """What is compared where any layer of the student may learn of any layer of the teacher.

    Attributes:
        depths: layers of student and teacher.
    """

    depths: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, method: DistillMethod, student_layers: int, teacher_layers: int) -> AnyMap:
        """See `Objective.of`."""
        made = super().of(method, student_layers, teacher_layers)
        return replace(made, depths=(student_layers, teacher_layers))

    def pairs(self, name: str) -> tuple[tuple[int, int], ...]:
        """All pairs of layers, both from 1."""
        if name not in self.maps:
            return ()
        return tuple(itertools.product(range(1, self.depths[0] + 1), range(1, self.depths[1] + 1)))


class MapLoss(DistillationLoss):
    """`DistillationLoss` with one more array, `layer_map` int32 `[M]`: teacher layers from 1, or 0 for none.

    The terms are those of general distillation: embedding, hidden, attention. Outputs of all layers of the teacher are
    stacked and the map takes from them. Layers of the student that no term reaches get gradients of 0, where a
    distillation by one map leaves them out of training; in a few steps weight decay does not move them far.

    Args:
        objective: an `AnyMap`.
        student, teacher: see `DistillationLoss`.
    """

    def __init__(self, objective: AnyMap, student, teacher) -> None:
        super().__init__(objective, student, teacher)
        self.inputs = (*self.inputs, "layer_map")
        self.depth = student.config.num_hidden_layers

    def _term(self, name, student, teacher, mask, attention_mask, counted, more):
        if name == "embedding":
            return self.embedding_difference(self._wide(student[0], 0), teacher[0][0], mask)
        targets, total = more[0], 0.0
        weights = (targets > 0).astype(ms.float32)
        if name == "hidden":
            states = ops.stack(teacher[0])
            for layer in range(self.depth):
                chosen = ops.gather(states, targets[layer], 0)
                term = self.hidden_difference(self._wide(student[0], layer + 1), chosen, mask)
                total = total + weights[layer] * term
            return total
        maps, places = ops.stack(teacher[1]), ops.maximum(targets - 1, 0)
        for layer in range(self.depth):
            chosen = ops.gather(maps, places[layer], 0)
            total = total + weights[layer] * self.map_difference(student[1][layer], chosen, mask)
        return total
