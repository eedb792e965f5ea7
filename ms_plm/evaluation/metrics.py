"""Figures of masked-LM pretraining: pure functions on NumPy arrays, and sums that can be added over batches and ranks.

Definitions: over predicted positions i with weights w_i, loss = sum w_i (-ln p_i) / sum w_i (nats a token),
perplexity = e^loss, accuracy = sum w_i [argmax_i = label_i] / sum w_i.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    """sum w v / sum w in float64; nan where nothing has weight. Values without weight may be anything."""
    weights = np.asarray(weights, np.float64)
    counted = weights > 0
    total = weights[counted].sum()
    return float((np.asarray(values, np.float64)[counted] * weights[counted]).sum() / total) if total else math.nan


def accuracy(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Weighted share of predictions that are the label; nan where nothing has weight."""
    return weighted_mean(np.asarray(predictions) == np.asarray(labels), weights)


def perplexity(loss: float) -> float:
    """e^loss for a mean loss in nats a token; inf beyond what a float holds."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def content_tokens(vocabulary: Sequence[str], excluded_ids: Sequence[int]) -> np.ndarray:
    """Which entries count when punctuation and [UNK] are left out: bool `[V]`.

    Args:
        vocabulary: entries in the order of their ids, as people read them.
        excluded_ids: entries that never count: [UNK] and the other special tokens.

    An entry is punctuation if every character of it, the `##` of a continuation and spaces aside, is of a Unicode
    category P*.
    """
    mask = np.array([not _is_punctuation(entry) for entry in vocabulary], bool)
    mask[list(excluded_ids)] = False
    return mask


def _is_punctuation(entry: str) -> bool:
    text = entry[2:] if entry.startswith("##") and len(entry) > 2 else entry.strip() or entry
    return all(unicodedata.category(character).startswith("P") for character in text)


@dataclass(frozen=True)
class PretrainingSums:
    """Sums over predicted positions and over sequences; those of batches and ranks are added.

    Attributes:
        loss, correct, weight: weighted masked-LM losses, right predictions, and the weights.
        content_correct, content_weight: the same where the label is neither punctuation nor [UNK].
        positions: number of predicted positions.
        next_loss, next_correct, sequences: of next-sentence prediction (0 without it); `sequences` counts always.
    """

    loss: float = 0.0
    correct: float = 0.0
    weight: float = 0.0
    content_correct: float = 0.0
    content_weight: float = 0.0
    positions: float = 0.0
    next_loss: float = 0.0
    next_correct: float = 0.0
    sequences: float = 0.0

    def __add__(self, other: PretrainingSums) -> PretrainingSums:
        return PretrainingSums.from_array(self.as_array() + other.as_array())

    def as_array(self) -> np.ndarray:
        """All sums, float64 `[9]`, in the order of the attributes."""
        return np.array([getattr(self, field.name) for field in fields(self)], np.float64)

    @classmethod
    def from_array(cls, values: np.ndarray) -> PretrainingSums:
        """The inverse of `as_array`."""
        return cls(*(float(value) for value in values))


def masked_sums(
    predictions: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    content: np.ndarray,
    losses: np.ndarray | None = None,
) -> PretrainingSums:
    """Sums over the slots of one batch.

    Args:
        predictions, labels: ids `[M]`.
        weights: `[M]`; slots without weight are unused.
        content: bool `[V]`, see `content_tokens`.
        losses: `[M]`, or None for predictors that give no probabilities.
    """
    used = np.asarray(weights) > 0
    weights, labels = np.asarray(weights, np.float64)[used], np.asarray(labels)[used]
    right = weights * (np.asarray(predictions)[used] == labels)
    counted = content[labels]
    return PretrainingSums(
        loss=math.nan if losses is None else float((np.asarray(losses, np.float64)[used] * weights).sum()),
        correct=float(right.sum()),
        weight=float(weights.sum()),
        content_correct=float(right[counted].sum()),
        content_weight=float(weights[counted].sum()),
        positions=float(used.sum()),
    )


def next_sentence_sums(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> PretrainingSums:
    """Sums over the sequences of one batch: logits `[B, 2]`, labels `[B]`, weights `[B]` (0: a repeated row)."""
    used = np.asarray(weights) > 0
    logits, labels = np.asarray(logits, np.float64)[used], np.asarray(labels)[used]
    losses = -np.take_along_axis(log_softmax(logits), labels[:, None].astype(np.int64), axis=1)
    return PretrainingSums(next_loss=float(losses.sum()), next_correct=float((logits.argmax(-1) == labels).sum()))
