"""Samples for pretraining, drawn from a prepared corpus in whole batches: sentence pairs or packed text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from ms_plm.common import rng
from ms_plm.common.errors import UserError
from ms_plm.data.batches import SampleBatch
from ms_plm.data.order import keys_of
from ms_plm.data.table import ROLES, SampleTable, ragged_range

if TYPE_CHECKING:
    from ms_plm.data.corpus import Corpus
    from ms_plm.tokenization import Tokenizer

# operation numbers of the draws that make a pair
_SPLIT, _RANDOM_NEXT, _PARTNER, _PARTNER_SPLIT, _SHORT, _TARGET = range(6)


class SampleSource(Protocol):
    """What a loader reads: `len()` samples that are the same in number for every epoch."""

    max_length: int
    nsp: bool
    tokenizer: Tokenizer | None

    def __len__(self) -> int: ...

    def batch(self, epochs: np.ndarray, indices: np.ndarray) -> SampleBatch:
        """The samples `indices` int64 `[n]` as they are in `epochs` int64 `[n]`."""


class CorpusSamples:
    """Samples of one split of a prepared corpus.

    With `nsp` a sample is `[CLS] A [SEP] B [SEP]`, or a pair in the tokenizer's other layout: A is the head of a chunk
    (sentences of one document, as many as fit); B is its rest or, with probability 1/2 if there is more than one
    document, what stands after a split of a chunk of another document (Devlin et al. 2019, A.2). Where the split falls,
    what B is and which samples are short are drawn anew every epoch. Without `nsp` a sample is `[CLS] text [SEP]` of
    full length, cut from all documents of the split laid end to end with [SEP] between them: every token stands in
    exactly one sample of an epoch.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: Literal["train", "held_out"] = "train",
        max_length: int = 128,
        nsp: bool = True,
        short_sample_probability: float = 0.1,
        *,
        cache: str | Path,
        seed: int = 1,
    ) -> None:
        """Open the sample table in `cache`, which is built first where it is not there yet.

        Raises:
            UserError: the split is empty, `max_length` is below 8, or the disk is full.
        """
        if max_length < 8:
            raise UserError(f"data.max_length is {max_length}: at least 8 is needed for a pair of segments.")
        if split not in ROLES:
            raise ValueError(f"split is {split!r}; expected one of {', '.join(ROLES)}")
        self.corpus, self.split, self.max_length, self.nsp, self.seed = corpus, split, max_length, nsp, seed
        self.short_sample_probability = short_sample_probability
        self.tokenizer = corpus.tokenizer()
        special = self.tokenizer.layout.special(pair=True)
        self._full_pair = max_length - special
        self._shards = corpus.shards
        self._token_base = np.cumsum([0] + [len(shard.tokens) for shard in corpus.shards])
        self._table = SampleTable.open_or_build(corpus, Path(cache), split, max_length, nsp, special)
        if nsp:
            self._sentences = _Boundaries([shard.sentences for shard in corpus.shards], self._token_base)
            chunks = np.asarray(self._table["document_chunks"], np.int64)
            self._first_chunk = np.concatenate(([0], np.cumsum(chunks)))
            self._length = len(self._table["start"])
        else:
            lengths = np.asarray(self._table["document_length"], np.int64)
            self._stream = np.concatenate(([0], np.cumsum(lengths + 1)))  # each document and its separator
            self._length = int(-(-(self._stream[-1] - 1) // (max_length - 2)))

    def __len__(self) -> int:
        return self._length

    def batch(self, epochs: np.ndarray, indices: np.ndarray) -> SampleBatch:
        """The samples `indices` int64 `[n]` as they are in `epochs` int64 `[n]`."""
        epochs, indices = np.asarray(epochs, np.int64), np.asarray(indices, np.int64)
        return self._pairs(epochs, indices) if self.nsp else self._packed(indices)

    # --- sentence pairs -------------------------------------------------------------------------------------------

    def _pairs(self, epochs: np.ndarray, indices: np.ndarray) -> SampleBatch:
        table, keys = self._table, keys_of(self.seed, epochs, indices, rng.SAMPLE_TABLE)
        start, length = table["start"][indices], table["length"][indices].astype(np.int64)
        document = table["document"][indices].astype(np.int64)
        split = self._split(indices, keys, _SPLIT)

        random_next = np.zeros(len(indices), bool)
        second, limit = split, start + length
        if len(self._first_chunk) > 2:  # more than one document
            random_next = (rng.uniform(keys, _RANDOM_NEXT, 1)[:, 0] < 0.5) | (length == 1)
            partner = self._partner(document, keys)
            other = np.minimum(
                self._split(partner, keys, _PARTNER_SPLIT), table["start"][partner] + table["length"][partner] - 1
            )
            second = np.where(random_next, other, split)
            limit = np.where(random_next, table["document_end"][table["document"][partner]], limit)

        # B fills what A leaves of a full sample, whatever B is: lengths do not give the label away
        full, a_length = self._full_pair, split - start
        b_length = np.minimum(limit - second, full - a_length)
        # a short sample takes from the longer side until both fit: A loses its head, B its tail
        target = self._targets(keys)
        b_length = np.minimum(b_length, np.maximum(target - a_length, target // 2))
        cut = np.flatnonzero(second + b_length < limit)
        b_length[cut] = self._sentences.round_down(second[cut], b_length[cut])
        a_kept = np.minimum(a_length, target - b_length)
        return self._assemble_pairs(split - a_kept, a_kept, second, b_length, random_next)

    def _targets(self, keys: np.ndarray) -> np.ndarray:
        """Tokens that A and B may have together: all that fit, or for short samples uniform from 2 to that."""
        full = self._full_pair
        short = rng.uniform(keys, _SHORT, 1)[:, 0] < self.short_sample_probability
        return np.where(short, 2 + rng.integers(keys, _TARGET, 1, full - 1)[:, 0], full)

    def _partner(self, document: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """A chunk of any document but `document` `[n]`, all such chunks being equally likely."""
        first = self._first_chunk[document]
        own = self._first_chunk[document + 1] - first
        drawn = rng.integers(keys, _PARTNER, 1, (len(self) - own)[:, None])[:, 0]
        return np.where(drawn >= first, drawn + own, drawn)

    def _split(self, chunks: np.ndarray, keys: np.ndarray, operation: int) -> np.ndarray:
        """Where the second segment of each chunk begins, as a token of the corpus: int64 `[n]`.

        At a random sentence; in a chunk of one sentence at a random word but the first, or token if it is one word;
        in a chunk of one token at its end.
        """
        table = self._table
        inner = table["inner_count"][chunks].astype(np.int64)
        result = table["start"][chunks].astype(np.int64)
        several = np.flatnonzero(inner > 0)
        drawn = rng.integers(keys[several], operation, 1, inner[several, None])[:, 0]
        result[several] = self._sentences.take(table["inner_first"][chunks[several]] + drawn, result[several])
        single = np.flatnonzero(inner == 0)
        if single.size:
            length = table["length"][chunks[single]].astype(np.int64)
            result[single] += self._split_sentence(result[single], length, keys[single], operation)
        return result

    def _split_sentence(self, start: np.ndarray, length: np.ndarray, keys: np.ndarray, operation: int) -> np.ndarray:
        """Offsets `[m]` in 1 .. length - 1 (1 for a single token) at which sentences are split."""
        width = max(1, int(length.max()) - 1)
        places = np.zeros((len(start), width), bool)
        inner = np.maximum(length - 1, 0)
        rows = np.repeat(np.arange(len(start)), inner)
        columns = ragged_range(np.zeros(len(start), np.int64), inner)
        places[rows, columns] = self._gather(("word_starts",), start + 1, inner)[0]
        plain = ~places.any(axis=1)
        places[plain] = np.arange(width) < np.maximum(inner[plain, None], 1)
        ranks = np.cumsum(places, axis=1)
        drawn = rng.integers(keys, operation, 1, ranks[:, -1:])
        return 1 + (ranks > drawn).argmax(axis=1)

    def _assemble_pairs(
        self, a_start: np.ndarray, a_length: np.ndarray, b_start: np.ndarray, b_length: np.ndarray, random: np.ndarray
    ) -> SampleBatch:
        n, layout = len(a_start), self.tokenizer.layout
        first = np.full(n, len(layout.begin))
        second = first + a_length + len(layout.between)
        total = second + b_length + len(layout.end)
        batch = self._assemble(
            np.concatenate((np.arange(n), np.arange(n))),
            np.concatenate((first, second)),
            np.concatenate((a_start, b_start)),
            np.concatenate((a_length, b_length)),
            total,
            random.astype(np.int32),
        )
        rows = np.arange(n)
        for place, tokens in ((first + a_length, layout.between), (second + b_length, layout.end)):
            for number, token in enumerate(tokens):
                batch.input_ids[rows, place + number] = token
        columns = np.arange(self.max_length)
        batch.token_type_ids[:] = layout.second_type * ((columns >= second[:, None]) & (columns < total[:, None]))
        return batch

    # --- packed text ----------------------------------------------------------------------------------------------

    def _packed(self, indices: np.ndarray) -> SampleBatch:
        """Windows of the stream; a separator at a window's edge is left out, [CLS] and the last [SEP] do its work."""
        width = self.max_length - 2
        low = indices * width
        high = np.minimum(low + width, self._stream[-1] - 1)
        low += self._is_separator(low)
        high -= self._is_separator(high - 1)
        first = np.searchsorted(self._stream, low, side="right") - 1
        counts = np.searchsorted(self._stream, high, side="left") - first

        row = np.repeat(np.arange(len(indices)), counts)
        document = ragged_range(first, counts)
        begin = np.maximum(self._stream[document], low[row])
        end = np.minimum(self._stream[document + 1] - 1, high[row])
        inner = np.flatnonzero(end < high[row])  # a separator follows within the window
        start = self._table["document_start"][document] + (begin - self._stream[document])
        batch = self._assemble(row, 1 + begin - low[row], start, end - begin, high - low + 2, None)
        batch.input_ids[row[inner], 1 + end[inner] - low[row[inner]]] = self.tokenizer.sep_id
        batch.input_ids[np.arange(len(indices)), high - low + 1] = self.tokenizer.sep_id
        return batch

    def _is_separator(self, slots: np.ndarray) -> np.ndarray:
        return self._stream[np.searchsorted(self._stream, slots + 1)] == slots + 1

    # --- common ---------------------------------------------------------------------------------------------------

    def _assemble(
        self,
        row: np.ndarray,
        column: np.ndarray,
        start: np.ndarray,
        length: np.ndarray,
        total: np.ndarray,
        labels: np.ndarray | None,
    ) -> SampleBatch:
        """Lay `m` segments of tokens into `n` rows of which `total` `[n]` positions are used; [SEP] is left to do.

        Args:
            row, column, start, length: int64 `[m]`: target row and first column, first token of the corpus, tokens.
        """
        n, width = len(total), self.max_length
        used = np.arange(width) < total[:, None]
        input_ids = np.full((n, width), self.tokenizer.pad_id, np.int32)
        word_starts, maskable = np.zeros((n, width), bool), np.zeros((n, width), bool)
        first = row * width + column
        places = ragged_range(first, length)
        tokens, words = self._gather(("tokens", "word_starts"), start, length)
        input_ids.reshape(-1)[places] = tokens
        word_starts.reshape(-1)[places] = words
        word_starts.reshape(-1)[first[length > 0]] = True
        maskable.reshape(-1)[places] = True
        input_ids[:, 0] = self.tokenizer.cls_id
        return SampleBatch(
            input_ids, np.zeros((n, width), np.int32), used.astype(np.int32), word_starts, maskable, labels
        )

    def _gather(self, names: tuple[str, ...], start: np.ndarray, length: np.ndarray) -> list[np.ndarray]:
        """The values of segments `[m]` of the corpus, one after the other, from each of the named arrays."""
        shard_of = np.searchsorted(self._token_base, start, side="right") - 1
        shards = np.unique(shard_of[length > 0])
        if len(shards) == 1:
            places = ragged_range(start - self._token_base[shards[0]], length)
            return [np.asarray(getattr(self._shards[shards[0]], name))[places] for name in names]
        owner = np.repeat(shard_of, length)
        places = ragged_range(start, length)
        results = [np.empty(len(places), np.int32 if name == "tokens" else bool) for name in names]
        for shard in shards:
            here = np.flatnonzero(owner == shard)
            local = places[here] - self._token_base[shard]
            for name, result in zip(names, results, strict=True):
                result[here] = np.asarray(getattr(self._shards[shard], name))[local]
        return results


class _Boundaries:
    """Sentence boundaries of several shards, numbered and placed over all of them."""

    def __init__(self, arrays: list[np.ndarray], token_base: np.ndarray) -> None:
        self._arrays = [np.asarray(array) for array in arrays]
        self._token_base = token_base
        self._base = np.cumsum([0] + [len(array) for array in arrays])

    def _shards(self, tokens: np.ndarray) -> list[tuple[int, np.ndarray]]:
        owner = np.searchsorted(self._token_base, tokens, side="right") - 1
        return [(int(shard), np.flatnonzero(owner == shard)) for shard in np.unique(owner)]

    def take(self, numbers: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Tokens at which boundaries `numbers` `[m]` lie, in the shards of `tokens` `[m]`."""
        result = np.empty(len(numbers), np.int64)
        for shard, here in self._shards(tokens):
            result[here] = self._arrays[shard][numbers[here] - self._base[shard]] + self._token_base[shard]
        return result

    def round_down(self, start: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Lengths `[m]` of the segments cut back to the last sentence end within them, if there is one."""
        result = length.copy()
        for shard, here in self._shards(start):
            local, array = start[here] - self._token_base[shard], self._arrays[shard]
            end = np.asarray(array[np.searchsorted(array, local + length[here], side="right") - 1])
            result[here] = np.where(end > local, end - local, length[here])
        return result
