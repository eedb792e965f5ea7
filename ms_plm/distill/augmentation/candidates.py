"""What a masked language model would put in a word's place, for the words of many sentences in one stream of batches.

As in TinyBERT's data augmentation (Jiao et al., arXiv 1909.10351) the model reads `[CLS] sentence with the word masked
[SEP] the sentence as it was [SEP]` and its best tokens for the mask are the candidates. Ours and not the original's:

- Words of all sentences share batches, and logits are computed for masked places only.
- Sentences that are too long are cut around the word.
- What is no word (continuations, special tokens, punctuation) is left out before the best ones are taken, not after,
  and so is the word itself. Stop words are no candidates: "not" would turn the label round.
- A Chinese word of n characters is masked as a whole, n times [MASK]. Its candidates are the words of n characters with
  the largest product of the characters' probabilities, as far as the segmenter takes them for one word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ms_plm.distill.augmentation.words import Word, is_chinese, is_spelled
from ms_plm.models.model import Model
from ms_plm.tasks.fill_mask import PlaceLogits
from ms_plm.tokenization import CHINESE, Segmenter, Tokenizer

TOKENS = 1024
"""Of a batch, padding included: enough for matrix products to run at full speed, little to hold."""
LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
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
    """A word for which candidates are wanted, and the pieces of its text, int32 `[n]`."""

    ids: np.ndarray
    word: Word


class MaskedCandidates:
    """Candidates of a model for words.

    Args:
        model: with a masked-LM head.
        tokenizer: the model's.
        segmenter: says which Chinese candidates are words.
        most: candidates of each word.
        least: smallest probability of a candidate; of a Chinese word the geometric mean over its characters.
        length: longest row in tokens, special tokens included; a model's absolute positions may allow fewer.
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
        beside_original: bool = True,
    ) -> None:
        self._logits, self._tokenizer, self._cut = PlaceLogits(model), tokenizer, segmenter.cut
        self._most, self._least, self._beside_original = most, least, beside_original
        limit = min(length, model.limit or length)
        self.lengths = (*(known for known in LENGTHS if known < limit), limit)
        self._room = (limit - 3) // 2 if beside_original else limit - 2
        self._spelled, self._characters = _usable(tokenizer)

    def __call__(self, asked: Sequence[Asked], done: Callable[[float], None] | None = None) -> list[list[str]]:
        """Candidates of each word, the most probable first; none where nothing is probable enough.

        Args:
            asked: words of any texts.
            done: told the share of the words that are done, after every batch.
        """
        found: list[list[str]] = [[] for _ in asked]
        finished = 0
        for numbers, length in self._batches(asked):
            part = [asked[number] for number in numbers]
            places = iter(self._places(part, length))
            for number, one in zip(numbers, part, strict=True):
                found[number] = self.choose(one, [next(places) for _ in range(one.word.count)])
            finished += len(numbers)
            if done:
                done(finished / len(asked))
        return found

    def rows(self, asked: Sequence[Asked], length: int, height: int) -> tuple[tuple[np.ndarray, ...], ...]:
        """What the model reads: `(input_ids, token_type_ids, attention_mask)`, int32 `[height, length]`, and the masked
        places `(rows, columns)`, int64 `[m]`, word by word."""
        token = self._tokenizer
        ids = np.full((height, length), token.pad_id, np.int32)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        places = []
        for row, one in enumerate(asked):
            shown, first = self._window(one)
            masked = shown.copy()
            masked[first : first + one.word.count] = token.mask_id
            line = [token.cls_id, *masked, token.sep_id]
            half = len(line)
            if self._beside_original:
                line += [*shown, token.sep_id]
            ids[row, : len(line)], types[row, half : len(line)], mask[row, : len(line)] = line, 1, 1
            places += [(row, 1 + first + number) for number in range(one.word.count)]
        rows, columns = np.array(places, np.int64).reshape(-1, 2).T
        return (ids, types, mask), (rows, columns)

    def row_length(self, one: Asked) -> int:
        """Tokens of a word's row, padding included."""
        shown = min(len(one.ids), self._room)
        tokens = 2 * shown + 3 if self._beside_original else shown + 2
        return next(length for length in self.lengths if length >= tokens)

    def _window(self, one: Asked) -> tuple[np.ndarray, int]:
        """The pieces that are shown, and where the word begins among them."""
        word, room = one.word, self._room
        first = min(max(word.first + word.count // 2 - room // 2, 0), max(len(one.ids) - room, 0))
        return one.ids[first : first + room], word.first - first

    def _batches(self, asked: Sequence[Asked]) -> Iterator[tuple[list[int], int]]:
        """Numbers of words whose rows are padded to the same length, as many as make a batch."""
        lengths = np.array([self.row_length(one) for one in asked], np.int64)
        for length in self.lengths:
            numbers = np.flatnonzero(lengths == length).tolist()
            height = max(1, TOKENS // length)
            for start in range(0, len(numbers), height):
                yield numbers[start : start + height], length

    def _places(self, asked: Sequence[Asked], length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For every masked place the best ids, best first, and the logarithms of their probabilities."""
        inputs, (rows, columns) = self.rows(asked, length, max(1, TOKENS // length))
        chinese = np.array([one.word.chinese for one in asked for _ in range(one.word.count)], bool)
        start = 0
        for logits in self._logits(*inputs, rows, columns):
            yield from self.best(logits, chinese[start : start + len(logits)])
            start += len(logits)

    def best(self, logits: np.ndarray, chinese: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same from logits fp32 `[m, V]`, and whether a Chinese character is wanted, bool `[m]`."""
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

    def choose(self, one: Asked, best: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[str]:
        """A word's candidates from what `best` gave for each of its places."""
        return self._words(one, best) if one.word.chinese else self._tokens(one, *best)

    def _tokens(self, one: Asked, best: tuple[np.ndarray, np.ndarray]) -> list[str]:
        entries = self._tokenizer.vocabulary
        itself = entries[one.ids[one.word.first]].lower()
        probable = [entries[token] for token, value in zip(*best, strict=True) if np.exp(value) >= self._least]
        return [entry for entry in probable if entry.lower() != itself][: self._most]

    def _words(self, one: Asked, best: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[str]:
        """Chinese words from the best characters of each place."""
        entries, word = self._tokenizer.vocabulary, one.word
        itself = "".join(entries[token] for token in one.ids[word.first : word.first + word.count])
        found = []
        for tokens, value in _combined(best, _TRIED * self._most):
            if np.exp(value / word.count) < self._least or len(found) == self._most:
                break
            text = "".join(entries[token] for token in tokens)
            whole = word.count == 1 or self._cut is None or self._cut(text) == [text]
            if text != itself and whole and is_chinese(text):
                found.append(text)
        return found


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
