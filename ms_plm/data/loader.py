"""Loading masked samples of a corpus: training's updates; held-out batches; previews for the eye.

Where a sample stands, what it holds and how it is masked are functions of (seed, epoch, index), so starting at any
update is arithmetic, and no number of threads, ranks or micro-batches changes anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ms_plm.common import rng
from ms_plm.common.errors import UserError
from ms_plm.data.batches import MaskedBatch, SampleBatch
from ms_plm.data.masking import Masking
from ms_plm.data.order import EpochOrder, keys_of
from ms_plm.data.samples import SampleSource
from ms_plm.data.updates import Arrays, MicroBatches, Ready, Update, Updates, Weigh

Made = tuple[SampleBatch, MaskedBatch, np.ndarray]  # samples, their masks and their dropout keys
_ENOUGH = 256  # samples for which the fixed cost of a vectorised pass no longer counts


@dataclass(frozen=True)
class EvaluationBatch:
    """A held-out batch of static shape; rows beyond `rows` repeat a sample and have no weight.

    Attributes:
        arrays: as an update's micro-batch, without `dropout_keys`.
        sequence_weights: float32 `[b]`, 1 for real rows, 0 for repeated ones.
        rows: number of real rows.
        weights: sums of weights of the loss terms in this batch.
    """

    arrays: Arrays
    sequence_weights: np.ndarray
    rows: int
    weights: dict[str, float]


def _rows(columns: SampleBatch | MaskedBatch, rows: slice) -> Any:
    """Some rows of all arrays of a batch."""
    values = {field.name: getattr(columns, field.name) for field in fields(columns)}
    return replace(columns, **{key: value[rows] for key, value in values.items() if isinstance(value, np.ndarray)})


def _sections(
    batch: SampleBatch, masked: MaskedBatch, size: int, counted: np.ndarray, **more: np.ndarray
) -> Iterator[Arrays]:
    """Cut masked samples into micro-batches of `size` rows.

    Each is a dict of `input_ids`, `token_type_ids`, `attention_mask` int32 `[b, S]`; `masked_positions` int32 `[M]`
    (flat indices into `[b * S]`), `masked_labels` int32 `[M]`, `masked_weights` float32 `[M]` with
    `M = b * masking.largest_count(S)`; `next_sentence_labels` int32 `[b]` (with pairs only); `counted` float32 `[b]`.
    """
    n, length = batch.input_ids.shape
    flat = masked.positions + (np.arange(n, dtype=np.int32) % size * length)[:, None]
    columns: Arrays = {
        "input_ids": masked.input_ids,
        "token_type_ids": batch.token_type_ids,
        "attention_mask": batch.attention_mask,
        "counted": counted,
    }
    if batch.next_sentence_labels is not None:
        columns["next_sentence_labels"] = batch.next_sentence_labels
    columns |= more
    slots = {"masked_positions": flat, "masked_labels": masked.labels, "masked_weights": masked.weights}
    for start in range(0, n, size):
        here = slice(start, start + size)
        yield {key: value[here] for key, value in columns.items()} | {
            key: value[here].reshape(-1) for key, value in slots.items()
        }


def pretraining_weights(arrays: Arrays) -> dict[str, float]:
    """Weights of the terms of pretraining: masked positions, and sequences where these have a label."""
    weights = {"masked_lm": float(arrays["masked_weights"].sum(dtype=np.float64))}
    if "next_sentence_labels" in arrays:
        weights["next_sentence"] = float(arrays["counted"].sum(dtype=np.float64))
    return weights


class UpdateLoader(Updates):
    """Masked samples of a corpus: an update takes `batch` positions of the epochs' order."""

    def __init__(
        self,
        source: SampleSource,
        masking: Masking,
        seed: int,
        *sizes: Any,
        weigh: Weigh = pretraining_weights,
        **more: Any,
    ) -> None:
        """Check the sizes; nothing is read yet.

        Args:
            source: unmasked samples.
            masking: strategy.
            seed: of the order, the masks and the dropout keys.
            weigh: weights of the loss terms over some samples, from their arrays.
            sizes, more: see `Updates`.

        Raises:
            UserError: see `Updates`.
        """
        super().__init__(*sizes, **more)
        self.source, self.masking, self.seed, self.weigh = source, masking, seed, weigh
        self._order = EpochOrder(len(source), seed)
        self._together = max(1, _ENOUGH // self.share)
        self._blocks: dict[int, Made] = {}
        self._lock = threading.Lock()

    @property
    def updates_per_epoch(self) -> float:
        """Updates in which every sample is seen once."""
        return len(self.source) / self.batch

    def positions(self, update: int) -> np.ndarray:
        """This rank's positions in the order, int64 `[batch / ranks]`."""
        start = update * self.batch + self.rank * self.share
        return np.arange(start, start + self.share, dtype=np.int64)

    def load(self, update: int, ready: Ready | None = None) -> Update:
        """Make one update in the calling thread; `ready` as in `MicroBatches`."""
        if self._together == 1:
            made, rows = self._make(range(update, update + 1)), slice(None)
        else:
            first = (update % self._together) * self.share
            made, rows = self._neighbours(update // self._together), slice(first, first + self.share)
        batch, masked, dropout = made
        batch, masked = _rows(batch, rows), _rows(masked, rows)
        counted = np.ones(self.share, np.float32)
        made = list(_sections(batch, masked, self.micro_batch, counted, dropout_keys=dropout[rows]))
        tokens = int(batch.attention_mask.sum())
        (whole,) = _sections(batch, masked, self.share, counted)
        weights = self.weigh(whole)
        return Update(update, weights, tokens, MicroBatches(made, self.finish, ready))

    def _make(self, updates: range) -> Made:
        epochs, indices = self._order(np.concatenate([self.positions(update) for update in updates]))
        batch = self.source.batch(epochs, indices)
        masked = self.masking(batch, keys_of(self.seed, epochs, indices, rng.MASKING))
        return batch, masked, keys_of(self.seed, epochs, indices, rng.DROPOUT)

    def _neighbours(self, block: int) -> Made:
        """Samples of a block of small updates, made together: a vectorised pass costs a millisecond however small."""
        with self._lock:
            if block not in self._blocks:
                updates = range(block * self._together, (block + 1) * self._together)
                self._blocks = {block: self._make(updates)} | dict(list(self._blocks.items())[: self.workers])
            return self._blocks[block]


class EvaluationBatches:
    """Held-out samples, each once, under masks that never change (those of epoch 0 with this seed).

    Iterating gives `EvaluationBatch`es of one static shape. With several ranks each takes its contiguous part of
    every `ranks * batch` samples, and all have the same number of batches.
    """

    def __init__(
        self,
        source: SampleSource,
        masking: Masking,
        seed: int,
        batch: int,
        samples: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        finish: Callable[[Arrays], Arrays] | None = None,
    ) -> None:
        """Choose the samples: all, or `samples` of them drawn by `seed`; they are read in their own order."""
        self.source, self.masking, self.seed, self.batch = source, masking, seed, batch
        self.rank, self.ranks, self.finish = rank, ranks, finish
        count = len(source) if samples is None else min(samples, len(source))
        self._indices = np.sort(EpochOrder(len(source), seed)(np.arange(count))[1])

    @property
    def samples(self) -> int:
        """How many samples are read, over all ranks."""
        return len(self._indices)

    def __len__(self) -> int:
        return -(-self.samples // (self.batch * self.ranks))

    def __iter__(self) -> Iterator[EvaluationBatch]:
        for number in range(len(self)):
            start = (number * self.ranks + self.rank) * self.batch
            rows = max(0, min(self.batch, self.samples - start))
            indices = np.resize(self._indices[start : start + rows] if rows else self._indices[:1], self.batch)
            epochs = np.zeros(self.batch, np.int64)
            batch = self.source.batch(epochs, indices)
            masked = self.masking(batch, keys_of(self.seed, epochs, indices, rng.MASKING))
            masked.weights[rows:] = 0
            real = (np.arange(self.batch) < rows).astype(np.float32)
            (arrays,) = _sections(batch, masked, self.batch, real)
            weights = pretraining_weights(arrays)
            arrays = self.finish(arrays) if self.finish else arrays
            yield EvaluationBatch(arrays, real, rows, weights)


def preview(source: SampleSource, masking: Masking, seed: int, count: int) -> list[str]:
    """The first `count` masked samples of epoch 0 as text, for `ms-plm inspect`.

    Tokens are separated by spaces; a position that is predicted reads `{true token|shown token}`; padding is left
    out; with pairs the label stands at the end.

    Raises:
        UserError: the source has no tokenizer to decode with.
    """
    tokenizer = source.tokenizer
    if tokenizer is None:
        raise UserError("There is no vocabulary to decode the samples with: name its folder or vocab.txt.")
    count = min(count, len(source))
    epochs, indices = EpochOrder(len(source), seed)(np.arange(count))
    batch = source.batch(epochs, indices)
    masked = masking(batch, keys_of(seed, epochs, indices, rng.MASKING))
    texts = []
    for row in range(count):
        shown = tokenizer.tokens(masked.input_ids[row][batch.attention_mask[row] == 1].tolist())
        real = masked.weights[row] > 0
        labels = tokenizer.tokens(masked.labels[row][real].tolist())
        for position, label in zip(masked.positions[row][real], labels, strict=True):
            shown[position] = f"{{{label}|{shown[position]}}}"
        if batch.next_sentence_labels is not None:
            shown.append("-> random next" if batch.next_sentence_labels[row] else "-> next")
        texts.append(" ".join(shown))
    return texts
