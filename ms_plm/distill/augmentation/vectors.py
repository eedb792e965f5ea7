"""Neighbours of words by the cosine of their vectors, from a text file as GloVe and word2vec write it."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.files import Place, lines
from ms_plm.distill.augmentation.words import is_spelled

_LOOKED_AT = 100
"""Lines from which the number of dimensions is told."""
_BYTES = 32 << 20
"""Of the cosines that are held at once."""
_SPELLINGS = 4
"""So many more neighbours are looked at, as some may be other spellings of the word."""


class WordVectors:
    """Words with vectors of length 1.

    Memory: 4 bytes a dimension and word, and 32 MB while neighbours are looked for.

    Args:
        words: each once.
        vectors: float32 `[n, D]` of length 1.
    """

    def __init__(self, words: Sequence[str], vectors: np.ndarray) -> None:
        self.words = list(words)
        self._number = {word: number for number, word in enumerate(self.words)}
        self._vectors = vectors

    @classmethod
    def load(cls, path: Path, most: int = 100_000) -> WordVectors:
        """Read a file with a word and its numbers a line, separated by spaces; the first line may count both.

        The numbers are taken from the end, since words of some files hold spaces. Only what `is_spelled` is kept:
        other words are neither looked up nor proposed. Of a word that stands there twice, the first counts.

        Args:
            path: the file.
            most: read so many lines; such files begin with the most frequent words.

        Raises:
            UserError: no such file, not UTF-8, a line of another shape (file and line are named), no word to keep.
        """
        reader = iter(lines(path))
        head = list(itertools.islice(reader, _LOOKED_AT))
        counted = bool(head) and len(cells := head[0][1].split()) == 2 and all(cell.isdecimal() for cell in cells)
        dimensions = int(cells[1]) if counted else _dimensions(text for _, text in head)
        words: dict[str, int] = {}
        lines_there = path.stat().st_size // (2 * dimensions) + 1 if head else 0  # at most: a digit and a space each
        vectors = np.empty((min(most, lines_there), dimensions), np.float32)
        for place, text in itertools.islice(itertools.chain(head[counted:], reader), most):
            if not text.strip():
                continue
            word, *cells = text.rstrip(" ").rsplit(" ", dimensions)
            vector = _numbers(cells, dimensions, place)
            if word not in words and is_spelled(word) and vector.any():
                vectors[len(words)] = vector / np.linalg.norm(vector)
                words[word] = len(words)
        if not words:
            raise UserError(f"{path}: no word vectors. Expected a word and its numbers a line, separated by spaces.")
        return cls(list(words), vectors[: len(words)])

    def neighbours(self, words: Sequence[str], most: int, least: float = -1.0) -> list[list[str]]:
        """The nearest words of each word, the nearest first; none for a word that is not in the file.

        A word is looked up as it is, else in lower case. Other spellings of it (upper case) are no neighbours.

        Args:
            words: any.
            most: neighbours of each.
            least: smallest cosine.
        """
        numbers = [self._number.get(word, self._number.get(word.lower(), -1)) for word in words]
        found: list[list[str]] = [[] for _ in words]
        known = [place for place, number in enumerate(numbers) if number >= 0]
        together = max(1, _BYTES // (4 * len(self.words)))
        for start in range(0, len(known), together):
            part = known[start : start + together]
            queries = [numbers[place] for place in part]
            cosines = self._vectors[queries] @ self._vectors.T
            count = min(most + _SPELLINGS, len(self.words))
            best = np.argpartition(cosines, len(self.words) - count, axis=1)[:, -count:]
            for place, row, candidates in zip(part, cosines, best, strict=True):
                order = candidates[np.lexsort((candidates, -row[candidates]))]
                near = [self.words[number] for number in order if row[number] >= least]
                found[place] = [word for word in near if word.lower() != words[place].lower()][:most]
        return found


def _dimensions(texts: Iterator[str]) -> int:
    """What most lines have: a word with a space, or a damaged line, makes a line look longer or shorter."""
    counts = Counter(text.rstrip(" ").count(" ") for text in texts if text.strip())
    return max(counts.most_common(1)[0][0], 1) if counts else 1


def _numbers(cells: Sequence[str], dimensions: int, place: Place) -> np.ndarray:
    try:
        vector = np.array(cells, np.float64)
    except ValueError:
        vector = np.full(dimensions, math.nan)
    if len(vector) != dimensions or not np.isfinite(vector).all():
        raise UserError(
            f"{place}: expected a word and {dimensions} numbers, separated by spaces. Is the file whole? Copy or "
            "download it again, or remove the line."
        )
    return vector
