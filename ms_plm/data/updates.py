"""Whole updates in order, prepared ahead by threads, whatever they are made of.

Where an update's samples stand and what they hold is arithmetic, so starting at any update costs nothing, and no number
of threads, ranks or micro-batches changes anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from ms_plm.common.errors import UserError

Arrays = dict[str, Any]  # NumPy arrays until `finish` makes of them what the device wants
Weigh = Callable[[Arrays], dict[str, float]]
Ready = Callable[[int], "Future[Arrays] | None"]


@dataclass(frozen=True)
class Update:
    """What one rank computes for one update of the weights.

    Attributes:
        index: number of the update, from 0.
        weights: this rank's sum of weights of each loss term over the update.
        tokens: non-padding tokens of this rank.
        micro_batches: dicts of arrays, with `dropout_keys` int32 `[b, 2]` and `counted` float32, 1 for samples that
            count and 0 for those that only fill up. See `MicroBatches`.
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


class Updates(ABC):
    """All micro-batches of one rank, update by update, for ever.

    An update takes `batch` samples; rank r has the r-th contiguous part of them, micro-batch m the m-th contiguous part
    of that.

    Args:
        batch: sequences per update over all ranks.
        micro_batch: sequences per rank and forward.
        rank, ranks: which part of each update is this process's.
        workers: threads that prepare ahead, up to `workers + 1` updates and as many finished micro-batches; 0: the
            calling thread does it.
        finish: what is done to each micro-batch (a copy of its dict) shortly before it is used.

    Raises:
        UserError: `batch` is not a multiple of `ranks * micro_batch`.
    """

    def __init__(
        self,
        batch: int,
        micro_batch: int,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 1,
        finish: Callable[[Arrays], Arrays] | None = None,
    ) -> None:
        if batch % (ranks * micro_batch):
            raise UserError(sizes_that_would_do(batch, micro_batch, ranks))
        self.batch, self.micro_batch, self.rank, self.ranks = batch, micro_batch, rank, ranks
        self.workers, self.finish = workers, finish
        self.share = batch // ranks

    @property
    @abstractmethod
    def updates_per_epoch(self) -> float:
        """Updates in which every sample is seen once."""

    @abstractmethod
    def load(self, update: int, ready: Ready | None = None) -> Update:
        """Make one update in the calling thread; `ready` as in `MicroBatches`."""

    def largest(self) -> Arrays:
        """A micro-batch, finished, that no other one of this process exceeds in length."""
        return self.load(0).micro_batches[0]

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

    def __init__(self, loader: Updates, start: int, stop: int | None) -> None:
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
    """What is wrong with an update that does not divide, and which sizes would do."""
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
