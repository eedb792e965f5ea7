"""The objective of distillation: sum_m lambda_m L(f(s_m), f(t_g(m))) as named sums (TinyBERT, arXiv 1909.10351, 3.1).

Every term is divided by its own weight over the whole update: `embedding`, `hidden` by positions, `attention` by pairs
of positions, `prediction` and `labels` by what is predicted. Padding counts nowhere; with `parity: original` it counts
as in TinyBERT's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_plm.config.distillation import DistillMethod, LayerTermSection, resolved
from ms_plm.config.model import ModelConfig
from ms_plm.distill.losses import (
    HiddenDifference,
    MapDifference,
    MapDivergence,
    RelationDivergence,
    SoftPrediction,
)
from ms_plm.models.model import Model
from ms_plm.tasks.kind import INPUTS

_PROJECTED = ("query", "key", "value")


@dataclass(frozen=True)
class Objective:
    """A method of distillation for a student and a teacher of certain depths.

    Attributes:
        method: of the recipe.
        maps: of each term on layers, the teacher layer (from 1) of every student layer; 0: none.
    """

    method: DistillMethod
    maps: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, method: DistillMethod, student_layers: int, teacher_layers: int) -> Objective:
        """Layer maps in numbers.

        Raises:
            ValueError: one does not fit; the message begins with its key.
        """
        maps = {}
        for name, term in method.losses.named().items():
            if isinstance(term, LayerTermSection):
                key = "method.layer_map" if term.layers is None else f"method.losses.{name}.layers"
                try:
                    chosen = method.layer_map if term.layers is None else term.layers
                    maps[name] = resolved(chosen, student_layers, teacher_layers)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from error
        return cls(method, maps)

    def pairs(self, name: str) -> tuple[tuple[int, int], ...]:
        """Student layers and the teacher layers that supervise them, both from 1."""
        return tuple((layer, of) for layer, of in enumerate(self.maps.get(name, ()), 1) if of)

    def wants(self) -> frozenset[str]:
        """What models have to give, see `ms_plm.kernels.Call`."""
        losses, wanted = self.method.losses, set()
        if losses.embedding or losses.hidden:
            wanted.add("hidden_states")
        if losses.attention:
            by_scores = losses.attention.of == "scores" or losses.attention.measure == "kl"
            wanted.add("scores" if by_scores else "probabilities")
        if losses.relations:
            wanted.add("projected")
        return frozenset(wanted)

    def layers(self, teacher: bool) -> frozenset[int]:
        """Numbers (from 0) of the layers of either model whose attention has to give something."""
        pairs = (*self.pairs("attention"), *self.pairs("relations"))
        return frozenset(pair[1 if teacher else 0] - 1 for pair in pairs)

    def relation_heads(self, teacher: ModelConfig) -> int:
        """Heads into which both models' queries, keys and values are split for the term `relations`."""
        return self.method.losses.relations.heads or teacher.heads(self.pairs("relations")[0][1] - 1)

    def projected(self) -> tuple[int, ...]:
        """Which hidden states of the student are compared: 0, the embeddings, to its number of layers."""
        losses = self.method.losses
        layers = [layer for layer, _ in self.pairs("hidden")]
        return (*((0,) if losses.embedding else ()), *layers)


class Observed(nn.Cell):
    """What distillation reads of a model: hidden states, maps of attention, queries, keys and values, logits.

    Args:
        model: built with what the objective wants.
        maps: `scores` or `probabilities`, or empty.
        logits: `task`, `masked_lm` or empty.
    """

    def __init__(self, model: Model, maps: str, logits: str) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.maps, self.logits = model, maps, logits

    def construct(self, rng, input_ids, token_type_ids, attention_mask, positions=None, words=None):
        model = self.model
        hidden, states, probabilities, scores, projected = model.encoder(
            input_ids, token_type_ids, attention_mask, rng, words
        )
        maps, logits = (), ()
        if self.maps == "scores":
            maps = scores
        if self.maps == "probabilities":
            maps = probabilities
        if self.logits == "task":
            logits = model.task_logits(hidden, rng)
        if self.logits == "masked_lm":
            logits = model.masked_logits(model.masked_rows(hidden, positions))
        return states, maps, projected, logits


@dataclass(frozen=True)
class Given:
    """What a teacher said, as inputs of the loss behind all others: hidden states, then its logits.

    Attributes:
        states: how many hidden states.
        logits: whether there are logits.
        stored: the logits are an array of the samples, `targets`; otherwise who runs the loss hands them over.
    """

    states: int = 0
    logits: bool = True
    stored: bool = False


class DistillationLoss(nn.Cell):
    """Terms of one micro-batch, fp32 `[terms]`, each times its lambda.

    Args:
        objective: what is compared.
        student: with the head that the terms need, its projection, and outputs as `Objective.wants` names them.
        teacher: the same; its parameters take no gradient and nothing of it is dropped. Or what is given of it.
        logits: what the head gives: `task`, `masked_lm`, or empty where nothing reads it.
        task: the kind's loss over the student, where logits are a task's.
    """

    def __init__(
        self,
        objective: Objective,
        student: Model,
        teacher: Model | Given,
        logits: str = "",
        task: nn.Cell | None = None,
    ) -> None:
        super().__init__(auto_prefix=False)
        method = objective.method
        losses, original = method.losses, method.parity == "original"
        self.objective, self.original = objective, original
        self.terms = tuple(losses.named())
        self.factors = tuple(term.weight for term in losses.named().values())
        self.by_tokens = task is not None and task.model.head == "token_classification"
        self.regression = (
            task is not None and task.model.head == "sequence_classification" and (task.model.config.num_labels == 1)
        )
        more = {
            "": (),
            "task": ("labels", "weights"),
            "masked_lm": ("masked_positions", "masked_labels", "masked_weights"),
        }
        self.inputs = (*INPUTS, "counted", *more[logits])
        self.logits, self.task, self.student = logits, task, student
        self.takes_words = logits != "masked_lm"
        self.handed_over = 0
        wanted = objective.wants()
        maps = next((name for name in ("scores", "probabilities") if name in wanted), "")
        self.seen_student, self.given = Observed(student, maps, logits), isinstance(teacher, Given)
        if self.given:
            self.given_states, self.given_logits = teacher.states, teacher.logits
            self.handed_over = 0 if teacher.stored else teacher.states + teacher.logits
            self.inputs = (*self.inputs, *(("targets",) if teacher.stored else ()))
        else:
            for parameter in teacher.get_parameters():
                parameter.requires_grad = False
            teacher.update_parameters_name("teacher.")
            self.seen_teacher = Observed(teacher, maps, logits)
        self.shared, self.each = hasattr(student, "projection"), hasattr(student, "projections")
        self.hidden_pairs, self.map_pairs = objective.pairs("hidden"), self._places("attention")
        self.relation_pairs = self._places("relations")
        self.embedding_difference = HiddenDifference("mse")
        if losses.hidden:
            self.hidden_difference = HiddenDifference(losses.hidden.measure, losses.hidden.positions == "first")
        if losses.attention:
            self.map_difference = MapDivergence() if losses.attention.measure == "kl" else MapDifference(original)
        if losses.relations:
            self.relation_of = tuple(_PROJECTED.index(name) for name in losses.relations.of)
            self.relation_difference = RelationDivergence(objective.relation_heads(teacher.config))
        if losses.prediction:
            self.soft = SoftPrediction(losses.prediction.temperature, original)
        self.cross_entropy_sum = student.kernels.build("cross_entropy_sum")

    def _places(self, name: str) -> tuple[tuple[int, int], ...]:
        """Where the layers of a term stand among those whose attention gives something."""
        places = [sorted(self.objective.layers(teacher)) for teacher in (False, True)]
        return tuple((places[0].index(s - 1), places[1].index(t - 1)) for s, t in self.objective.pairs(name))

    def construct(self, rng, input_ids, token_type_ids, attention_mask, counted, *more):
        positions, words = None, None
        if self.logits == "masked_lm":
            positions = more[0]
        if len(more) > len(self.inputs) - len(INPUTS) - 1 + self.handed_over:
            more, words = more[:-1], more[-1]
        student = self.seen_student(rng, input_ids, token_type_ids, attention_mask, positions, words)
        teacher = ((), (), (), ())
        if self.given:
            teacher = self._told(student, more)
        else:
            teacher = ops.stop_gradient(self.seen_teacher(None, input_ids, token_type_ids, attention_mask, positions))
        rows = ops.broadcast_to(counted.reshape((-1, 1)), (counted.shape[0], input_ids.shape[0] // counted.shape[0]))
        mask = ops.ones_like(attention_mask) if self.original else attention_mask
        mask = mask.astype(ms.float32) * rows.reshape((-1, 1))
        found = ()
        for number, name in enumerate(self.terms):
            term = self._term(name, student, teacher, mask, attention_mask, counted, more)
            found = (*found, term * self.factors[number])
        return ops.stack(found)

    def _told(self, student, more):
        """The teacher's part of `Observed` from the inputs."""
        states, logits, count = (), (), self.given_states
        if self.given_logits:
            logits = more[-1].reshape(student[3].shape)
            more = more[:-1]
        if count:
            states = more[-count:]
        return states, (), (), logits

    def _term(self, name, student, teacher, mask, attention_mask, counted, more):
        if name == "embedding":
            return self.embedding_difference(self._wide(student[0], 0), teacher[0][0], mask)
        if name == "hidden":
            return self._hidden(student[0], teacher[0], mask)
        if name == "attention":
            return self._maps(student[1], teacher[1], mask)
        if name == "relations":
            return self._relations(student[2], teacher[2], mask)
        if name == "prediction":
            return self._prediction(student[3], teacher[3], attention_mask, counted, more)
        if self.logits == "masked_lm":
            return self.cross_entropy_sum(student[3], more[1], more[2])
        return self.task.sum_of(student[3], attention_mask, more[0], more[1])

    def _wide(self, states, number):
        """A hidden state of the student, fp32 of the teacher's width."""
        state = states[number]
        if self.shared:
            state = self.student.projection(state)
        if self.each:
            state = self.student.projections[number](state)
        return state.astype(ms.float32)

    def _hidden(self, student, teacher, mask):
        total = 0.0
        for layer, of in self.hidden_pairs:
            total = total + self.hidden_difference(self._wide(student, layer), teacher[of], mask)
        return total

    def _maps(self, student, teacher, mask):
        total = 0.0
        for layer, of in self.map_pairs:
            total = total + self.map_difference(student[layer], teacher[of], mask)
        return total

    def _relations(self, student, teacher, mask):
        total = 0.0
        for layer, of in self.relation_pairs:
            for which in self.relation_of:
                total = total + self.relation_difference(student[layer][which], teacher[of][which], mask)
        return total

    def _prediction(self, student, teacher, attention_mask, counted, more):
        if self.logits == "masked_lm":
            return self.soft(student, teacher, more[2])
        labels, weights = more[0], more[1]
        if self.regression:
            return ops.reduce_sum(ops.square(student.reshape((-1,)) - teacher.reshape((-1,))) * counted)
        weights = (weights > 0).astype(ms.float32).reshape((-1,)) if self.by_tokens else counted
        student = self.task.scores(student, attention_mask, labels)
        teacher = self.task.scores(teacher, attention_mask, labels)
        total = 0.0
        for number in range(len(student)):
            total = total + self.soft(student[number], teacher[number], weights)
        return total / len(student)

    def weights_of(self, arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Weights of the terms over some samples, from the arrays of a loader."""
        counted, mask = arrays["counted"].astype(np.float64), arrays["attention_mask"]
        rows = np.repeat(counted, len(mask) // len(counted))
        lengths = np.full(len(mask), mask.shape[1]) if self.original else mask.sum(1, dtype=np.int64)
        positions, pairs = float(rows @ lengths), float(rows @ lengths.astype(np.float64) ** 2)
        losses = self.objective.method.losses
        weights = {"embedding": positions, "hidden": positions, "attention": pairs, "relations": positions}
        if losses.hidden and losses.hidden.positions == "first":
            weights["hidden"] = float(rows @ (lengths > 0))
        if losses.attention and losses.attention.measure == "kl":
            weights["attention"] = positions
        if self.logits == "masked_lm":
            weights["prediction"] = weights["labels"] = float(arrays["masked_weights"].sum(dtype=np.float64))
        elif self.logits:
            given = arrays["weights"]
            weights["labels"] = float(given.sum(dtype=np.float64))
            weights["prediction"] = float((given > 0).sum()) if self.by_tokens else float(counted.sum())
        return {name: weights[name] for name in self.terms}
