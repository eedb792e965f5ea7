"""What stands on the encoder: pooler, heads for pretraining, heads for tasks. The pooler counts as a head."""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_plm.config.model import ModelConfig
from ms_plm.kernels import Kernels
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm.models.layers import LayerNorm, Linear
from ms_plm.models.names import TASKS, classifier_pools


class Pooler(nn.Cell):
    """tanh(W h + b) of the first token, `[B, S, H]` to `[B, H]` fp32; as a part of RoBERTa's classifier, of drop(h).

    There all positions are dropped from, though one is read: a plan of dropout has one pooled site, the classifier's.
    """

    def __init__(self, config: ModelConfig, kernels: Kernels, plan: DropoutPlan, head: str) -> None:
        super().__init__()
        size = config.hidden_size
        site = plan.hidden(config.task_dropout_prob, size) if classifier_pools(config, head) else None
        self.dropout = kernels.build("dropout", site=site)
        self.dense = Linear(kernels, size, size, activation="tanh")

    def construct(self, hidden, rng=None):
        return self.dense(self.dropout(hidden, rng)[:, 0]).astype(ms.float32)


class MaskedLMHead(nn.Cell):
    """Dense, activation, LayerNorm, then the product with the word embeddings, which are passed in (tied); fp32."""

    def __init__(self, config: ModelConfig, kernels: Kernels) -> None:
        super().__init__()
        activation = "gelu" if config.model_type == "roberta" else config.hidden_act  # fixed in transformers' RoBERTa
        self.dense = Linear(kernels, config.hidden_size, config.hidden_size, activation)
        self.norm = LayerNorm(kernels, config.hidden_size, config.layer_norm_eps)
        self.bias = Parameter(Tensor(np.zeros(config.vocab_size, np.float32)), name="bias")
        self.linear = kernels.build("linear")

    def transform(self, rows):
        """`[..., H]` to `[..., H]`: what is multiplied with the word embeddings."""
        return self.norm(self.dense(rows))

    def construct(self, rows, embedding):
        return self.linear(self.transform(rows), embedding, self.bias).astype(ms.float32)


class NextSentenceHead(nn.Cell):
    """Two classes from the pooled output, fp32: 0, the second sentence follows; 1, it is a random one."""

    def __init__(self, config: ModelConfig, kernels: Kernels) -> None:
        super().__init__()
        self.dense = Linear(kernels, config.hidden_size, 2)

    def construct(self, pooled):
        return self.dense(pooled).astype(ms.float32)


@dataclass(frozen=True)
class Projection:
    """What takes a student's hidden states to the width of a teacher: linear layers that only distillation reads.

    They stay in the student's folder under the names of TinyBERT's checkpoints, for the next stage to go on with.

    Attributes:
        part: `projection`, one for the embeddings and all layers (TinyBERT v1: fit_dense), or `projections`, one each
            (v2: fit_denses).
        width: the teacher's.
    """

    part: str
    width: int

    def add_to(self, model: nn.Cell) -> None:
        """Give a model its layers, under the name of the part."""
        config, kernels = model.config, model.kernels
        made = [
            Linear(kernels, config.hidden_size, self.width)
            for _ in range(1 if self.part == "projection" else config.num_hidden_layers + 1)
        ]
        setattr(model, self.part, made[0] if self.part == "projection" else nn.CellList(made))


TASK_HEADS = tuple(TASKS)
"""Heads that are trained for a task: one linear layer, which Hugging Face's classes `...For<Task>` have as well."""
LABELLED = ("sequence_classification", "token_classification")
"""Those whose outputs are the labels of the configuration."""
ON_POOLED = ("sequence_classification", "multiple_choice")
"""Those that read the pooled output; the others read every position."""


class TaskHead(nn.Cell):
    """Dropout and a linear layer, logits fp32: `[..., H]` to `[..., L]`.

    As in Hugging Face's `BertFor...`: question answering (start and end) has no dropout, multiple choice one output.
    RoBERTa's `classifier.dense` of sequences is the pooler here.

    Args:
        config: gives the number of labels and the dropout.
        kernels: implementations.
        plan: numbers the dropout site, the model's last.
        head: one of `TASK_HEADS`.
    """

    def __init__(self, config: ModelConfig, kernels: Kernels, plan: DropoutPlan, head: str) -> None:
        super().__init__()
        size, drop = config.hidden_size, config.task_dropout_prob
        outputs = {"question_answering": 2, "multiple_choice": 1}.get(head, config.num_labels)
        site = None
        if head != "question_answering":
            site = plan.pooled(drop, size) if head in ON_POOLED else plan.hidden(drop, size)
        self.dropout = kernels.build("dropout", site=site)
        self.dense = Linear(kernels, size, outputs)

    def construct(self, x, rng=None):
        return self.dense(self.dropout(x, rng)).astype(ms.float32)
