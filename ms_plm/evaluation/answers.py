"""Figures of answers that are texts: SQuAD's (ReCoRD's too), CMRC 2018's, and the best threshold for "no answer".

Everywhere `predictions` are texts, "" for "no answer", and `labels` the accepted texts of each question, none if it has
no answer; the best accepted text counts.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import ArrayLike

from ms_plm.data.windows import Answer

Labels = Sequence[Sequence[str]]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CMRC_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""What CMRC's script leaves out; it names the ellipsis as two characters, so single ones stay."""


def squad_em(predictions: Sequence[str], labels: Labels) -> float:
    """Share of predictions that are an accepted text, but for case, punctuation, articles and blanks."""
    return _mean([_squad(_equal, guess, accepted) for guess, accepted in zip(predictions, labels, strict=True)])


def squad_f1(predictions: Sequence[str], labels: Labels) -> float:
    """Mean F1 of the words in common, prepared likewise (the definition of SQuAD 2.0's script, also for 1.1)."""
    return _mean(squad_f1_each(predictions, labels))


def squad_f1_each(predictions: Sequence[str], labels: Labels) -> list[float]:
    """F1 of each question."""
    return [_squad(_overlap, guess, accepted) for guess, accepted in zip(predictions, labels, strict=True)]


def squad_has_answer_f1(predictions: Sequence[str], labels: Labels) -> float:
    """F1 over the questions that have an answer; nan without any."""
    return _mean(
        [score for score, accepted in zip(squad_f1_each(predictions, labels), labels, strict=True) if accepted]
    )


def squad_no_answer_accuracy(predictions: Sequence[str], labels: Labels) -> float:
    """Share of the questions without an answer that were left unanswered; nan without any."""
    return _mean([float(not guess) for guess, accepted in zip(predictions, labels, strict=True) if not accepted])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _squad(compare: Callable[[list[str], list[str]], float], guess: str, accepted: Sequence[str]) -> float:
    texts = [words for text in accepted if (words := _squad_words(text))] or [[]]
    return max(compare(_squad_words(guess), text) for text in texts)


def _squad_words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _equal(guess: list[str], text: list[str]) -> float:
    return float(guess == text)


def _overlap(guess: list[str], text: list[str]) -> float:
    if not guess or not text:
        return float(guess == text)
    common = (Counter(guess) & Counter(text)).total()
    return 2 * common / (len(guess) + len(text))


def best_threshold(answered: ArrayLike, unanswered: ArrayLike, null_scores: ArrayLike) -> tuple[float, float]:
    """The threshold above which a question is better left unanswered.

    Args:
        answered: figure of each question `[n]` if the best answer is given, such as `squad_f1_each`.
        unanswered: its figure if none is given: 1 for questions without an answer, else 0.
        null_scores: what speaks for "no answer" `[n]`, such as its score minus the best answer's.

    Returns:
        The threshold t, and the mean figure when exactly the questions with `null_scores <= t` are answered. Of
        thresholds that do equally well the lowest: -inf answers nothing.
    """
    answered, unanswered, null_scores = (np.asarray(v, np.float64) for v in (answered, unanswered, null_scores))
    thresholds, place = np.unique(null_scores, return_inverse=True)
    gains = np.bincount(place, answered - unanswered, len(thresholds))
    totals = unanswered.sum() + np.concatenate([[0.0], np.cumsum(gains)])
    best = int(np.argmax(totals > totals.max() - 1e-9 * len(answered)))  # rounding decides nothing
    return float(thresholds[best - 1]) if best else -math.inf, float(totals[best] / len(answered))


def answer_threshold(
    found: Sequence[Answer],
    labels: Labels,
    figures: Callable[[Sequence[str], Labels], list[float]] = squad_f1_each,
) -> tuple[float, float]:
    """`best_threshold` for answers as `find_answers` gives them.

    Args:
        found: one per question.
        labels: accepted texts of each question.
        figures: the figure of each question.

    Returns:
        The threshold for `Answer.text`, and the mean figure with it.
    """
    unanswered = figures([""] * len(found), labels)
    return best_threshold(
        figures([answer.text() for answer in found], labels), unanswered, [answer.null_difference for answer in found]
    )


def cmrc_em(predictions: Sequence[str], labels: Labels) -> float:
    """Share of predictions that are an accepted text, but for case and punctuation."""
    return _mean(
        [
            float(any(_cmrc_text(guess) == _cmrc_text(text) for text in accepted))
            for guess, accepted in zip(predictions, labels, strict=True)
        ]
    )


def cmrc_f1(predictions: Sequence[str], labels: Labels) -> float:
    """Mean F1 of the longest run of segments in common; a segment is a Chinese character or another word."""
    return _mean(
        [
            max((_run_overlap(cmrc_segments(guess), cmrc_segments(text)) for text in accepted), default=0.0)
            for guess, accepted in zip(predictions, labels, strict=True)
        ]
    )


def _cmrc_text(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in _CMRC_PUNCTUATION)


def cmrc_segments(text: str) -> list[str]:
    """Chinese characters one by one; what lies between them as words of the Penn Treebank; punctuation left out."""
    segments = []
    for part in re.split("([\u4e00-\u9fa5])", _cmrc_text(text)):
        segments += [part] if re.fullmatch("[\u4e00-\u9fa5]", part) else treebank_words(part)
    return segments


def _run_overlap(guess: list[str], text: list[str]) -> float:
    match = SequenceMatcher(None, guess, text, autojunk=False).find_longest_match()
    return 2 * match.size / (len(guess) + len(text)) if match.size else 0.0


_TREEBANK = (
    (re.compile(r"([][(){}<>;@#$%&?!\"«»‘“„–—])"), r" \1 "),
    (re.compile(r"(,)(?!\d)"), r" \1 "),
    (re.compile(r"(\.{2,})"), r" \1 "),
    (re.compile(r"([^.])(\.)([\])}>\"']*)\s*$"), r"\1 \2 \3"),
    (re.compile(r"(?i)(\w)(n't)\b"), r"\1 \2"),
    (re.compile(r"(?i)\b(can(?=not\b)|(?:gim|lem)(?=me\b)|(?:gon|wan)(?=na\b)|got(?=ta\b))"), r"\1 "),
    (re.compile(r"(?i)('(?:s|m|d|ll|re|ve))\b"), r" \1"),
    (re.compile(r"(?<=[\w.,])'(?=\s|$)|(?<!\S)'(?=\w)(?!(?:s|m|d|ll|re|ve)\b)"), r" ' "),
)


def treebank_words(text: str) -> list[str]:
    """Words of a text without Chinese: punctuation and English contractions stand alone, numbers stay whole."""
    for pattern, replacement in _TREEBANK:
        text = pattern.sub(replacement, text)
    return text.split()
