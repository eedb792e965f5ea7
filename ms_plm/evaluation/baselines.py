"""Masked-LM baselines that count: the most frequent token, and the token that fits both neighbours best.

Counts are taken over the training documents of a prepared corpus; pairs are neighbouring tokens of one document,
sentence ends notwithstanding, as samples lay sentences end to end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ms_plm.common.errors import UserError

if TYPE_CHECKING:
    from ms_plm.data.corpus import Corpus, Shard

log = logging.getLogger(__name__)

ADDED = 0.05
"""Added to every count of a pair."""
_TOKENS = 1 << 20  # tokens counted at once
_SCORES = 1 << 21  # scores held at once: 16 MiB of float64, in a few arrays
_LARGEST = 50_000_000  # different pairs held; about 600 MB


@dataclass(frozen=True)
class TokenCounts:
    """Counts over training documents.

    Attributes:
        tokens: int64 `[V]`.
        pairs: sparse `[V, V]`, entry (l, x) says how often x follows l.
    """

    tokens: np.ndarray
    pairs: sparse.csr_matrix

    @classmethod
    def of(cls, corpus: Corpus, block: int = _TOKENS, largest: int = _LARGEST) -> TokenCounts:
        """Count a corpus.

        Args:
            corpus: prepared.
            block: tokens handled at once.
            largest: number of different pairs held in memory; beyond it pairs seen once are forgotten, and the log
                says so.

        Raises:
            UserError: it has no training documents.
        """
        size = corpus.manifest["tokenizer"]["vocab_size"]
        tokens = np.zeros(size, np.int64)
        total = sparse.csr_matrix((size, size), dtype=np.int64)
        waiting, waiting_size = [], 0
        for first, second, singles in _blocks(corpus, block):
            tokens += np.bincount(singles, minlength=size)
            keys, counts = np.unique(first.astype(np.int64) * size + second, return_counts=True)
            waiting.append(sparse.csr_matrix((counts, (keys // size, keys % size)), shape=(size, size)))
            waiting_size += len(keys)
            if waiting_size > max(total.nnz, block):  # each pair is copied a logarithmic number of times
                total, waiting, waiting_size = _bounded(sum(waiting, total), largest), [], 0
        if not tokens.any():
            raise UserError(f"{corpus.folder}: the corpus has no training documents to count.")
        return cls(tokens, _bounded(sum(waiting, total), largest))


def _bounded(pairs: sparse.csr_matrix, largest: int) -> sparse.csr_matrix:
    if pairs.nnz <= largest:
        return pairs
    pairs.data[pairs.data == 1] = 0
    pairs.eliminate_zeros()
    log.warning("more than %d different pairs of tokens: pairs seen once so far are forgotten", largest)
    return pairs


def _blocks(corpus: Corpus, block: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Left and right tokens of the pairs, and the tokens, of some of the training text at a time."""
    for shard in corpus.shards:
        ends = np.asarray(shard.sentences)[np.asarray(shard.documents)[1:]]
        for start in range(0, len(shard.tokens), block):
            yield _block(shard, ends, start, block)


def _block(shard: Shard, ends: np.ndarray, start: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tokens = np.asarray(shard.tokens[start : start + size + 1])  # one more: the right side of the last pair
    document = np.searchsorted(ends, np.arange(start, start + len(tokens)), side="right")
    training = np.asarray(shard.roles)[document] == 0
    paired = training[:-1] & (document[:-1] == document[1:])
    return tokens[:-1][paired], tokens[1:][paired], tokens[:size][training[:size]]


class MostFrequentBaseline:
    """Answers the most frequent token of the training text, whatever the input."""

    def __init__(self, counts: TokenCounts) -> None:
        self.token = int(counts.tokens.argmax())

    def predict(self, input_ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Ids int32 `[M]` for flat positions `[M]` in input_ids `[n, S]`."""
        return np.full(len(positions), self.token, np.int32)


class NeighbourBaseline:
    """argmax over x of c(l,x) c(x,r) / c(x), with 0.05 added to the count of every pair.

    So c(x), the sum of a token's pairs, becomes c(x) + 0.05 V. l and r are the tokens shown to the left and right; a
    neighbour that is [MASK], [CLS], [SEP] or [PAD] is left out: with one neighbour the score is its pair count alone,
    with none it is c(x). Only tokens that occur in the training text are answered; of equal scores the most frequent
    token is taken, then the lowest id.
    """

    def __init__(self, counts: TokenCounts, left_out: tuple[int, ...]) -> None:
        """Take the counts.

        Args:
            counts: of the training text.
            left_out: ids that are no neighbours: [MASK], [CLS], [SEP], [PAD].
        """
        order = np.argsort(-counts.tokens, kind="stable")
        self._answers = order[: np.count_nonzero(counts.tokens)].astype(np.int32)
        self._tokens = counts.tokens[self._answers].astype(np.float64)
        self._following = counts.pairs.tocsr()[:, self._answers]
        self._preceding = counts.pairs.T.tocsr()[:, self._answers]
        self._marginal = self._tokens + ADDED * len(counts.tokens)
        self._known = np.ones(len(counts.tokens), bool)
        self._known[list(left_out)] = False

    @classmethod
    def from_corpus(cls, corpus: Corpus) -> NeighbourBaseline:
        """Count the training documents of a corpus."""
        tokenizer = corpus.tokenizer()
        return cls(TokenCounts.of(corpus), not_neighbours(tokenizer))

    def predict(self, input_ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Ids int32 `[M]` for flat positions `[M]` in input_ids `[n, S]`, the masked input as a model sees it."""
        width = input_ids.shape[1]
        flat = np.asarray(input_ids).reshape(-1)
        positions = np.asarray(positions, np.int64)
        column = positions % width
        left = np.where(column > 0, flat[np.maximum(positions - 1, 0)], -1)
        right = np.where(column < width - 1, flat[np.minimum(positions + 1, len(flat) - 1)], -1)
        left, right = (np.where((side >= 0) & self._known[side], side, -1) for side in (left, right))
        contexts, where = np.unique(np.stack([left, right], axis=1), axis=0, return_inverse=True)
        answers = np.empty(len(contexts), np.int32)
        rows = max(1, _SCORES // len(self._answers))
        for start in range(0, len(contexts), rows):
            answers[start : start + rows] = self._best(*contexts[start : start + rows].T)
        return answers[where.reshape(-1)]

    def _best(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The best token for pairs of neighbours `[k]`, -1 where there is none."""
        scores = np.ones((len(left), len(self._answers)))
        for side, pairs in ((left, self._following), (right, self._preceding)):
            known = np.flatnonzero(side >= 0)
            scores[known] *= pairs[side[known]].toarray() + ADDED
        scores[(left >= 0) & (right >= 0)] /= self._marginal
        scores[(left < 0) & (right < 0)] = self._tokens
        return self._answers[scores.argmax(axis=1)]


def not_neighbours(tokenizer) -> tuple[int, ...]:
    """Ids that tell nothing about the token beside them: [MASK], [CLS], [SEP], [PAD]."""
    return tokenizer.mask_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
