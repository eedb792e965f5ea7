"""Extractive question answering: overlapping windows over long texts, and from scores of tokens back to texts.

A window is a pair, in BERT's layout `[CLS] question [SEP] part of the text [SEP]`. Everything goes by the offsets that
the tokenizer gives, so an answer is a piece of the text as it was given, in any script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.examples import QuestionExample
from ms_plm.tokenization import Layout, Pieces, Tokenizer

_BLOCK = 256
"""Questions tokenized in one call."""


@dataclass(frozen=True)
class Window:
    """A part of a text, with its question.

    Attributes:
        example: number of the question among those given.
        input_ids, token_type_ids: int32 `[seq]`, not padded; the attention mask is all ones.
        context: position of the first token of the text.
        offsets: int64 `[tokens, 2]`: first character, and one after the last, of each token of the text in the window.
        start, end: positions of the answer's first and last token; both 0, the first token, where the window does not
            hold the whole answer, or the question has none or is unlabelled.
    """

    example: int
    input_ids: np.ndarray
    token_type_ids: np.ndarray
    context: int
    offsets: np.ndarray
    start: int = 0
    end: int = 0


def question_windows(
    examples: Sequence[QuestionExample],
    tokenizer: Tokenizer,
    max_length: int = 384,
    stride: int = 128,
    max_question: int = 64,
) -> Iterator[Window]:
    """Windows of all questions, in order; every token of a text is in one at least.

    Args:
        examples: with answers that stand where they say (`located`); the first answer is the one to learn.
        tokenizer: of the model.
        max_length: longest window, in tokens, special ones included.
        stride: tokens from the begin of a window to the begin of the next.
        max_question: longest question in tokens; the rest is cut off.

    Raises:
        UserError: no room for the text; a stride below 1.
    """
    layout = tokenizer.layout
    special = layout.special(pair=True)
    room = max_length - max_question - special
    if room < 1 or stride < 1:
        raise UserError(
            f"max_length {max_length}, max_question {max_question}, stride {stride}: expected room for the question, "
            f"{special} special tokens and some text, and a stride of 1 at least."
        )
    for first in range(0, len(examples), _BLOCK):
        block = examples[first : first + _BLOCK]
        questions = tokenizer.pieces([example.question for example in block])
        contexts = {text: number for number, text in enumerate(dict.fromkeys(example.context for example in block))}
        pieces = tokenizer.pieces(list(contexts))
        for number, (example, question) in enumerate(zip(block, questions, strict=True)):
            head = [*layout.begin, *question.ids[:max_question].tolist(), *layout.between]
            text = pieces[contexts[example.context]]
            for window in _windows(head, text, layout, max_length, stride, answer_pieces(example, text)):
                yield Window(first + number, *window)


def answer_pieces(example: QuestionExample, pieces: Pieces) -> tuple[int, int] | None:
    """First and last piece of the text that the first answer touches; None where there is none."""
    if not example.answers:
        return None
    text, start = example.answers[0]
    touched = np.flatnonzero((pieces.offsets[:, 1] > start) & (pieces.offsets[:, 0] < start + len(text)))
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


def _windows(
    head: list[int], text: Pieces, layout: Layout, max_length: int, stride: int, answer: tuple[int, int] | None
) -> Iterator[tuple]:
    """What a `Window` holds besides its example."""
    room = max_length - len(head) - len(layout.end)
    count = len(text.ids)
    spans = [(0, min(room, count))]
    while spans[-1][1] < count:
        begin = spans[-1][0] + min(stride, room)
        spans.append((begin, min(begin + room, count)))
    for begin, stop in spans:
        ids = np.array([*head, *text.ids[begin:stop].tolist(), *layout.end], np.int32)
        types = np.zeros(len(ids), np.int32)
        types[len(head) :] = layout.second_type
        shown = answer is not None and begin <= answer[0] and answer[1] < stop
        start, end = (place - begin + len(head) for place in answer) if shown else (0, 0)
        yield ids, types, len(head), text.offsets[begin:stop], start, end


@dataclass(frozen=True)
class Candidate:
    """A piece of the text that may be the answer: `context[start:stop]`, with its score."""

    text: str
    score: float
    start: int
    stop: int


@dataclass(frozen=True)
class Answer:
    """What was found for a question.

    Attributes:
        id: of the question.
        candidates: distinct texts, the best first; empty where the text has no tokens.
        null_score: score of "no answer", the least over the windows.
    """

    id: str
    candidates: tuple[Candidate, ...]
    null_score: float

    @property
    def null_difference(self) -> float:
        """How far "no answer" is ahead of the best text; inf without one."""
        return self.null_score - self.candidates[0].score if self.candidates else math.inf

    def text(self, threshold: float | None = None) -> str:
        """The best text; "" where there is none, or `null_difference` is above the threshold (None: never)."""
        refused = threshold is not None and self.null_difference > threshold
        return "" if refused or not self.candidates else self.candidates[0].text


def find_answers(
    examples: Sequence[QuestionExample],
    windows: Sequence[Window],
    start_scores: Sequence[np.ndarray],
    end_scores: Sequence[np.ndarray],
    n_best: int = 20,
    max_answer: int = 30,
) -> list[Answer]:
    """The answers of all questions, from scores of the tokens of their windows.

    A text's score is that of its first token as a start plus that of its last one as an end, both in one window; the
    window where it is highest counts. "No answer" scores those of the window's first token. (As in BERT's
    `run_squad.py`, but over all spans, not the best starts with the best ends; and a span is not tied to the window
    that shows its first token with most text around, which need not hold its end.)

    Args:
        examples: as `question_windows` had them.
        windows: all of its windows.
        start_scores, end_scores: per window `[seq]` or longer (padding is passed over), such as logits.
        n_best: most candidates; there may be fewer where many spans read the same.
        max_answer: longest answer in tokens.

    Raises:
        UserError: another number of scores than of windows.
    """
    if not len(windows) == len(start_scores) == len(end_scores):
        raise UserError(f"{len(windows)} windows, scores for {len(start_scores)} and {len(end_scores)}.")
    found: list[list[Candidate]] = [[] for _ in examples]
    null = [math.inf] * len(examples)
    for window, starts, ends in zip(windows, start_scores, end_scores, strict=True):
        context = examples[window.example].context
        found[window.example] += _candidates(window, context, starts, ends, n_best, max_answer)
        null[window.example] = min(null[window.example], float(starts[0]) + float(ends[0]))
    return [
        Answer(example.id, _distinct(candidates, n_best), nothing)
        for example, candidates, nothing in zip(examples, found, null, strict=True)
    ]


def _candidates(
    window: Window, context: str, starts: np.ndarray, ends: np.ndarray, n_best: int, max_answer: int
) -> Iterator[Candidate]:
    """The best spans of one window."""
    count = len(window.offsets)
    if not count:
        return
    here = slice(window.context, window.context + count)
    first = np.asarray(starts, np.float64)[here]
    last = np.append(np.asarray(ends, np.float64)[here], np.full(max_answer, -np.inf))
    spans = first[:, None] + np.lib.stride_tricks.sliding_window_view(last, max_answer)[:count]
    flat = spans.ravel()
    # more than asked for: some read the same
    top = np.argpartition(-flat, 2 * n_best)[: 2 * n_best] if len(flat) > 2 * n_best else np.arange(len(flat))
    for place in top[np.isfinite(flat[top])]:
        begin, length = divmod(int(place), max_answer)
        start, stop = int(window.offsets[begin, 0]), int(window.offsets[begin + length, 1])
        yield Candidate(context[start:stop], float(flat[place]), start, stop)


def _distinct(candidates: Sequence[Candidate], n_best: int) -> tuple[Candidate, ...]:
    """The best of each text, in order; of equal scores the one that stands first."""
    best: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda one: (-one.score, one.start, one.stop)):
        best.setdefault(candidate.text, candidate)
    return tuple(best.values())[:n_best]
