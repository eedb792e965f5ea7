"""A tiny model with a head, and its logits, for tests of the kinds of task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tiny_run
from mindspore import Tensor

from ms_plm.config.model import ModelConfig
from ms_plm.data.buckets import LabelledSamples
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tasks.kind import INPUTS, TaskKind


def tiny_model(head: str, labels: Sequence[str] | None = None) -> Model:
    """One layer; weights large enough for logits to differ."""
    config = ModelConfig(
        vocab_size=len(tiny_run.VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.3,
    ).with_labels(labels)
    return Model(config, head, Kernels(Call(training=True))).initialise(5)


def loss_of(kind: TaskKind, model: Model, samples: LabelledSamples, weights: np.ndarray | None, length: int) -> float:
    """What training adds up over all samples, padded to a length, without dropout."""
    arrays = samples.rows(np.arange(len(samples)), length)
    if weights is not None:
        arrays["weights"] = weights
    inputs = [Tensor(arrays[name]) for name in (*INPUTS, "labels", "weights")]
    return float(kind.loss(model)(None, *inputs).asnumpy()[0])


def cross_entropy(scores: np.ndarray, label: int) -> float:
    """-log softmax(scores)[label] in float64."""
    scores = np.asarray(scores, np.float64)
    return float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[label])
