"""Variants of a text: each of its words gives way with some probability to one of its candidates, drawn uniformly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ms_plm.common import rng
from ms_plm.distill.augmentation.words import ReadText

_TRIES = 4
"""Draws for every variant that is wanted: some draws change nothing, or give what is there already."""


def variants(
    read: ReadText, candidates: Sequence[Sequence[str]], count: int, probability: float, seed: int, row: int, side: int
) -> list[str]:
    """Different variants of a text, none of them the text itself; fewer than `count` where its words allow no more.

    What is drawn is a function of (seed, row, number of the draw, side), so it does not matter in which order, or in
    how many goes, rows are augmented. A candidate takes the capitals of the word in whose place it stands; everything
    else of the text stays as it is. (The original lower-cases a text and joins its words by spaces, and draws `count`
    times, whatever comes out.)

    Args:
        read: the text.
        candidates: of each of its words; a word without any stays.
        count: of variants.
        probability: with which a word gives way.
        seed: of the augmentation.
        row: number of the text's row in the data set.
        side: 0 for the text, 1 for the second one of a pair.
    """
    open_to = [number for number, words in enumerate(candidates) if words]
    if not open_to:
        return []
    sizes = np.array([len(candidates[number]) for number in open_to])
    keys = rng.sample_keys(seed, row, np.arange(_TRIES * count), rng.AUGMENTATION)
    replaced = rng.uniform(keys, 2 * side, len(open_to)) < probability
    chosen = rng.integers(keys, 2 * side + 1, len(open_to), sizes)
    made: dict[str, None] = {}
    for changes, choices in zip(replaced, chosen, strict=True):
        parts, at = [], 0
        for place in np.flatnonzero(changes):
            word = read.words[open_to[place]]
            there = read.text[word.begin : word.end]
            parts += [read.text[at : word.begin], with_capitals_of(there, candidates[open_to[place]][choices[place]])]
            at = word.end
        text = "".join([*parts, read.text[at:]])
        if text != read.text:
            made[text] = None
        if len(made) == count:
            break
    return list(made)


def with_capitals_of(word: str, candidate: str) -> str:
    """`Film` turns `picture` into `Picture`, `FILM` into `PICTURE`."""
    if word.isupper():
        return candidate.upper()
    return candidate[0].upper() + candidate[1:] if word[0].isupper() else candidate
