"""Tags of words on the tokens of a model, and back: the first token of a word carries its tag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.examples import TokensExample
from ms_plm.tokenization import Tokenizer

_BLOCK = 256
"""Sentences tokenized in one call."""


@dataclass(frozen=True)
class TagWindow:
    """A sentence, or a part of one that is too long, with its special tokens: `[CLS] words [SEP]` in BERT's layout.

    Attributes:
        example: number of the sentence among those given.
        words: the words that it holds, from, and up to but without.
        input_ids: int32 `[seq]`, not padded.
        places: int64 `[words]`: position of each word's first token.
    """

    example: int
    words: tuple[int, int]
    input_ids: np.ndarray
    places: np.ndarray

    def labels(self, tags: Sequence[int], ignored: int = -1) -> np.ndarray:
        """Ids of the tags of all words of the sentence, int32 `[seq]`, on their first tokens; `ignored` elsewhere."""
        labels = np.full(len(self.input_ids), ignored, np.int32)
        labels[self.places] = tags[self.words[0] : self.words[1]]
        return labels


def tag_windows(examples: Sequence[TokensExample], tokenizer: Tokenizer, max_length: int) -> Iterator[TagWindow]:
    """Windows of all sentences, in order; each word is in exactly one.

    A word of which the tokenizer leaves nothing, such as a control character, is the unknown token; one that alone is
    too long for a window is cut. Sentences that are too long are cut between words.

    Raises:
        UserError: no room for a word.
    """
    layout = tokenizer.layout
    room = max_length - layout.special(pair=False)
    if room < 1:
        raise UserError(f"max_length {max_length}: expected 3 at least, a word between two special tokens.")
    for first in range(0, len(examples), _BLOCK):
        block = examples[first : first + _BLOCK]
        pieces = iter(tokenizer.pieces([word for example in block for word in example.words], inside=True))
        for number, example in enumerate(block, first):
            ids = [next(pieces).ids[:room].tolist() or [tokenizer.unk_id] for _ in example.words]
            for begin, stop in _parts([len(word) for word in ids], room):
                flat = [token for word in ids[begin:stop] for token in word]
                places = len(layout.begin) + np.cumsum([0, *(len(word) for word in ids[begin : stop - 1])])
                window = np.array([*layout.begin, *flat, *layout.end], np.int32)
                yield TagWindow(number, (begin, stop), window, places)


def _parts(lengths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Runs of words that fit."""
    begin = used = 0
    for place, length in enumerate(lengths):
        if used + length > room:
            yield begin, place
            begin, used = place, 0
        used += length
    if lengths:
        yield begin, len(lengths)


def read_tags(
    examples: Sequence[TokensExample],
    windows: Sequence[TagWindow],
    predictions: Sequence[np.ndarray],
    labels: Sequence[str],
) -> list[list[str]]:
    """Tags of the words of all sentences, from ids predicted for the tokens.

    Args:
        examples: as `tag_windows` had them.
        windows: all of its windows.
        predictions: per window ids `[seq]` or longer (padding is passed over).
        labels: names of the ids.

    Raises:
        UserError: another number of predictions than of windows.
    """
    if len(windows) != len(predictions):
        raise UserError(f"{len(windows)} windows, predictions for {len(predictions)}.")
    tags: list[list[str]] = [[] for _ in examples]
    for window, ids in zip(windows, predictions, strict=True):
        tags[window.example] += [labels[int(number)] for number in np.asarray(ids)[window.places]]
    return tags
