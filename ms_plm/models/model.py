"""A model: the encoder with the heads that a use asks for."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.kernels import Kernels
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm.models.encoder import Encoder
from ms_plm.models.heads import (
    ON_POOLED,
    TASK_HEADS,
    MaskedLMHead,
    NextSentenceHead,
    Pooler,
    Projection,
    TaskHead,
)
from ms_plm.models.layers import initialise
from ms_plm.models.outputs import ModelOutput

HEADS: dict[str, tuple[str, ...]] = {
    "encoder": ("pooler",),
    "masked_lm": ("masked_lm",),
    "pretraining": ("pooler", "masked_lm", "next_sentence"),
    **{head: ("pooler", head) if head in ON_POOLED else (head,) for head in TASK_HEADS},
}
"""Parts that stand on the encoder, by the name of the use."""


class Model(nn.Cell):
    """Encoder and heads; a cell that compiles in graph mode with static and with dynamic shapes.

    Args:
        config: shape and behaviour.
        head: a key of `HEADS`.
        kernels: implementations; default: those for evaluation on this device.
        pooler: False: head `encoder` without a pooler, for folders that have none.
        projection: to a teacher's width, see `ms_plm.models.heads.Projection`; None: none.
        plan: numbers the dropout sites; default: from 0.

    Raises:
        UserError: the head does not exist, or not in this family.
    """

    def __init__(
        self,
        config: ModelConfig,
        head: str = "encoder",
        kernels: Kernels | None = None,
        pooler: bool = True,
        projection: Projection | None = None,
        plan: DropoutPlan | None = None,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise UserError(f"head: expected one of {', '.join(HEADS)}, found {head!r}.")
        if config.model_type == "roberta" and "next_sentence" in HEADS[head]:
            raise UserError(
                f"head: RoBERTa has no next-sentence head, which {head!r} needs; expected masked_lm. In a recipe for "
                "pretraining set data.nsp: false."
            )
        kernels = kernels or Kernels()
        self.config, self.head, self.kernels = config, head, kernels
        self.plan = DropoutPlan() if plan is None else plan
        self.encoder = Encoder(config, kernels, self.plan)
        parts = HEADS[head]
        self.has_pooler, self.has_masked_lm = pooler and "pooler" in parts, "masked_lm" in parts
        self.has_next_sentence = "next_sentence" in parts
        if self.has_pooler:
            self.pooler = Pooler(config, kernels, self.plan, head)
        if self.has_masked_lm:
            self.masked_lm = MaskedLMHead(config, kernels)
        if self.has_next_sentence:
            self.next_sentence = NextSentenceHead(config, kernels)
        self.has_task, self.on_pooled = head in TASK_HEADS, head in ON_POOLED
        if self.has_task:  # under its own name, which names its parameters
            setattr(self, head, TaskHead(config, kernels, self.plan, head))
        if projection is not None:
            projection.add_to(self)
        self.limit = config.longest_input

    def initialise(self, seed: int, truncated: bool = True) -> Model:
        """Draw new weights; a function of (seed, parameter name). See `ms_plm.models.layers.initialise`."""
        initialise(self, self.config.initializer_range, seed, truncated)
        return self

    def __call__(self, input_ids, *args, **kwargs):
        """`construct`, compiled; NumPy arrays are taken as well, and the length is checked before.

        Raises:
            UserError: the input is longer than an absolute position table.
        """
        input_ids, *args = (Tensor(x) if isinstance(x, np.ndarray) else x for x in (input_ids, *args))
        kwargs = {name: Tensor(x) if isinstance(x, np.ndarray) else x for name, x in kwargs.items()}
        length = input_ids.shape[1]
        if self.limit is not None and length > self.limit:
            raise UserError(
                f"an input of length {length} is longer than the {self.limit} tokens that max_position_embeddings "
                f"{self.config.max_position_embeddings} of this model allows; cut it with the tokenizer's max_length, "
                "or use a model with relative positions, which has no limit."
            )
        values = super().__call__(input_ids, *args, **kwargs)
        return ModelOutput(*(None if isinstance(value, tuple) and not value else value for value in values))

    def construct(self, input_ids, token_type_ids=None, attention_mask=None, rng=None, masked_positions=None):
        """Run the model.

        Args:
            input_ids: int32 `[B, S]`.
            token_type_ids: int32 `[B, S]`; default 0.
            attention_mask: int32 `[B, S]`, 1 where a token stands; default 1.
            rng: None: no dropout (evaluation); otherwise see `kernels/dropout.py`.
            masked_positions: int32 `[M]` indices into `[B*S]`: logits of these positions only.

        Returns:
            `ModelOutput`; inside a graph, what there is not is an empty tuple. (None among a graph's outputs makes
            MindSpore fall back to Python for all of it, and custom operations fail then.)
        """
        if token_type_ids is None:
            token_type_ids = ops.zeros_like(input_ids)
        if attention_mask is None:
            attention_mask = ops.ones_like(input_ids)
        hidden, states, probabilities, scores, _ = self.encoder(input_ids, token_type_ids, attention_mask, rng)
        pooled, predictions, relationship, task = (), (), (), ()
        if self.has_pooler:
            pooled = self.pooler(hidden, rng)
        if self.has_masked_lm:
            rows = hidden if masked_positions is None else self.masked_rows(hidden, masked_positions)
            predictions = self.masked_logits(rows)
        if self.has_next_sentence:
            relationship = self.next_sentence(pooled)
        if self.has_task:
            task = self._task_logits(pooled if self.on_pooled else hidden, rng)
        return ModelOutput(hidden, pooled, predictions, relationship, task, states, probabilities, scores)

    def masked_rows(self, hidden, positions):
        """Rows `[M, H]` of hidden states `[B, S, H]` at positions int32 `[M]`, indices into `[B*S]`."""
        return ops.gather(hidden.reshape((-1, hidden.shape[-1])), positions, 0)

    def masked_logits(self, rows):
        """Prediction logits fp32 `[..., V]` of hidden states `[..., H]`; for a model with a masked-LM head."""
        return self.masked_lm(rows, self.encoder.embeddings.word_embeddings.weight)

    def task_logits(self, hidden, rng=None):
        """Logits fp32 (see `ModelOutput.task_logits`) of hidden states `[B, S, H]`; for a model with a head for a task.

        What stands inside other graphs: there, fields of `ModelOutput` cannot be taken by name.
        """
        return self._task_logits(self.pooler(hidden, rng) if self.on_pooled else hidden, rng)

    def _task_logits(self, values, rng):
        logits = getattr(self, self.head)(values, rng)
        return logits.reshape((-1,)) if self.head == "multiple_choice" else logits
