"""Which words of a text may be replaced, and which pieces they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ms_plm.distill.augmentation import stop_words
from ms_plm.tokenization import CHINESE, Pieces, Segmenter, Tokenizer, encodable
from ms_plm.tokenization.blocks import code_points

LONGEST_CHINESE = 4
"""Characters; longer Chinese words are mostly names, and stay."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word that may be replaced.

    Attributes:
        begin, end: its characters in the text.
        first, count: its pieces among those of the text; of a Chinese word one for each character.
        chinese: whether it consists of Chinese characters.
    """

    begin: int
    end: int
    first: int
    count: int
    chinese: bool


@dataclass(frozen=True)
class ReadText:
    """A text with its pieces, int32 `[n]` without special tokens, and its words from the first to the last."""

    text: str
    ids: np.ndarray
    words: tuple[Word, ...]


def read_texts(texts: Sequence[str], tokenizer: Tokenizer, segmenter: Segmenter) -> list[ReadText]:
    """Texts with the words in them that may be replaced.

    A word is what BERT's tokenizer takes for one, see `is_spelled`; neighbouring Chinese characters are put together by
    the segmenter. What the vocabulary does not know stays.
    """
    return [
        _read(text, pieces, tokenizer, segmenter) for text, pieces in zip(texts, tokenizer.pieces(texts), strict=True)
    ]


def _read(text: str, pieces: Pieces, tokenizer: Tokenizer, segmenter: Segmenter) -> ReadText:
    ids = pieces.ids.astype(np.int32)
    chinese = CHINESE[code_points(text)]
    words = [*_spelled(text, ids, pieces.offsets, chinese, tokenizer)]
    if chinese.any():
        words = sorted(
            [*words, *_chinese(text, ids, pieces.offsets, chinese, tokenizer, segmenter)], key=lambda word: word.begin
        )
    return ReadText(text, ids, tuple(words))


def _spelled(
    text: str, ids: np.ndarray, offsets: np.ndarray, chinese: np.ndarray, tokenizer: Tokenizer
) -> Iterator[Word]:
    """Words of letters."""
    firsts = np.flatnonzero(~tokenizer.continuation[ids])
    for first, after in zip(firsts.tolist(), [*firsts[1:].tolist(), len(ids)], strict=True):
        begin, end = int(offsets[first, 0]), int(offsets[after - 1, 1])
        while end < len(text) and unicodedata.combining(text[end]):  # an accent that the tokenizer dropped
            end += 1
        known = ids[first] != tokenizer.unk_id and not chinese[begin:end].any()
        if known and is_spelled(unicodedata.normalize("NFC", text[begin:end])):
            yield Word(begin, end, first, after - first, False)


def _chinese(
    text: str,
    ids: np.ndarray,
    offsets: np.ndarray,
    chinese: np.ndarray,
    tokenizer: Tokenizer,
    segmenter: Segmenter,
) -> Iterator[Word]:
    """Words of Chinese characters: those of the segmenter, or each character by itself where there is none."""
    begin = 0
    for found in segmenter.cut(encodable(text)) if segmenter.cut else text:
        end = begin + len(found)
        if end - begin <= LONGEST_CHINESE and chinese[begin:end].all() and is_chinese(found):
            first, after = np.searchsorted(offsets[:, 0], (begin, end)).tolist()
            if after - first == end - begin and tokenizer.unk_id not in ids[first:after]:
                yield Word(begin, end, first, after - first, True)
        begin = end


def is_spelled(word: str) -> bool:
    """Whether a word may give way, or come in another's place: two letters at least, nothing else, no stop word."""
    return len(word) > 1 and word.isalpha() and word.lower() not in stop_words.ENGLISH


def is_chinese(word: str) -> bool:
    """The same for a word of Chinese characters: no stop word, no numeral."""
    return word not in stop_words.CHINESE and not word.isnumeric()
