"""Classes or a number for a text or a pair of texts: samples, loss, predictions."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, BenchmarkTask, TextExample
from ms_plm.data.buckets import LabelledSamples, in_order, padded_lengths
from ms_plm.evaluation.metrics import log_softmax, weighted_mean
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer

HEAD = "sequence_classification"
TERM = "task"
_TOGETHER = 4096
"""Texts that are tokenized at a time."""


def named_task(name: str) -> BenchmarkTask:
    """A benchmark's task whose answer is a class or a number.

    Raises:
        UserError: there is none of that name, or it is of another kind.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"task: no task {name!r}.{hint} There are {', '.join(sorted(TASKS))}.")
    task = TASKS[name]
    if task.kind not in ("classification", "regression"):
        raise UserError(
            f"task: {name} is a task of {task.kind.replace('_', ' ')}; expected one of classification or regression."
        )
    return task


def samples_of(
    examples: Sequence[TextExample],
    labels: Sequence[str] | None,
    tokenizer: Tokenizer,
    max_length: int,
    class_weights: np.ndarray | None = None,
) -> LabelledSamples:
    """Tokenized examples.

    Args:
        examples: of a task; those without a label get class 0 and no weight.
        labels: classes in the order of their ids; None: labels are numbers.
        tokenizer: the model's.
        max_length: S; longer texts are cut, of a pair the longer one first.
        class_weights: float `[classes]`, see `balanced_weights`.

    Raises:
        UserError: an example's class is none of `labels`.
    """
    ids, types, lengths = [], [], []
    for start in range(0, len(examples), _TOGETHER):
        part = examples[start : start + _TOGETHER]
        pairs = [example.pair or "" for example in part] if part[0].pair is not None else None
        batch = tokenizer([example.text for example in part], pairs, max_length)
        real = batch.attention_mask.astype(bool)
        ids.append(batch.input_ids[real])
        types.append(batch.token_type_ids[real])
        lengths.append(real.sum(1))
    numbers, known = label_numbers(examples, labels)
    weights = known.astype(np.float32)
    if class_weights is not None:
        weights *= class_weights[numbers].astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return LabelledSamples(np.concatenate(ids), np.concatenate(types), starts, numbers, weights, tokenizer.pad_id)


def label_numbers(examples: Sequence[TextExample], labels: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Ids int32 `[N]` or numbers float32 `[N]`, and where there is a label, bool `[N]`."""
    known = np.array([example.label is not None for example in examples], bool)
    if labels is None:
        return np.array([example.label or 0.0 for example in examples], np.float32), known
    numbers = {name: number for number, name in enumerate(labels)}
    strange = [example for example in examples if example.label is not None and example.label not in numbers]
    if strange:
        raise UserError(
            f"example {strange[0].id}: class {strange[0].label!r}; expected one of {', '.join(map(repr, labels))}."
        )
    return np.array([numbers.get(example.label, 0) for example in examples], np.int32), known


def balanced_weights(numbers: np.ndarray, classes: int) -> np.ndarray:
    """Weight of every class, float `[classes]`, by which all count the same in sum: N / (classes x count)."""
    counts = np.bincount(numbers, minlength=classes)
    return len(numbers) / (classes * np.maximum(counts, 1))


class TextLoss(nn.Cell):
    """The weighted sum of losses over a micro-batch, fp32 `[1]`: cross-entropy in nats, or squared differences.

    Args:
        model: with the head `HEAD`.
    """

    terms = (TERM,)
    inputs = ("input_ids", "token_type_ids", "attention_mask", "labels", "weights")

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.regression = model, model.config.num_labels == 1
        self.cross_entropy_sum = model.kernels.build("cross_entropy_sum")

    def construct(self, rng, input_ids, token_type_ids, attention_mask, labels, weights):
        model = self.model
        hidden = model.encoder(input_ids, token_type_ids, attention_mask, rng)[0]
        logits = model.task_logits(hidden, rng)
        if self.regression:
            difference = logits.reshape((-1,)) - labels
            return ops.stack((ops.reduce_sum(weights * difference * difference),))
        return ops.stack((self.cross_entropy_sum(logits, labels, weights),))


class TextLogits(nn.Cell):
    """Logits fp32 `[B, L]` without dropout, for evaluation."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, input_ids, token_type_ids, attention_mask):
        model = self.model
        hidden = model.encoder(input_ids, token_type_ids, attention_mask)[0]
        return model.task_logits(hidden)


def predictions(logits: np.ndarray, labels: Sequence[str] | None, task: BenchmarkTask | None = None) -> list:
    """Names of classes, or numbers within the task's bounds, from logits `[N, L]`."""
    if labels is not None:
        return [labels[number] for number in logits.argmax(-1)]
    values = logits[:, 0].astype(np.float64)
    if task is not None and task.bounds:
        values = np.clip(values, *task.bounds)
    return values.tolist()


def mean_loss(logits: np.ndarray, samples: LabelledSamples) -> float:
    """Of samples that have a label, each counting the same: nats, or the squared difference; nan where none has."""
    counted = (samples.weights > 0).astype(np.float64)
    if logits.shape[1] == 1:
        return weighted_mean((logits[:, 0].astype(np.float64) - samples.labels) ** 2, counted)
    losses = -np.take_along_axis(log_softmax(logits), samples.labels[:, None].astype(np.int64), axis=1)[:, 0]
    return weighted_mean(losses, counted)


def classify(
    model: Model, tokenizer: Tokenizer, texts: Sequence[tuple[str, str | None]], max_length: int = 128, batch: int = 32
) -> list[dict]:
    """What a fine-tuned model says of texts, or of pairs of them.

    Args:
        model: with the head `HEAD`.
        tokenizer: the model's.
        texts: each with its second text or None; all of one kind.
        max_length: longer ones are cut.
        batch: texts at once.

    Returns:
        For each its `text`, `pair`, and `label` with `probabilities` by label, or, of a regression, `value`.

    Raises:
        UserError: some texts have a second one and others do not.
    """
    if len({pair is None for _, pair in texts}) > 1:
        raise UserError("some texts have a second one (after a tab) and others do not; a task has one kind.")
    examples = [TextExample(str(number), text, pair, None) for number, (text, pair) in enumerate(texts)]
    config = model.config
    limit = min(max_length, model.limit or max_length)
    samples = samples_of(examples, None, tokenizer, limit)
    logits = all_logits(
        TextLogits(model), samples, padded_lengths(samples.lengths), min(batch, len(texts)), config.num_labels
    )
    made = [{"text": text, "pair": pair} for text, pair in texts]
    if config.num_labels == 1:
        return [{**item, "value": float(row[0])} for item, row in zip(made, logits, strict=True)]
    labels = config.labels or tuple(f"LABEL_{number}" for number in range(config.num_labels))
    for item, row in zip(made, np.exp(log_softmax(logits)), strict=True):
        item["label"] = labels[int(row.argmax())]
        item["probabilities"] = {label: float(value) for label, value in zip(labels, row, strict=True)}
    return made


def all_logits(
    graph: TextLogits,
    samples: LabelledSamples,
    lengths: Sequence[int],
    batch: int,
    outputs: int,
    rank: int = 0,
    ranks: int = 1,
) -> np.ndarray:
    """Logits of all samples in their own order, fp32 `[N, outputs]`; zeros for the batches of other ranks."""
    graph.set_train(False)
    values = np.zeros((len(samples), outputs), np.float32)
    for number, (indices, arrays) in enumerate(in_order(samples, lengths, batch)):
        if number % ranks == rank:
            names = ("input_ids", "token_type_ids", "attention_mask")
            out = graph(*(Tensor.from_numpy(np.ascontiguousarray(arrays[name])) for name in names))
            values[indices] = out.asnumpy()[: len(indices)]
    return values
