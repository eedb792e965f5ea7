"""What a masked language model would put in a word's place, for the words of many sentences in one stream of batches.

As in TinyBERT's data augmentation (Jiao et al., arXiv 1909.10351) the model reads `[CLS] sentence with the word masked
[SEP] the sentence as it was [SEP]` and its best tokens for the mask are the candidates. Ours and not the original's:

- Words of all sentences share batches, and logits are computed for masked places only.
- Several words of a sentence may be masked at once, which is faster by nearly as much: the words between them stay,
  and the sentence as it was still shows what stood there. Candidates become others in part (a small NEZHA kept 78 % of
  15 with 4 together). The original masks one.
- Sentences that are too long are cut around the words.
- What is no word (continuations, special tokens, punctuation) is left out before the best ones are taken, not after,
  and so is the word itself. Stop words are no candidates: "not" would turn the label round.
- A Chinese word of n characters is masked as a whole, n times [MASK]. Its candidates are the words of n characters with
  the largest product of the characters' probabilities, as far as the segmenter takes them for one word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.distill.augmentation.words import Word, is_chinese, is_spelled
from ms_plm.models.model import Model
from ms_plm.tasks.fill_mask import PlaceLogits
from ms_plm.tokenization import CHINESE, Segmenter, Tokenizer

TOKENS = 512
"""Of a batch, padding included: enough for matrix products to run at full speed, little to hold."""
LENGTHS = (*range(16, 64, 8), *range(64, 128, 16), *range(128, 256, 32), *range(256, 513, 64))
"""To which rows are padded; each is a graph to compile. The row alone decides, so its candidates do not depend on what
stands beside it."""
_SPELLINGS = 3
"""So many more tokens are looked at, as some may be other spellings of the word."""
_CHARACTERS = 24
"""Characters that are tried in each place of a Chinese word."""
_TRIED = 20
"""Combinations of them that are tried for each candidate that is wanted."""


@dataclass(frozen=True)
class Asked:
    """The pieces of a text, int32 `[n]` without special tokens, and words of it: all that are wanted, or a row's."""

    ids: np.ndarray
    words: tuple[Word, ...]


class MaskedCandidates:
    """Candidates of a model for words.

    Args:
        model: with a masked-LM head.
        tokenizer: the model's.
        segmenter: says which Chinese candidates are words.
        most: candidates of each word.
        least: smallest probability of a candidate; of a Chinese word the geometric mean over its characters.
        length: longest row in tokens, special tokens included; a model's absolute positions may allow fewer.
        together: so many words of a sentence are masked at once.
        beside_original: whether the sentence as it was stands behind the masked one.

    Raises:
        UserError: the model has no masked-LM head.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        segmenter: Segmenter,
        most: int = 15,
        least: float = 0.0,
        length: int = 128,
        together: int = 1,
        beside_original: bool = True,
    ) -> None:
        if tokenizer.byte_level:
            raise UserError("augment: words are those of a WordPiece vocabulary; take a BERT or NEZHA model for it.")
        self._logits, self._tokenizer, self._cut = PlaceLogits(model), tokenizer, segmenter.cut
        self._most, self._least = most, least
        self._together, self._beside_original = together, beside_original
        limit = min(length, model.limit or length)
        self.lengths = (*(known for known in LENGTHS if known < limit), limit)
        self._room = (limit - 3) // 2 if beside_original else limit - 2
        self._spelled, self._characters = _usable(tokenizer)

    def __call__(self, asked: Sequence[Asked], done: Callable[[float], None] | None = None) -> list[list[list[str]]]:
        """Candidates of each word of each text, the most probable first; none where nothing is probable enough.

        Args:
            asked: texts, and the words of each for which candidates are wanted.
            done: told the share of the work that is done, after every batch.
        """
        found: list[list[list[str]]] = [[[] for _ in one.words] for one in asked]
        rows = [(number, places) for number, one in enumerate(asked) for places in self.split(one)]
        finished = 0
        for part, length in self._batches(asked, rows):
            masked = [_part(asked[number], places) for number, places in part]
            best = iter(self._best(masked, length))
            for (number, places), one in zip(part, masked, strict=True):
                for place, word in zip(places, one.words, strict=True):
                    found[number][place] = self.choose(one.ids, word, [next(best) for _ in range(word.count)])
            finished += len(part)
            if done:
                done(finished / len(rows))
        return found

    def split(self, one: Asked) -> Iterator[tuple[int, ...]]:
        """Which words share a row: as many as may be masked at once, as far apart as that allows.

        In a sentence that is cut they lie within half of what is shown, so that each has text on both sides.
        """
        whole, start = len(one.ids) <= self._room, 0
        for end in range(1, len(one.words) + 1):
            last = end == len(one.words)
            if last or not (whole or _span(one.words[start : end + 1]) <= self._room // 2):
                rows = -(-(end - start) // self._together)
                yield from (tuple(range(first, end, rows)) for first in range(start, start + rows))
                start = end

    def rows(self, asked: Sequence[Asked], length: int, height: int) -> tuple[tuple[np.ndarray, ...], ...]:
        """What the model reads: `(input_ids, token_type_ids, attention_mask)`, int32 `[height, length]`, and the masked
        places `(rows, columns)`, int64 `[m]`, word by word."""
        token = self._tokenizer
        ids = np.full((height, length), token.pad_id, np.int32)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        places = []
        for row, one in enumerate(asked):
            begin = self._begin(one)
            shown = one.ids[begin : begin + self._room]
            masked = shown.copy()
            for word in one.words:
                first = word.first - begin
                masked[first : first + word.count] = token.mask_id
                places += [(row, 1 + first + number) for number in range(word.count)]
            line = [token.cls_id, *masked, token.sep_id]
            half = len(line)
            if self._beside_original:
                line += [*shown, token.sep_id]
            ids[row, : len(line)], types[row, half : len(line)], mask[row, : len(line)] = line, 1, 1
        rows, columns = np.array(places, np.int64).reshape(-1, 2).T
        return (ids, types, mask), (rows, columns)

    def row_length(self, ids: np.ndarray) -> int:
        """Tokens of a row of a text, padding included."""
        shown = min(len(ids), self._room)
        tokens = 2 * shown + 3 if self._beside_original else shown + 2
        return next(length for length in self.lengths if length >= tokens)

    def _begin(self, one: Asked) -> int:
        """The first piece that is shown: the words lie in the middle."""
        middle = (one.words[0].first + one.words[-1].first + one.words[-1].count) // 2
        return min(max(middle - self._room // 2, 0), max(len(one.ids) - self._room, 0))

    def _batches(self, asked: Sequence[Asked], rows: Sequence[_Row]) -> Iterator[tuple[list[_Row], int]]:
        """Rows that are padded to the same length, as many as make a batch."""
        by_length: dict[int, list[_Row]] = {}
        for row in rows:
            by_length.setdefault(self.row_length(asked[row[0]].ids), []).append(row)
        for length, alike in sorted(by_length.items()):
            height = max(1, TOKENS // length)
            for start in range(0, len(alike), height):
                yield alike[start : start + height], length

    def _best(self, asked: Sequence[Asked], length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For every masked place what `best` says."""
        inputs, (rows, columns) = self.rows(asked, length, max(1, TOKENS // length))
        chinese = np.array([word.chinese for one in asked for word in one.words for _ in range(word.count)], bool)
        start = 0
        for logits in self._logits(*inputs, rows, columns):
            yield from self.best(logits, chinese[start : start + len(logits)])
            start += len(logits)

    def best(self, logits: np.ndarray, chinese: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each place the best ids, best first, and the logarithms of their probabilities.

        Args:
            logits: fp32 `[m, V]`.
            chinese: whether a Chinese character is wanted, else a word of letters; bool `[m]`.
        """
        logits = logits[:, : self._tokenizer.vocab_size]  # the rest has no tokens
        most = logits.max(1, keepdims=True)
        totals = (most + np.log(np.exp(logits - most).sum(1, keepdims=True)))[:, 0]
        for row, total, character in zip(logits, totals, chinese, strict=True):
            usable = self._characters if character else self._spelled
            scores = row[usable]
            count = min(max(_CHARACTERS, self._most + 1) if character else self._most + _SPELLINGS, len(usable))
            near = np.argpartition(scores, len(usable) - count)[len(usable) - count :]
            order = near[np.lexsort((near, -scores[near]))]
            yield usable[order], scores[order] - total

    def choose(self, ids: np.ndarray, word: Word, best: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[str]:
        """A word's candidates from what `best` gave for each of its places; `ids` are those of its text."""
        entries = self._tokenizer.vocabulary
        itself = "".join(entries[token] for token in ids[word.first : word.first + word.count])
        if word.chinese:
            return self._words(itself, best)
        ((tokens, values),) = best
        probable = [entries[token] for token, value in zip(tokens, values, strict=True) if np.exp(value) >= self._least]
        return [entry for entry in probable if entry.lower() != itself.lower()][: self._most]

    def _words(self, itself: str, best: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[str]:
        """Chinese words from the best characters of each place."""
        entries, count = self._tokenizer.vocabulary, len(best)
        found = []
        for tokens, value in _combined(best, _TRIED * self._most):
            if np.exp(value / count) < self._least or len(found) == self._most:
                break
            text = "".join(entries[token] for token in tokens)
            whole = count == 1 or self._cut is None or self._cut(text) == [text]
            if text != itself and whole and is_chinese(text):
                found.append(text)
        return found


_Row = tuple[int, tuple[int, ...]]
"""Number of a text, and those of its words that share a row."""


def _part(one: Asked, places: Sequence[int]) -> Asked:
    return Asked(one.ids, tuple(one.words[place] for place in places))


def _span(words: Sequence[Word]) -> int:
    """Pieces from the first word to the last."""
    return words[-1].first + words[-1].count - words[0].first


def _combined(best: Sequence[tuple[np.ndarray, np.ndarray]], most: int) -> list[tuple[np.ndarray, float]]:
    """The combinations of one id for each place with the largest sums of values, at most `most`, the largest first.

    Exact: what is not among the best up to some place cannot be among the best up to the next one.
    """
    ids, sums = np.zeros((1, 0), np.int64), np.zeros(1)
    for tokens, values in best:
        totals = (sums[:, None] + values[None, :]).ravel()
        order = np.argsort(-totals, kind="stable")[:most]
        before, now = np.divmod(order, len(tokens))
        ids, sums = np.concatenate([ids[before], tokens[now][:, None]], axis=1), totals[order]
    return list(zip(ids, sums.tolist(), strict=True))


def _usable(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Ids of words of letters, and of single Chinese characters."""
    spelled, characters = [], []
    for number, entry in enumerate(tokenizer.vocabulary):
        chinese = any(CHINESE[ord(character)] for character in entry)
        if chinese and len(entry) == 1:
            characters.append(number)
        elif not chinese and is_spelled(entry):  # continuations and special tokens have signs, [unused1] has a digit
            spelled.append(number)
    return np.array(spelled, np.int64), np.array(characters, np.int64)
