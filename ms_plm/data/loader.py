"""Loading: whole updates in order, prepared ahead by threads; held-out batches; previews for the eye.

Where a sample stands, what it holds and how it is masked are functions of (seed, epoch, index), so starting at any
update is arithmetic, and no number of threads, ranks or micro-batches changes anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from ms_plm.common import rng
from ms_plm.common.errors import UserError
from ms_plm.data.batches import MaskedBatch, SampleBatch
from ms_plm.data.masking import Masking
from ms_plm.data.order import EpochOrder, keys_of
from ms_plm.data.samples import SampleSource

Arrays = dict[str, Any]  # NumPy arrays until `finish` makes of them what the device wants
Made = tuple[SampleBatch, MaskedBatch, np.ndarray]  # samples, their masks and their dropout keys
_ENOUGH = 256  # samples for which the fixed cost of a vectorised pass no longer counts


@dataclass(frozen=True)
class Update:
    """What one rank computes for one update of the weights.

    Attributes:
        index: number of the update, from 0.
        weights: this rank's sum of weights of each loss term over the update: `masked_lm` (weights of masked
            positions) and, with pairs, `next_sentence` (sequences).
        tokens: non-padding tokens of this rank.
        micro_batches: dicts of `input_ids`, `token_type_ids`, `attention_mask` int32 `[b, S]`; `masked_positions`
            int32 `[M]` (flat indices into `[b * S]`), `masked_labels` int32 `[M]`, `masked_weights` float32 `[M]` with
            `M = b * masking.largest_count(S)`; `next_sentence_labels` int32 `[b]` (with pairs only); `dropout_keys`
            int32 `[b, 2]`. See `MicroBatches`.
    """

    index: int
    weights: dict[str, float]
    tokens: int
    micro_batches: MicroBatches


class MicroBatches(Sequence[Arrays]):
    """The micro-batches of an update: each is finished when it is taken, or shortly before by the loader's threads.

    Nothing finished is kept, so memory does not grow with the number of micro-batches: the dropout masks of one are
    many times larger than its samples. One that is taken again is finished again.
    """

    def __init__(
        self,
        made: list[Arrays],
        finish: Callable[[Arrays], Arrays] | None,
        ready: Callable[[int], Future[Arrays] | None] | None = None,
    ) -> None:
        """Take samples, what finishes them, and where those that were finished ahead are found by their number."""
        self._made, self._finish, self._ready = made, finish, ready

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, number: int) -> Arrays:
        number = range(len(self))[number]
        ready = self._ready(number) if self._ready else None
        return self.finished(number) if ready is None else ready.result()

    def finished(self, number: int) -> Arrays:
        """Finish one in the calling thread."""
        arrays = self._made[number]
        return self._finish(dict(arrays)) if self._finish else arrays


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


def _sections(batch: SampleBatch, masked: MaskedBatch, size: int, **more: np.ndarray) -> Iterator[Arrays]:
    """Cut masked samples into micro-batches of `size` rows with flat masked positions."""
    n, length = batch.input_ids.shape
    flat = masked.positions + (np.arange(n, dtype=np.int32) % size * length)[:, None]
    columns: Arrays = {
        "input_ids": masked.input_ids,
        "token_type_ids": batch.token_type_ids,
        "attention_mask": batch.attention_mask,
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


def _weights(batch: SampleBatch, masked: MaskedBatch, rows: int) -> dict[str, float]:
    weights = {"masked_lm": float(masked.weights[:rows].sum(dtype=np.float64))}
    if batch.next_sentence_labels is not None:
        weights["next_sentence"] = float(rows)
    return weights


class UpdateLoader:
    """All micro-batches of one rank, update by update, for ever.

    An update takes `batch` positions of the epochs' order; rank r the r-th contiguous part of them, micro-batch m the
    m-th contiguous part of that.
    """

    def __init__(
        self,
        source: SampleSource,
        masking: Masking,
        seed: int,
        batch: int,
        micro_batch: int,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 1,
        finish: Callable[[Arrays], Arrays] | None = None,
    ) -> None:
        """Check the sizes; nothing is read yet.

        Args:
            source: unmasked samples.
            masking: strategy.
            seed: of the order, the masks and the dropout keys.
            batch: sequences per update over all ranks.
            micro_batch: sequences per rank and forward.
            rank, ranks: which part of each update is this process's.
            workers: threads that prepare ahead, up to `workers + 1` updates and as many finished micro-batches; 0: the
                calling thread does it.
            finish: what is done to each micro-batch (a copy of its dict) shortly before it is used.

        Raises:
            UserError: `batch` is not a multiple of `ranks * micro_batch`.
        """
        if batch % (ranks * micro_batch):
            raise UserError(sizes_that_would_do(batch, micro_batch, ranks))
        self.source, self.masking, self.seed, self.batch, self.micro_batch = source, masking, seed, batch, micro_batch
        self.rank, self.ranks, self.workers, self.finish = rank, ranks, workers, finish
        self._order = EpochOrder(len(source), seed)
        self._share = batch // ranks
        self._together = max(1, _ENOUGH // self._share)
        self._blocks: dict[int, Made] = {}
        self._lock = threading.Lock()

    @property
    def updates_per_epoch(self) -> float:
        """Updates in which every sample is seen once."""
        return len(self.source) / self.batch

    def positions(self, update: int) -> np.ndarray:
        """This rank's positions in the order, int64 `[batch / ranks]`."""
        start = update * self.batch + self.rank * self._share
        return np.arange(start, start + self._share, dtype=np.int64)

    def load(self, update: int, ready: Callable[[int], Future[Arrays] | None] | None = None) -> Update:
        """Make one update in the calling thread; `ready` as in `MicroBatches`."""
        if self._together == 1:
            made, rows = self._make(range(update, update + 1)), slice(None)
        else:
            first = (update % self._together) * self._share
            made, rows = self._neighbours(update // self._together), slice(first, first + self._share)
        batch, masked, dropout = made
        batch, masked = _rows(batch, rows), _rows(masked, rows)
        made = list(_sections(batch, masked, self.micro_batch, dropout_keys=dropout[rows]))
        tokens = int(batch.attention_mask.sum())
        weights = _weights(batch, masked, self._share)
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

    def updates(self, start: int = 0, stop: int | None = None) -> Iterator[Update]:
        """Updates `start`, `start + 1` ... in order, up to but not including `stop`.

        What a thread raises is raised here, with its own type, when its update is due; what `finish` raises, when its
        micro-batch is taken. Closing the generator drops what was prepared ahead.
        """
        if self.workers == 0:
            update = start
            while stop is None or update < stop:
                yield self.load(update)
                update += 1
            return
        ahead = _Ahead(self, start, stop)
        try:
            while (update := ahead.next()) is not None:
                yield update
        finally:
            ahead.close()


class _Ahead:
    """Has threads make what will be wanted next: `workers + 1` updates, and as many finished micro-batches.

    Used by one thread, that of the caller. Tasks begin in the order in which they are handed in, so a finishing task
    waits only for an update that another thread is making.
    """

    def __init__(self, loader: UpdateLoader, start: int, stop: int | None) -> None:
        self.loader, self.stop = loader, stop
        self._pool = ThreadPoolExecutor(loader.workers, thread_name_prefix="loader")
        self._parts = loader.batch // (loader.ranks * loader.micro_batch)  # micro-batches of an update
        self._due, self._next_update, self._next_part = start, start, start * self._parts
        self._updates: dict[int, Future[Update]] = {}
        self._finished: dict[int, Future[Arrays]] = {}  # by update * parts + number

    def next(self) -> Update | None:
        """The next update; None at the end."""
        for part in [part for part in self._finished if part < self._due * self._parts]:  # were never taken
            self._finished.pop(part).cancel()
        self._updates.pop(self._due - 1, None)
        self._next_part = max(self._next_part, self._due * self._parts)
        self._hand_in()
        if self._due not in self._updates:
            return None
        self._due += 1
        return self._updates[self._due - 1].result()

    def _hand_in(self) -> None:
        """Fill both queues. The update in use does not count as waiting."""
        workers = self.loader.workers
        while self._next_update <= self._due + workers and (self.stop is None or self._next_update < self.stop):
            update = self._next_update
            self._updates[update] = self._pool.submit(self.loader.load, update, partial(self._ready, update))
            self._next_update += 1
        while self.loader.finish and len(self._finished) <= workers:
            update, number = divmod(self._next_part, self._parts)
            if update not in self._updates:
                return
            self._finished[self._next_part] = self._pool.submit(_finish_part, self._updates[update], number)
            self._next_part += 1

    def _ready(self, update: int, number: int) -> Future[Arrays] | None:
        """A micro-batch that was finished ahead; another takes its place in the queue."""
        future = self._finished.pop(update * self._parts + number, None)
        if future is not None:
            self._hand_in()
        return future

    def close(self) -> None:
        """End the threads and forget what they made."""
        self._finished.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _finish_part(update: Future[Update], number: int) -> Arrays:
    return update.result().micro_batches.finished(number)


def sizes_that_would_do(batch: int, micro_batch: int, ranks: int) -> str:
    step = ranks * micro_batch
    below, above = batch // step * step, -(-batch // step) * step
    batches = f"{below} or {above}" if below else f"{above}"
    advice = f"Set train.batch to {batches}"
    if batch % ranks == 0:
        share = batch // ranks
        fitting = [size for size in range(1, share + 1) if share % size == 0]
        near = [max(size for size in fitting if size <= micro_batch), *[s for s in fitting if s > micro_batch][:1]]
        advice += f", or impl.micro_batch to {' or '.join(map(str, near))}"
    return (
        f"train.batch {batch} is not a multiple of {step} (impl.micro_batch {micro_batch} x {ranks} "
        f"process{'es' if ranks > 1 else ''}): updates must divide into equal forwards. {advice}."
    )


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
            (arrays,) = _sections(batch, masked, self.batch)
            real = (np.arange(self.batch) < rows).astype(np.float32)
            arrays = self.finish(arrays) if self.finish else arrays
            yield EvaluationBatch(arrays, real, rows, _weights(batch, masked, rows))


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
