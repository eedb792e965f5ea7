"""What a kind of task adds to the one loop: samples, a head, a loss, and how predictions are read from logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.config.finetuning import TextLimits
from ms_plm.data.benchmarks import BenchmarkTask, Example
from ms_plm.data.buckets import LabelledSamples, in_order, padded_lengths
from ms_plm.evaluation.metrics import log_softmax, weighted_mean
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer

TERM = "task"
"""Name of the loss term."""
INPUTS = ("input_ids", "token_type_ids", "attention_mask")


@dataclass(frozen=True)
class TaskSamples:
    """Examples, and the rows of tokens that a model sees of them.

    Attributes:
        examples: as they are scored.
        rows: the samples.
        windows: what each sample shows, where an example may give several; else empty.
    """

    examples: Sequence[Example]
    rows: LabelledSamples
    windows: Sequence[Any] = ()


class TaskLoss(nn.Cell):
    """The weighted sum of a task's losses over a micro-batch, fp32 `[1]`.

    A kind's own has `scores(logits, attention_mask, labels)`: the head's logits as one or more `[R, C]`, each row's
    class being one of its C, or `sum_of`. For `words` see `ms_plm.training.forward`.

    Args:
        model: with the head of the kind.
    """

    terms = (TERM,)
    inputs = (*INPUTS, "labels", "weights")
    takes_words = True

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model = model
        self.cross_entropy_sum = model.kernels.build("cross_entropy_sum")

    def construct(self, rng, input_ids, token_type_ids, attention_mask, labels, weights, words=None):
        model = self.model
        hidden = model.encoder(input_ids, token_type_ids, attention_mask, rng, words)[0]
        logits = model.task_logits(hidden, rng)
        return ops.stack((self.sum_of(logits, attention_mask, labels, weights),))

    def sum_of(self, logits, attention_mask, labels, weights):
        """Weighted sum of the losses of the head's logits, fp32 scalar; several scores of a sample are averaged."""
        scores = self.scores(logits, attention_mask, labels)
        labels, weights, total = labels.reshape((-1, len(scores))), weights.reshape((-1,)), 0.0
        for number in range(len(scores)):
            total = total + self.cross_entropy_sum(scores[number], labels[:, number], weights)
        return total / len(scores)

    @staticmethod
    def weights_of(arrays: dict) -> dict[str, float]:
        """The term's weight over some samples."""
        return {TERM: float(arrays["weights"].sum(dtype=np.float64))}


class TaskLogits(nn.Cell):
    """What a head says without dropout, for evaluation: fp32, see `ModelOutput.task_logits`."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, input_ids, token_type_ids, attention_mask):
        model = self.model
        hidden = model.encoder(input_ids, token_type_ids, attention_mask)[0]
        return model.task_logits(hidden)


@dataclass(frozen=True)
class Reading:
    """What was read from the logits of a split.

    Attributes:
        predictions: one per example, as `score` and `write_predictions` take them.
        more: figures beside the metrics, such as a threshold that was found.
    """

    predictions: list
    more: dict[str, float]


class TaskKind(ABC):
    """The strategy of a kind of task, for one task.

    Attributes:
        head: of the model, see `ms_plm.models.model.HEADS`.
        loss: the cell that training differentiates.
        labelled: the head has an output a label.

    Args:
        task: metrics and bounds count.
        labels: in the order of their ids; None where there are none.
        limits: of lengths.
    """

    head: str
    loss: type[TaskLoss]
    labelled = False

    def __init__(self, task: BenchmarkTask, labels: Sequence[str] | None, limits: TextLimits) -> None:
        self.task, self.labels, self.limits = task, labels, limits

    @abstractmethod
    def samples(self, examples: Sequence[Example], tokenizer: Tokenizer, training: bool = False) -> TaskSamples:
        """Tokenized examples.

        Args:
            examples: of a split; those without a label have no weight.
            tokenizer: the model's.
            training: examples that cannot be learned from may be left out.

        Raises:
            UserError: an example's label is none of the task's; the limits leave no room.
        """

    @abstractmethod
    def read(self, logits: np.ndarray, samples: TaskSamples, threshold: float | None = None) -> Reading:
        """Predictions for all examples.

        Args:
            logits: `all_logits` of the samples.
            samples: as `samples` gave them.
            threshold: for "no answer", where that is a possible one; None: the best for these examples, see `Reading`.
        """

    def outputs(self, samples: LabelledSamples) -> int:
        """Logits of a sample, or of a token where these have labels."""
        return len(self.labels) if self.labels else 1

    def mean_loss(self, logits: np.ndarray, samples: LabelledSamples) -> float:
        """Cross-entropy in nats over what has a label, each counting the same; nan where nothing has."""
        counted = (samples.weights > 0).astype(np.float64)
        losses = -np.take_along_axis(log_softmax(logits), samples.labels[:, None].astype(np.int64), axis=1)[:, 0]
        return weighted_mean(losses, counted)


def all_logits(
    graph: TaskLogits,
    samples: LabelledSamples,
    lengths: Sequence[int],
    batch: int,
    outputs: int,
    rank: int = 0,
    ranks: int = 1,
) -> np.ndarray:
    """Logits of all samples in their own order.

    Args:
        graph: of the model.
        samples: what to run it on.
        lengths: padded lengths; a graph is compiled for each.
        batch: samples at once; changes no figure.
        outputs: logits of a sample, or of a token where the head speaks of tokens.
        rank, ranks: the part of the batches that is computed here; the others are zeros.

    Returns:
        fp32 `[N, outputs]`, or `[tokens, outputs]` in the layout of `samples.input_ids`.
    """
    graph.set_train(False)
    by_token = not graph.model.on_pooled
    values = np.zeros((samples.starts[-1] if by_token else len(samples), outputs), np.float32)
    for number, (indices, arrays) in enumerate(in_order(samples, lengths, batch)):
        if number % ranks != rank:
            continue
        out = graph(*(Tensor.from_numpy(np.ascontiguousarray(arrays[name])) for name in INPUTS)).asnumpy()
        if by_token:
            for row, index in zip(out, indices, strict=False):  # the last batch is filled up
                first, last = samples.starts[index : index + 2]
                values[first:last] = row[: last - first]
        else:
            values[indices] = out.reshape(batch, outputs)[: len(indices)]
    return values


def logits_of(model: Model, samples: LabelledSamples, outputs: int, batch: int) -> np.ndarray:
    """`all_logits` of a few samples, once, padded to lengths of their own."""
    return all_logits(TaskLogits(model), samples, padded_lengths(samples.lengths), min(batch, len(samples)), outputs)
