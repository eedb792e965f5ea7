"""What a model returns."""

from __future__ import annotations

from typing import Any, NamedTuple


class ModelOutput(NamedTuple):
    """Named fields; those that were not asked for, or that the head does not have, are None.

    Attributes:
        last_hidden_state: `[B, S, H]` fp32.
        pooler_output: `[B, H]`, tanh of the first position.
        prediction_logits: `[B, S, V]`, or `[M, V]` where masked positions were given.
        seq_relationship_logits: `[B, 2]`; class 0: the second sentence follows the first.
        task_logits: fp32, of a head for a task: sequence_classification `[B, L]`, token_classification `[B, S, L]`,
            question_answering `[B, S, 2]` (start, end), multiple_choice `[B]`, one for each choice.
        hidden_states: embeddings and every layer, `num_hidden_layers + 1` times `[B, S, H]`.
        attentions: every layer's probabilities `[B, N, S, S]`.
        attention_scores: every layer's masked scores before softmax `[B, N, S, S]`.
    """

    last_hidden_state: Any = None
    pooler_output: Any = None
    prediction_logits: Any = None
    seq_relationship_logits: Any = None
    task_logits: Any = None
    hidden_states: Any = None
    attentions: Any = None
    attention_scores: Any = None

    @property
    def logits(self) -> Any:
        """The logits of a model whose head has one kind; None for an encoder, and for `pretraining`, which has two."""
        if self.task_logits is not None:
            return self.task_logits
        return self.prediction_logits if self.seq_relationship_logits is None else None
