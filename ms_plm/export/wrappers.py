"""Cells with plain tensors in and out, in a documented order: what a deployed graph computes."""

from __future__ import annotations

from mindspore import nn

from ms_plm.models.heads import TASK_HEADS
from ms_plm.models.model import Model

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
"""All int32 `[B, S]`."""


class EncoderGraph(nn.Cell):
    """`last_hidden_state [B, S, H]` and, where the model has a pooler, `pooler_output [B, H]`, fp32."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.pooled = model, model.has_pooler
        self.output_names = ("last_hidden_state", "pooler_output")[: 1 + model.has_pooler]

    def construct(self, input_ids, token_type_ids, attention_mask):
        hidden = self.model.encoder(input_ids, token_type_ids, attention_mask)[0]
        if not self.pooled:
            return hidden
        return hidden, self.model.pooler(hidden)


class MaskedLMGraph(nn.Cell):
    """`prediction_logits [B, S, V]`, fp32."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.output_names = model, ("prediction_logits",)

    def construct(self, input_ids, token_type_ids, attention_mask):
        model = self.model
        return model.masked_logits(model.encoder(input_ids, token_type_ids, attention_mask)[0])


class TaskGraph(nn.Cell):
    """`logits` of a head for a task, fp32: `ModelOutput.task_logits` says in which shapes."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.output_names = model, ("logits",)

    def construct(self, input_ids, token_type_ids, attention_mask):
        model = self.model
        return model.task_logits(model.encoder(input_ids, token_type_ids, attention_mask)[0])


GRAPHS = {"encoder": EncoderGraph, "masked_lm": MaskedLMGraph, **dict.fromkeys(TASK_HEADS, TaskGraph)}
"""By the name of the head."""
