"""The loops that run a model over a data set: held-out figures of pretraining, and of tasks."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from mindspore import Tensor
from tqdm import tqdm

from ms_plm.data.benchmarks import Split
from ms_plm.data.loader import EvaluationBatch
from ms_plm.evaluation.metrics import PretrainingSums, content_tokens, masked_sums, next_sentence_sums, perplexity
from ms_plm.evaluation.scoring import score
from ms_plm.models.model import Model
from ms_plm.tasks.kind import TaskKind, TaskLogits, TaskSamples, all_logits
from ms_plm.tasks.pretraining import PretrainingFigures
from ms_plm.tokenization import Tokenizer


class Predictor(Protocol):
    """A baseline (`ms_plm.evaluation.baselines`)."""

    def predict(self, input_ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Ids int32 `[M]` for flat positions `[M]` in the masked input_ids `[n, S]`."""


@dataclass(frozen=True)
class EvaluationResult:
    """Figures of a model on held-out samples, and of others on the same positions.

    Attributes:
        sums: the model's.
        nsp: whether next-sentence prediction was evaluated.
        others: sums of every other predictor, by its name; they have no losses.
    """

    sums: PretrainingSums
    nsp: bool
    others: Mapping[str, PretrainingSums] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """Losses in nats, accuracies as shares.

        `loss` adds all terms; `accuracy_words` leaves out labels that are punctuation or [UNK]. A figure over nothing
        (no such label, no predicted position) is nan.
        """
        sums = self.sums
        masked_lm = _ratio(sums.loss, sums.weight)
        figures = {"loss": masked_lm, "masked_lm_loss": masked_lm, "perplexity": perplexity(masked_lm)}
        figures |= accuracies(sums)
        if self.nsp:
            figures["next_sentence_loss"] = _ratio(sums.next_loss, sums.sequences)
            figures["next_sentence_accuracy"] = _ratio(sums.next_correct, sums.sequences)
            figures["loss"] += figures["next_sentence_loss"]
        return figures

    def as_dict(self) -> dict[str, Any]:
        """Figures and counts for JSON; nan and inf become None."""
        counts = {"positions": int(self.sums.positions), "sequences": int(self.sums.sequences)}
        others = {name: _finite(accuracies(sums)) for name, sums in self.others.items()}
        return {**counts, "figures": _finite(self.figures()), "baselines": others}


def accuracies(sums: PretrainingSums) -> dict[str, float]:
    """`accuracy` over all predicted positions, `accuracy_words` without punctuation and [UNK]."""
    return {
        "accuracy": _ratio(sums.correct, sums.weight),
        "accuracy_words": _ratio(sums.content_correct, sums.content_weight),
    }


def _ratio(value: float, weight: float) -> float:
    return value / weight if weight else math.nan


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


class PretrainingEvaluator:
    """Evaluates one model again and again; the graph is compiled once for a shape.

    Args:
        model: with a masked-LM head and, with `nsp`, a next-sentence head; its training flag does not matter.
        nsp: whether the batches have next-sentence labels that count.
        tokenizer: says which labels are punctuation or [UNK].
    """

    def __init__(self, model: Model, nsp: bool, tokenizer: Tokenizer) -> None:
        self.nsp = nsp
        self.content = content_tokens(tokenizer.readable, tokenizer.special_ids)
        self._cell = PretrainingFigures(model, nsp)

    def evaluate(
        self,
        batches: Iterable[EvaluationBatch],
        total: Callable[[list[float]], list[float]] | None = None,
        others: Mapping[str, Predictor] | None = None,
        progress: bool = True,
    ) -> EvaluationResult:
        """Go through the batches once.

        Args:
            batches: held-out samples, masked.
            total: adds lists of numbers over all processes; None with one process.
            others: further predictors that answer for the same positions.
            progress: a bar on stderr, if that is a terminal.
        """
        others = others or {}
        sums = {name: PretrainingSums() for name in ("", *others)}
        for batch in tqdm(batches, "evaluating", leave=False, disable=not (progress and sys.stderr.isatty())):
            sums[""] += self._model_sums(batch)
            for name, predictor in others.items():
                sums[name] += self._predictor_sums(batch, predictor)
        if total is not None:
            sums = {
                name: PretrainingSums.from_array(np.array(total(s.as_array().tolist()))) for name, s in sums.items()
            }
        return EvaluationResult(sums.pop(""), self.nsp, sums)

    def _model_sums(self, batch: EvaluationBatch) -> PretrainingSums:
        arrays = batch.arrays
        names = ("input_ids", "token_type_ids", "attention_mask", "masked_positions", "masked_labels")
        out = self._cell(*(Tensor.from_numpy(np.ascontiguousarray(arrays[name])) for name in names))
        losses, predictions = out[0].asnumpy(), out[1].asnumpy()
        labels, weights = arrays["masked_labels"], arrays["masked_weights"]
        sums = masked_sums(predictions, labels, weights, self.content, losses)
        sums += PretrainingSums(sequences=float(batch.rows))
        if self.nsp:
            sums += next_sentence_sums(out[2].asnumpy(), arrays["next_sentence_labels"], batch.sequence_weights)
        return sums

    def _predictor_sums(self, batch: EvaluationBatch, predictor: Predictor) -> PretrainingSums:
        arrays = batch.arrays
        used = arrays["masked_weights"] > 0
        predictions = predictor.predict(arrays["input_ids"], arrays["masked_positions"][used])
        return masked_sums(predictions, arrays["masked_labels"][used], arrays["masked_weights"][used], self.content)


class Group(Protocol):
    """The processes that share the work (`ms_plm.training.parallel.Parallel`)."""

    rank: int
    ranks: int

    def gather_arrays(self, array: np.ndarray) -> np.ndarray:
        """Every process's array `[n]`, in the order of ranks: `[ranks, n]`."""


class TaskEvaluator:
    """Figures of a model on the whole of some splits, again and again; one graph a padded length.

    Args:
        model: with the head of the kind.
        kind: of the task, which says how it is scored.
        splits: by name, the examples and the same tokenized.
        lengths: padded lengths, as training has them.
        batch: samples at once; changes no figure.
        group: the processes; each takes its part of the batches.
    """

    def __init__(
        self,
        model: Model,
        kind: TaskKind,
        splits: Mapping[str, tuple[Split, TaskSamples]],
        lengths: Sequence[int],
        batch: int,
        group: Group | None = None,
    ) -> None:
        self.kind, self.task, self.splits = kind, kind.task, splits
        self.lengths, self.batch, self.group = lengths, batch, group
        self.graph = TaskLogits(model)

    def titles(self) -> dict[str, str]:
        """Names of the figures, for people."""
        titles = {}
        for split in self.splits:
            for name in ("loss", *self.task.metrics):
                titles[self._key(split, name)] = f"{split}: {name.replace('_', ' ')}"
        return titles

    def figures(self) -> dict[str, float]:
        """Loss and metrics of every split, named after it but for the first one; `metric` is the one that decides."""
        found: dict[str, float] = {}
        for name in self.splits:
            figures, _ = self.evaluated(name)
            found |= {self._key(name, figure): value for figure, value in figures.items()}
        return {**found, "metric": found[self.task.metrics[0]]}

    def evaluated(self, name: str, threshold: float | None = None) -> tuple[dict[str, float], list]:
        """Figures and predictions of one split; no figures where it has no labels.

        Args:
            name: of the split.
            threshold: see `TaskKind.read`.
        """
        split, samples = self.splits[name]
        logits = self.logits(samples)
        reading = self.kind.read(logits, samples, threshold)
        if name.startswith("test") and not samples.rows.weights.any():
            return {}, reading.predictions
        figures = {"loss": self.kind.mean_loss(logits, samples.rows)}
        figures |= score(self.task, split.examples, reading.predictions, split.labels)
        return {key: float(value) for key, value in (figures | reading.more).items()}, reading.predictions

    def logits(self, samples: TaskSamples) -> np.ndarray:
        """Logits of all samples in their own order, see `all_logits`."""
        outputs = self.kind.outputs(samples.rows)
        group = self.group
        parts = (group.rank, group.ranks) if group else ()
        values = all_logits(self.graph, samples.rows, self.lengths, self.batch, outputs, *parts)
        return group.gather_arrays(values.reshape(-1)).sum(0).reshape(values.shape) if group else values

    def by_itself(self) -> TaskEvaluator:
        """The same (and the same graphs) for one process, which does everything while the others go on."""
        alone = copy(self)
        alone.group = None
        return alone

    def _key(self, split: str, name: str) -> str:
        return name if split == next(iter(self.splits)) else f"{split}_{name}"
