"""Updates of labelled samples of similar length, so that little is padded and few graphs are compiled.

Which samples share an update, and to what length it is padded, is a function of (seed, epoch) and the samples' lengths
alone: micro-batches and devices change neither, nor masks and dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ms_plm.common import rng
from ms_plm.data.order import EpochOrder, keys_of
from ms_plm.data.updates import Arrays, MicroBatches, Ready, Update, Updates, Weigh

STEP = 8
"""Padded lengths are multiples of it."""
MOST = 6
"""Largest number of padded lengths: each is a graph to compile."""
WORTH = 0.05
"""Share of all padded tokens that one more length must save."""
_POOL = 50
"""Updates whose samples are sorted together: more would fit better, fewer are more random."""


@dataclass(frozen=True)
class LabelledSamples:
    """Tokenized samples with what the loss needs of them. A sample is one row of tokens, or `rows_each` of them.

    Attributes:
        input_ids, token_type_ids: int32, the rows of all samples behind one another.
        starts: int64 `[N * rows_each + 1]`, where each row begins; a row that a sample lacks has no tokens.
        labels: of samples, `[N, ...]` int32 (class, positions) or float32 (number); of tokens, int32 as `input_ids`.
        weights: float32 `[N]`, of each sample in the loss; of tokens, as `input_ids`.
        pad_id: what rows are filled up with.
        rows_each: rows of a sample.
        by_token: labels and weights are those of tokens.
        targets: float32 logits to be learned, `[N, C]`, or of tokens `[tokens, C]` as `input_ids`; or None.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    pad_id: int
    rows_each: int = 1
    by_token: bool = False
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return (len(self.starts) - 1) // self.rows_each

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sample's longest row, int64 `[N]`."""
        return np.diff(self.starts).reshape(-1, self.rows_each).max(1)

    def rows_of(self, indices: np.ndarray) -> np.ndarray:
        """Rows of samples, int64 `[n * rows_each]`."""
        return (indices[:, None] * self.rows_each + np.arange(self.rows_each)).reshape(-1)

    def rows(self, indices: np.ndarray, length: int) -> Arrays:
        """Samples padded to a length.

        Returns:
            `input_ids`, `token_type_ids`, `attention_mask` int32 `[n * rows_each, length]`; `labels` and `weights`
            `[n, ...]`, or `[n, length]` where tokens have them, 0 at padding; with targets these, `[n, C]` or
            `[n * rows_each, length, C]`.
        """
        columns, rows = np.arange(length), self.rows_of(indices)
        starts = self.starts[rows, None]
        real = columns < self.starts[rows + 1, None] - starts
        at = np.where(real, starts + columns, 0)

        def filled(values: np.ndarray, empty: int) -> np.ndarray:
            return np.where(real, values[at], empty).astype(values.dtype)

        tokens, more = self.by_token, {}
        if self.targets is not None:
            of_tokens = len(self.targets) == len(self.input_ids)
            more["targets"] = self.targets[at] * real[..., None] if of_tokens else self.targets[indices]
        return {
            **more,
            "input_ids": filled(self.input_ids, self.pad_id),
            "token_type_ids": filled(self.token_type_ids, 0),
            "attention_mask": real.astype(np.int32),
            "labels": filled(self.labels, 0) if tokens else self.labels[indices],
            "weights": filled(self.weights, 0) if tokens else self.weights[indices],
        }


def padded_lengths(lengths: np.ndarray, most: int = MOST) -> tuple[int, ...]:
    """The lengths to which samples are padded, rising: at most `most`, fewer where one more would save little.

    For every number of lengths the best ones are found exactly (dynamic programming over multiples of `STEP`).

    Args:
        lengths: of the samples, int `[N]`, all above 0.
        most: of lengths.
    """
    steps = -(-np.asarray(lengths, np.int64) // STEP)
    counts = np.bincount(steps)  # by the smallest multiple that holds a sample
    top = len(counts) - 1
    below = np.concatenate(([0], np.cumsum(counts)))  # samples of fewer than i steps
    cost = np.full((most + 1, top + 1), np.inf)
    cost[0, 0] = 0
    choice = np.zeros((most + 1, top + 1), np.int64)
    for used in range(1, most + 1):
        for end in range(1, top + 1):
            options = cost[used - 1, :end] + end * (below[end + 1] - below[1 : end + 1])
            choice[used, end] = int(np.argmin(options))
            cost[used, end] = options[choice[used, end]]
    best = cost[1:, top].min()
    used = next(n for n in range(1, most + 1) if cost[n, top] <= (1 + WORTH) * best)
    found, end = [], top
    while end > 0:
        found.append(int(end * STEP))
        end, used = choice[used, end], used - 1
    return tuple(reversed(found))


class BucketedLoader(Updates):
    """Updates of labelled samples, each padded to one of a few lengths.

    An epoch takes every sample once. Its samples are shuffled, those of `_POOL` updates at a time sorted by length and
    cut into updates, which are shuffled again; the last update is filled up with samples that have no weight.

    Args:
        samples: what to train on.
        seed: of the order and the dropout keys.
        lengths: padded lengths, rising; the last one holds every sample.
        weigh: weights of the loss terms over some samples, from their arrays.
        sizes, more: see `Updates`.
    """

    def __init__(
        self, samples: LabelledSamples, seed: int, lengths: Sequence[int], weigh: Weigh, *sizes: Any, **more: Any
    ) -> None:
        super().__init__(*sizes, **more)
        self.samples, self.seed, self.lengths, self.weigh = samples, seed, np.array(lengths), weigh
        self._order = EpochOrder(len(samples), seed)
        self._epoch: tuple[int, np.ndarray] | None = None

    @property
    def updates_per_epoch(self) -> int:
        """Updates in which every sample is seen once."""
        return -(-len(self.samples) // self.batch)

    def largest(self) -> Arrays:
        """A micro-batch, finished, that no other one of this process exceeds in length."""
        longest = self.samples.lengths[_indices(self._updates_of(0))].max(1)
        return self.load(int(longest.argmax())).micro_batches[0]

    def load(self, update: int, ready: Ready | None = None) -> Update:
        """Make one update in the calling thread; `ready` as in `MicroBatches`."""
        epoch, number = divmod(update, self.updates_per_epoch)
        whole = self._updates_of(epoch)[number]
        longest = self.samples.lengths[_indices(whole)].max()
        own = whole[self.rank * self.share : (self.rank + 1) * self.share]
        indices, counted = _indices(own), own >= 0
        arrays = self.samples.rows(indices, int(self.lengths[np.searchsorted(self.lengths, longest)]))
        arrays["weights"][~counted] = 0
        arrays["counted"] = counted.astype(np.float32)
        rows = self.samples.rows_of(indices)
        arrays["dropout_keys"] = keys_of(self.seed, np.full(len(rows), epoch), rows, rng.DROPOUT)
        made = [self._part(arrays, start) for start in range(0, self.share, self.micro_batch)]
        tokens = int(arrays["attention_mask"].reshape(self.share, -1)[counted].sum())
        return Update(update, self.weigh(arrays), tokens, MicroBatches(made, self.finish, ready))

    def _part(self, arrays: Arrays, start: int) -> Arrays:
        """The micro-batch of the samples from `start` on, of arrays with one or more rows a sample."""
        part = {}
        for name, values in arrays.items():
            rows = len(values) // self.share
            part[name] = values[start * rows : (start + self.micro_batch) * rows]
        return part

    def _updates_of(self, epoch: int) -> np.ndarray:
        """Samples of every update of an epoch, int64 `[updates, batch]`; ~i is sample i without weight."""
        known = self._epoch
        if known is not None and known[0] == epoch:
            return known[1]
        count, total = len(self.samples), self.updates_per_epoch
        order = self._order(epoch * count + np.arange(count))[1]
        filled = np.concatenate([order, ~np.resize(order, total * self.batch - count)])
        lengths = self.samples.lengths[_indices(filled)]
        pool = np.arange(len(filled)) // (_POOL * self.batch)
        updates = filled[np.lexsort((lengths, pool))].reshape(total, self.batch)
        shuffled = updates[EpochOrder(total, self.seed)(epoch * total + np.arange(total))[1]]
        self._epoch = (epoch, shuffled)
        return shuffled


def _indices(samples: np.ndarray) -> np.ndarray:
    """Which samples these are, with weight or without."""
    return np.where(samples < 0, ~samples, samples)


def in_order(
    samples: LabelledSamples, lengths: Sequence[int], batch: int, finish: Callable[[Arrays], Arrays] | None = None
) -> Iterator[tuple[np.ndarray, Arrays]]:
    """Every sample once, from the shortest on: indices `[n]` and arrays of `batch` samples; those beyond n repeat."""
    order = np.argsort(samples.lengths, kind="stable")
    for start in range(0, len(order), batch):
        indices = order[start : start + batch]
        longest = samples.lengths[indices].max()
        length = next((known for known in lengths if known >= longest), int(longest))
        arrays = samples.rows(np.resize(indices, batch), length)
        yield indices, finish(arrays) if finish else arrays
