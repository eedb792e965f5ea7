"""Extractive question answering: where the answer begins and ends in a text, by windows."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np

from ms_plm.config.finetuning import TextLimits
from ms_plm.data.answers import located
from ms_plm.data.benchmarks import QuestionExample
from ms_plm.data.buckets import LabelledSamples
from ms_plm.data.windows import Answer, Window, find_answers, question_windows
from ms_plm.evaluation.answers import answer_threshold
from ms_plm.evaluation.metrics import weighted_mean
from ms_plm.models.model import Model
from ms_plm.tasks.kind import Reading, TaskKind, TaskLoss, TaskSamples, logits_of
from ms_plm.tokenization import Tokenizer

THRESHOLD = "no_answer_threshold"
_HIDDEN = -1e4


class QuestionLoss(TaskLoss):
    """Mean of the cross-entropies of the answer's first and last token over the tokens of a window, in nats.

    As in BERT's `run_squad.py`, but padding takes no share of the probability: the loss does not depend on how far a
    window is padded.
    """

    def scores(self, logits, attention_mask, labels):
        hidden = (1.0 - attention_mask.astype(ms.float32)) * _HIDDEN
        return logits[:, :, 0] + hidden, logits[:, :, 1] + hidden


class QuestionKind(TaskKind):
    """Question answering; a window without the whole answer points to [CLS]."""

    head, loss = "question_answering", QuestionLoss

    def samples(self, examples: Sequence[QuestionExample], tokenizer: Tokenizer, training: bool = False) -> TaskSamples:
        """Windows of all questions; for training without those whose answers stand nowhere in their texts."""
        used = located(examples).examples if training else examples
        return _windowed(used, tokenizer, self.limits)

    def read(self, logits: np.ndarray, samples: TaskSamples, threshold: float | None = None) -> Reading:
        """Texts, "" for no answer.

        Where some of the examples have none, the threshold is the one that is best for them, as SQuAD 2.0's script
        reports it, and stands among the figures.
        """
        found = _answers(logits, samples, self.limits)
        if threshold is None and any(example.impossible for example in samples.examples):
            accepted = [[text for text, _ in example.answers] for example in samples.examples]
            threshold = float(np.clip(answer_threshold(found, accepted)[0], -1e9, 1e9))
            return Reading([answer.text(threshold) for answer in found], {THRESHOLD: threshold})
        return Reading([answer.text(threshold) for answer in found], {})

    def outputs(self, samples: LabelledSamples) -> int:
        """Start and end."""
        return 2

    def mean_loss(self, logits: np.ndarray, samples: LabelledSamples) -> float:
        """As in training, over the windows of questions that have a label."""
        scores = logits.astype(np.float64)
        starts = samples.starts[:-1]
        sums = np.log(np.add.reduceat(np.exp(scores - _largest(scores, samples)), starts)) + np.maximum.reduceat(
            scores, starts
        )
        right = np.stack([scores[starts + samples.labels[:, side], side] for side in (0, 1)], axis=1)
        return weighted_mean((sums - right).mean(1), (samples.weights > 0).astype(np.float64))


def _largest(scores: np.ndarray, samples: LabelledSamples) -> np.ndarray:
    """The largest score of each row, repeated for its tokens."""
    return np.repeat(np.maximum.reduceat(scores, samples.starts[:-1]), np.diff(samples.starts), axis=0)


def _windowed(examples: Sequence[QuestionExample], tokenizer: Tokenizer, limits: TextLimits) -> TaskSamples:
    windows = list(question_windows(examples, tokenizer, limits.max_length, limits.stride, limits.max_question))
    known = np.array([bool(example.answers) or example.impossible for example in examples], np.float32)
    return TaskSamples(examples, _rows(windows, known, tokenizer.pad_id), windows)


def _rows(windows: Sequence[Window], known: np.ndarray, pad_id: int) -> LabelledSamples:
    return LabelledSamples(
        np.concatenate([window.input_ids for window in windows]),
        np.concatenate([window.token_type_ids for window in windows]),
        np.concatenate([[0], np.cumsum([len(window.input_ids) for window in windows])]),
        np.array([(window.start, window.end) for window in windows], np.int32),
        known[[window.example for window in windows]],
        pad_id,
    )


def _answers(logits: np.ndarray, samples: TaskSamples, limits: TextLimits) -> list[Answer]:
    parts = np.split(logits, samples.rows.starts[1:-1])
    starts, ends = [part[:, 0] for part in parts], [part[:, 1] for part in parts]
    return find_answers(samples.examples, samples.windows, starts, ends, max_answer=limits.max_answer)


def answer(
    model: Model,
    tokenizer: Tokenizer,
    questions: Sequence[tuple[str, str]],
    limits: TextLimits | None = None,
    threshold: float | None = None,
    best: int = 5,
    batch: int = 16,
) -> list[dict]:
    """Answers to questions from texts.

    Args:
        model: with the head `question_answering`.
        tokenizer: the model's.
        questions: each with its text.
        limits: of lengths; default: windows of 384 tokens.
        threshold: how far "no answer" must be ahead of the best text to be given; None: never.
        best: candidates to list.
        batch: windows at once.

    Returns:
        For each `question`, `text`, `answer` ("" for none), and `candidates` with `text`, `score`, `start`, `stop`.
    """
    limits = limits or TextLimits(max_length=384)
    limits = limits.model_copy(update={"max_length": min(limits.max_length, model.limit or limits.max_length)})
    examples = [QuestionExample(str(number), question, text) for number, (question, text) in enumerate(questions)]
    samples = _windowed(examples, tokenizer, limits)
    logits = logits_of(model, samples.rows, 2, batch)
    return [
        {
            "question": example.question,
            "text": example.context,
            "answer": found.text(threshold),
            "candidates": [
                {"text": one.text, "score": one.score, "start": one.start, "stop": one.stop}
                for one in found.candidates[:best]
            ],
        }
        for example, found in zip(examples, _answers(logits, samples, limits), strict=True)
    ]
