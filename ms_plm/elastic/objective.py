"""What all sub-networks learn in one update: a sum over them of the named terms of distillation (DynaBERT, 2.2, 2.3).

A layer of a sub-network gives what the next layer that is kept was made from; the last one gives what the whole model
gives. So hidden states are compared with the teacher's before the layers that are kept, and after its last one.
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn

from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.model import ModelConfig
from ms_plm.distill.objective import DistillationLoss, Given, Objective, Observed
from ms_plm.elastic.parts import view
from ms_plm.elastic.subnetworks import SubNetwork
from ms_plm.models.model import Model
from ms_plm.tasks.kind import TaskKind
from ms_plm.training.forward import LossInParts


def views(model: Model, parts: Sequence[SubNetwork]) -> tuple[Model, ...]:
    """All sub-networks over one model's parameters; each drops values of its own."""
    made: list[Model] = []
    for part in parts:
        made.append(view(model, part, made[-1].plan.end if made else 0))
    return tuple(made)


class TeacherAnswers(nn.Cell):
    """Hidden states of a teacher, if they are wanted, and its logits, without dropout.

    Args:
        teacher: with a task's head; its parameters take no gradient from here on.
        states: whether hidden states are wanted.
    """

    def __init__(self, teacher: Model, states: bool) -> None:
        super().__init__(auto_prefix=False)
        for parameter in teacher.get_parameters():
            parameter.requires_grad = False
        self.observed, self.states = Observed(teacher, "", "task"), states

    def construct(self, input_ids, token_type_ids, attention_mask, *others):
        states, _, _, logits = self.observed(None, input_ids, token_type_ids, attention_mask)
        if self.states:
            return *states, logits
        return (logits,)


def layer_map(part: SubNetwork, layers: int) -> tuple[int, ...]:
    """The teacher layer (from 1) that every layer of a sub-network learns of; `layers`: of the teacher."""
    return (*part.layers[1:], layers)


def elastic_loss(
    method: ElasticMethod,
    config: ModelConfig,
    parts: Sequence[SubNetwork],
    models: Sequence[Model],
    kind: TaskKind,
    teacher: Model | Given | None,
) -> LossInParts:
    """The loss of all sub-networks.

    Args:
        method: terms and the teacher's width.
        config: of the whole model.
        parts: the sub-networks.
        models: their views, which give hidden states where these are compared.
        kind: of the task.
        teacher: of the same shape as the whole model, or what is given of one; None where only labels are learned.
    """
    on_layers, layers = method.losses.on_layers, config.num_hidden_layers
    given = teacher if isinstance(teacher, Given) else Given(layers + 1 if on_layers else 0, teacher is not None)
    losses = [
        DistillationLoss(
            Objective(method, {"hidden": layer_map(part, layers)} if method.losses.hidden else {}),
            model,
            given,
            "task",
            kind.loss(model),
        )
        for part, model in zip(parts, models, strict=True)
    ]
    asked = teacher if isinstance(teacher, Model) else None
    return LossInParts(losses, _teachers(method, config, parts, asked), models)


def _teachers(
    method: ElasticMethod, config: ModelConfig, parts: Sequence[SubNetwork], teacher: Model | None
) -> list[TeacherAnswers | None]:
    """Who answers for each sub-network: one for all, or one for each width."""
    if teacher is None:
        return [None] * len(parts)
    states = method.losses.on_layers
    if method.teacher.width == "full":
        return [TeacherAnswers(teacher, states)] * len(parts)
    made: dict[float | None, TeacherAnswers] = {}
    for part in parts:
        if part.width not in made:  # a list has no width of its own: the whole teacher
            wide = teacher if part.width is None else view(teacher, SubNetwork.of(config, part.width))
            made[part.width] = TeacherAnswers(wide, states)
    return [made[part.width] for part in parts]
