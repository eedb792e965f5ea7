"""Multiple choice: which of several texts fits another one."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import ChoiceExample
from ms_plm.data.benchmarks.choices import GAP, PLACEHOLDER
from ms_plm.data.buckets import LabelledSamples
from ms_plm.evaluation.metrics import log_softmax, weighted_mean
from ms_plm.models.model import Model
from ms_plm.tasks.kind import Reading, TaskKind, TaskLoss, TaskSamples, logits_of
from ms_plm.tasks.text import tokenized
from ms_plm.tokenization import Tokenizer

_ABSENT = -1e4


class ChoiceLoss(TaskLoss):
    """Cross-entropy in nats over the choices of an example; choices that it lacks are rows without a token."""

    def scores(self, logits, attention_mask, labels):
        absent = (1.0 - attention_mask[:, 0].astype(ms.float32)) * _ABSENT
        return ((logits + absent).reshape((labels.shape[0], -1)),)


class ChoiceKind(TaskKind):
    """One row a choice: the text, then the question with the choice."""

    head, loss = "multiple_choice", ChoiceLoss

    def samples(self, examples: Sequence[ChoiceExample], tokenizer: Tokenizer, training: bool = False) -> TaskSamples:
        """As many rows for every example as the one with most choices has."""
        return TaskSamples(examples, _rows(examples, tokenizer, self.limits.max_length))

    def read(self, logits: np.ndarray, samples: TaskSamples, threshold: float | None = None) -> Reading:
        """Numbers of the choices.

        Examples that choose from the same choices each take another one where there are enough (ChID's gaps, as its
        baselines have it): the best sum of log-probabilities.
        """
        scores = np.where(_present(samples.rows), logits, -np.inf)
        likely = log_softmax(scores)
        found = scores.argmax(1)
        groups: dict[str, list[int]] = {}
        for number, example in enumerate(samples.examples):
            if example.group is not None:
                groups.setdefault(example.group, []).append(number)
        for members in groups.values():
            choices = len(samples.examples[members[0]].choices)
            if 1 < len(members) <= choices:
                found[members] = _assigned(likely[members, :choices])
        return Reading(found.tolist(), {})

    def outputs(self, samples: LabelledSamples) -> int:
        """One a choice."""
        return samples.rows_each

    def mean_loss(self, logits: np.ndarray, samples: LabelledSamples) -> float:
        """Cross-entropy over the choices, of examples that have a label."""
        likely = log_softmax(np.where(_present(samples), logits, -np.inf))
        losses = -np.take_along_axis(likely, samples.labels[:, None].astype(np.int64), axis=1)[:, 0]
        return weighted_mean(losses, (samples.weights > 0).astype(np.float64))


def _rows(examples: Sequence[ChoiceExample], tokenizer: Tokenizer, max_length: int) -> LabelledSamples:
    most = max(len(example.choices) for example in examples)
    texts, pairs, counts = [], [], []
    for example in examples:
        shown = around_gap(example.context, max_length)
        texts += [shown] * len(example.choices)
        pairs += [_asked(example.question, choice) for choice in example.choices]
        counts.append(len(example.choices))
    ids, types, starts = tokenized(texts, pairs, tokenizer, max_length)
    present = np.arange(most) < np.array(counts)[:, None]
    lengths = np.zeros(present.shape, np.int64)
    lengths[present] = np.diff(starts)
    numbers = np.array([example.label or 0 for example in examples], np.int32)
    known = np.array([example.label is not None for example in examples], np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return LabelledSamples(ids, types, starts, numbers, known, tokenizer.pad_id, rows_each=most)


def _present(samples: LabelledSamples) -> np.ndarray:
    """Which choices there are, bool `[N, rows_each]`."""
    return np.diff(samples.starts).reshape(-1, samples.rows_each) > 0


def _assigned(likely: np.ndarray) -> np.ndarray:
    """A choice of its own for every row, with the largest sum."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(likely, maximize=True)[1]


def _asked(question: str | None, choice: str) -> str:
    if question is None:
        return choice
    return question.replace(PLACEHOLDER, choice) if PLACEHOLDER in question else f"{question} {choice}"


def around_gap(text: str, characters: int) -> str:
    """A text with a gap that is too long, cut evenly on both sides of the gap; other texts as they are."""
    place = text.find(GAP)
    if place < 0 or len(text) <= characters:
        return text
    room = max(0, characters - len(GAP))
    before, after = place, len(text) - place - len(GAP)
    left = min(before, max(room // 2, room - after))
    return text[place - left : place + len(GAP) + room - left]


def choose(
    model: Model,
    tokenizer: Tokenizer,
    questions: Sequence[tuple[str, str | None, Sequence[str]]],
    max_length: int = 128,
    batch: int = 8,
) -> list[dict]:
    """Which choice fits.

    Args:
        model: with the head `multiple_choice`.
        tokenizer: the model's.
        questions: text, question or None, choices.
        max_length: longer texts are cut.
        batch: questions at once.

    Returns:
        For each `text`, `question`, `choice` and `probabilities` in the order of its choices.

    Raises:
        UserError: fewer than two choices.
    """
    few = [choices for _, _, choices in questions if len(choices) < 2]
    if few:
        raise UserError(f"choices: expected two at least, found {list(few[0])}.")
    examples = [
        ChoiceExample(str(number), text, question, tuple(choices))
        for number, (text, question, choices) in enumerate(questions)
    ]
    rows = _rows(examples, tokenizer, min(max_length, model.limit or max_length))
    logits = logits_of(model, rows, rows.rows_each, batch)
    likely = np.exp(log_softmax(np.where(_present(rows), logits, -np.inf)))
    return [
        {
            "text": example.context,
            "question": example.question,
            "choice": example.choices[int(row.argmax())],
            "probabilities": [float(value) for value in row[: len(example.choices)]],
        }
        for example, row in zip(examples, likely, strict=True)
    ]
