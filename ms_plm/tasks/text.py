"""Classes or a number for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import ops

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TextExample
from ms_plm.data.buckets import LabelledSamples
from ms_plm.evaluation.metrics import log_softmax, weighted_mean
from ms_plm.models.model import Model
from ms_plm.tasks.kind import Reading, TaskKind, TaskLoss, TaskSamples, logits_of
from ms_plm.tokenization import Tokenizer

_TOGETHER = 4096
"""Texts that are tokenized at a time."""


class TextLoss(TaskLoss):
    """Cross-entropy in nats, or squared differences of a regression."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.regression = model.config.num_labels == 1

    def scores(self, logits, attention_mask, labels):
        return (logits,)

    def sum_of(self, logits, attention_mask, labels, weights):
        if self.regression:
            difference = logits.reshape((-1,)) - labels
            return ops.reduce_sum(weights * difference * difference)
        return self.cross_entropy_sum(logits, labels, weights)


class TextKind(TaskKind):
    """Classification and regression."""

    head, loss, labelled = "sequence_classification", TextLoss, True

    def samples(self, examples: Sequence[TextExample], tokenizer: Tokenizer, training: bool = False) -> TaskSamples:
        """Tokenized examples; of a pair that is too long the longer text is cut first."""
        texts = [example.text for example in examples]
        pairs = [example.pair or "" for example in examples] if examples[0].pair is not None else None
        numbers, known = label_numbers(examples, self.labels)
        rows = tokenized(texts, pairs, tokenizer, self.limits.max_length)
        return TaskSamples(examples, LabelledSamples(*rows, numbers, known.astype(np.float32), tokenizer.pad_id))

    def read(self, logits: np.ndarray, samples: TaskSamples, threshold: float | None = None) -> Reading:
        """Names of classes, or numbers within the task's bounds."""
        if self.labels is not None:
            return Reading([self.labels[number] for number in logits.argmax(-1)], {})
        values = logits[:, 0].astype(np.float64)
        if self.task.bounds:
            values = np.clip(values, *self.task.bounds)
        return Reading(values.tolist(), {})

    def mean_loss(self, logits: np.ndarray, samples: LabelledSamples) -> float:
        """Of samples that have a label, each counting the same: nats, or the squared difference; nan without any."""
        if logits.shape[1] > 1:
            return super().mean_loss(logits, samples)
        differences = logits[:, 0].astype(np.float64) - samples.labels
        return weighted_mean(differences**2, (samples.weights > 0).astype(np.float64))


def tokenized(
    texts: Sequence[str], pairs: Sequence[str] | None, tokenizer: Tokenizer, max_length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`input_ids`, `token_type_ids` and `starts` of `LabelledSamples`."""
    ids, types, lengths = [], [], []
    for start in range(0, len(texts), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        batch = tokenizer(texts[part], None if pairs is None else pairs[part], max_length)
        real = batch.attention_mask.astype(bool)
        ids.append(batch.input_ids[real])
        types.append(batch.token_type_ids[real])
        lengths.append(real.sum(1))
    return np.concatenate(ids), np.concatenate(types), np.concatenate([[0], np.cumsum(np.concatenate(lengths))])


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


def classify(
    model: Model, tokenizer: Tokenizer, texts: Sequence[tuple[str, str | None]], max_length: int = 128, batch: int = 32
) -> list[dict]:
    """What a fine-tuned model says of texts, or of pairs of them.

    Args:
        model: with the head `sequence_classification`.
        tokenizer: the model's.
        texts: each with its second text or None; all of one kind.
        max_length: longer ones are cut.
        batch: texts at once.

    Returns:
        For each its `text`, `pair`, and `label` with `probabilities` by label, or, of a regression, `value`.

    Raises:
        UserError: some texts have a second one and others do not; the model gives several labels at once.
    """
    if len({pair is None for _, pair in texts}) > 1:
        raise UserError("some texts have a second one (after a tab) and others do not; a task has one kind.")
    check_one_label(model)
    config = model.config
    firsts, pairs = [text for text, _ in texts], [pair for _, pair in texts]
    limit = min(max_length, model.limit or max_length)
    rows = tokenized(firsts, None if pairs[0] is None else pairs, tokenizer, limit)
    nothing = np.zeros(len(texts), np.float32)
    samples = LabelledSamples(*rows, nothing, nothing, tokenizer.pad_id)
    logits = logits_of(model, samples, config.num_labels, batch)
    made = [{"text": text, "pair": pair} for text, pair in texts]
    if config.num_labels == 1:
        return [{**item, "value": float(row[0])} for item, row in zip(made, logits, strict=True)]
    labels = label_names(model)
    for item, row in zip(made, np.exp(log_softmax(logits)), strict=True):
        item["label"] = labels[int(row.argmax())]
        item["probabilities"] = {label: float(value) for label, value in zip(labels, row, strict=True)}
    return made


def check_one_label(model: Model) -> None:
    """Raise a UserError for a model that gives several labels at once: its outputs are no probabilities of classes."""
    if model.config.problem_type == "multi_label_classification":
        raise UserError(
            "problem_type in the model's config.json is multi_label_classification: several labels at once, each yes "
            "or no, which ms_plm neither scores nor predicts. If every text has one, write single_label_classification."
        )


def label_names(model: Model) -> tuple[str, ...]:
    """Labels of a model, `LABEL_0` ... where they have no names."""
    config = model.config
    return config.labels or tuple(f"LABEL_{number}" for number in range(config.num_labels))
