"""The terms of a distillation on held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from mindspore import Tensor

from ms_plm.data.buckets import in_order
from ms_plm.data.loader import EvaluationBatches
from ms_plm.data.updates import Arrays
from ms_plm.distill.objective import DistillationLoss
from ms_plm.tasks.runner import Group


class DistillationEvaluator:
    """Terms of the loss without dropout, over whole held-out sets, again and again.

    Args:
        loss: of the run.
        batches: this process's arrays, anew at every call.
        total: adds lists of numbers over all processes.
    """

    def __init__(
        self,
        loss: DistillationLoss,
        batches: Callable[[], Iterable[Arrays]],
        total: Callable[[list[float]], list[float]],
    ) -> None:
        self.loss, self.batches, self.total = loss, batches, total

    def figures(self) -> dict[str, float]:
        """`loss`, and each term by its name (times its lambda)."""
        terms = self.loss.terms
        sums, weights = np.zeros(len(terms)), np.zeros(len(terms))
        for arrays in self.batches():
            values = (Tensor.from_numpy(np.ascontiguousarray(arrays[name])) for name in self.loss.inputs)
            sums += self.loss(None, *values).asnumpy()
            found = self.loss.weights_of(arrays)
            weights += [found[name] for name in terms]
        sums, weights = np.split(np.array(self.total([*sums, *weights])), 2)
        means = {name: float(value) for name, value in zip(terms, sums / np.maximum(weights, 1e-30), strict=True)}
        return {"loss": sum(means.values()), **means}

    def titles(self) -> dict[str, str]:
        """Names of the figures, for people."""
        return {"loss": "held-out loss (all terms)", **{name: f"held-out {name}" for name in self.loss.terms}}


def corpus_batches(batches: EvaluationBatches) -> Callable[[], Iterator[Arrays]]:
    """Held-out samples of a corpus for a `DistillationEvaluator`."""
    return lambda: (batch.arrays for batch in batches)


def task_batches(splits: Mapping, lengths, batch: int, group: Group) -> Callable[[], Iterator[Arrays]]:
    """Dev sets of a task for a `DistillationEvaluator`; what fills up the last batch counts nothing."""

    def made() -> Iterator[Arrays]:
        for _, samples in splits.values():
            for number, (indices, arrays) in enumerate(in_order(samples.rows, lengths, batch)):
                if number % group.ranks == group.rank:
                    counted = (np.arange(batch) < len(indices)).astype(np.float32)
                    yield {**arrays, "counted": counted}

    return made
