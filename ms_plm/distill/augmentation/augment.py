"""Data augmentation of TinyBERT (Jiao et al., arXiv 1909.10351, algorithm 1): examples with variants of their texts.

A word that is one piece gets candidates from a masked language model, one of several pieces from word vectors; without
vectors it stays. Of a pair the variants are (a', b) and (a, b'): the other text is always the one of the data set. (The
original leaves the last a' beside every b'.)
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.common.files import replacing_file
from ms_plm.data.benchmarks import TextExample, record_of
from ms_plm.distill.augmentation.candidates import Asked, MaskedCandidates
from ms_plm.distill.augmentation.sampling import variants
from ms_plm.distill.augmentation.vectors import WordVectors
from ms_plm.distill.augmentation.words import ReadText, read_texts
from ms_plm.tokenization import Segmenter, Tokenizer, encodable

TOGETHER = 2048
"""Examples whose words share batches, so that few batches are not full."""
VARIANTS = {
    "glue/cola": 30,
    "glue/mnli": 10,
    "glue/mrpc": 30,
    "glue/sst-2": 20,
    "glue/sts-b": 30,
    "glue/qqp": 10,
    "glue/qnli": 20,
    "glue/rte": 30,
}
"""Variants of a text that TinyBERT's authors made of each task."""
USUAL_VARIANTS = 20


@dataclass(frozen=True)
class Sampling:
    """How variants are drawn: see `ms_plm.distill.augmentation.sampling.variants`."""

    count: int = USUAL_VARIANTS
    probability: float = 0.4
    seed: int = 1


@dataclass(frozen=True)
class _Known:
    """A text with the candidates of each of its words."""

    read: ReadText
    candidates: list[list[str]]


class Augmenter:
    """Makes variants of examples.

    Attributes:
        counts: of words: `masked` and `vectors` got candidates in that way, `without` found none, `pieces` are of
            several pieces and there are no vectors.

    Args:
        tokenizer, segmenter: say what a word is.
        masked: candidates for words of one piece, and for Chinese ones.
        vectors: for words of several pieces; None: those stay.
        most: neighbours of a word.
        least: their smallest cosine.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        segmenter: Segmenter,
        masked: MaskedCandidates,
        vectors: WordVectors | None = None,
        most: int = 15,
        least: float = -1.0,
    ) -> None:
        self._tokenizer, self._segmenter, self._masked = tokenizer, segmenter, masked
        self._vectors, self._most, self._least = vectors, most, least
        self.counts: Counter[str] = Counter()

    def __call__(
        self, examples: Sequence[TextExample], sampling: Sampling, done: Callable[[float], None] | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """For each example its line and those of its variants, see `record_of`.

        Args:
            examples: of a training set, from its first one on: their numbers are part of what is drawn.
            sampling: how.
            done: told how many examples are done, with fractions.
        """
        left = Counter(text for example in examples for text in _texts(example))
        known: dict[str, _Known] = {}  # of texts that come again, as premises do
        for start in range(0, len(examples), TOGETHER):
            block = examples[start : start + TOGETHER]
            new = [text for text in dict.fromkeys(t for example in block for t in _texts(example)) if text not in known]
            size = len(block)
            told = None if done is None else lambda share, start=start, size=size: done(start + share * size)
            known |= self._candidates(new, told)
            for row, example in enumerate(block, start):
                yield list(_rows(example, row, known, sampling))
                for text in _texts(example):
                    left[text] -= 1
                    if not left[text]:
                        known.pop(text, None)
            if told:
                told(1.0)

    def _candidates(self, texts: Sequence[str], done: Callable[[float], None] | None) -> dict[str, _Known]:
        """Texts with the candidates of their words."""
        known = {
            read.text: _Known(read, [[] for _ in read.words])
            for read in read_texts(texts, self._tokenizer, self._segmenter)
        }
        places = [(one, n) for one in known.values() for n in range(len(one.read.words))]
        masked, spelled = ([place for place in places if _is_masked(*place) == kind] for kind in (True, False))
        numbers: dict[str, list[int]] = {}
        for one, n in masked:
            numbers.setdefault(one.read.text, []).append(n)
        asked = [
            Asked(known[text].read.ids, tuple(known[text].read.words[n] for n in of)) for text, of in numbers.items()
        ]
        self._take(masked, itertools.chain.from_iterable(self._masked(asked, done)), "masked")
        if self._vectors is None:
            self.counts["pieces"] += len(spelled)
        else:
            words = [_spelling(*place) for place in spelled]
            different = list(dict.fromkeys(words))
            near = dict(zip(different, self._vectors.neighbours(different, self._most, self._least), strict=True))
            self._take(spelled, (near[word] for word in words), "vectors")
        return known

    def _take(self, places: Iterable[tuple[_Known, int]], found: Iterable[list[str]], way: str) -> None:
        for (one, number), candidates in zip(places, found, strict=True):
            one.candidates[number] = candidates
            self.counts[way if candidates else "without"] += 1


def _texts(example: TextExample) -> tuple[str, ...]:
    return (example.text,) if example.pair is None else (example.text, example.pair)


def _is_masked(one: _Known, number: int) -> bool:
    word = one.read.words[number]
    return word.chinese or word.count == 1


def _spelling(one: _Known, number: int) -> str:
    word = one.read.words[number]
    return one.read.text[word.begin : word.end]


def _rows(example: TextExample, row: int, known: dict[str, _Known], sampling: Sampling) -> Iterator[dict[str, Any]]:
    yield record_of(example, row)
    for side, (field, text) in enumerate(zip(("text", "pair"), _texts(example), strict=False)):
        one = known[text]
        for variant in variants(
            one.read, one.candidates, sampling.count, sampling.probability, sampling.seed, row, side
        ):
            yield record_of(example, row, **{field: variant})


def write_rows(path: Path, groups: Iterable[Iterable[dict[str, Any]]]) -> int:
    """Write lines of JSON, all or none; how many.

    A lone half of a UTF-16 pair, which UTF-8 cannot hold, is written as JSON's escape.
    """
    count = 0
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for group in groups:
            for record in group:
                line = json.dumps(record, ensure_ascii=False)
                file.write((line if encodable(line) == line else json.dumps(record)) + "\n")
                count += 1
    return count
