"""Masking strategies: which positions are predicted, and what the model sees in their place.

A strategy is a small object with `largest_count(max_length)` and a call; it works on whole batches and draws every
number from the sample's key, so a mask depends on (seed, epoch, index) alone, never on the batch around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ms_plm.common import rng
from ms_plm.common.errors import UserError
from ms_plm.data.batches import MaskedBatch, SampleBatch

if TYPE_CHECKING:
    from ms_plm.config.recipe import MaskingSection
    from ms_plm.tokenization import Tokenizer

_PRIORITY, _ACTION, _REPLACEMENT, _SPAN = range(4)  # operation numbers of the draws
_UNUSED = re.compile(r"\[unused\d+\]")
_NEVER = np.iinfo(np.int32).max  # the length of a unit that does not exist
_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)  # its place in a queue


class Masking(Protocol):
    """The interface of a strategy.

    The probabilistic strategy of PMLM fits by drawing each sequence's target from its key and writing 1/K into
    `weights` (`largest_count` is then the longest a sequence can be); a causal objective by leaving `input_ids` as
    they are and giving all positions but the last, with the next tokens as labels.
    """

    def largest_count(self, max_length: int) -> int:
        """The number of slots `P` of a sample of `max_length` positions; no sample ever needs more."""

    def __call__(self, batch: SampleBatch, keys: np.ndarray) -> MaskedBatch:
        """Mask a batch of `n` samples with keys int32 `[n, 2]`."""


@dataclass(frozen=True)
class Corruption:
    """What a chosen token is replaced by: [MASK], a random token, or itself (BERT, section 3.1: 80/10/10).

    Attributes:
        mask_id: id of [MASK].
        replacements: int32 `[r]`, the ids a random token is drawn from.
        mask_share: share of chosen tokens shown as [MASK].
        random_share: share shown as a random token; the rest stays as it is.
    """

    mask_id: int
    replacements: np.ndarray
    mask_share: float = 0.8
    random_share: float = 0.1

    def __call__(self, tokens: np.ndarray, keys: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """What is shown, int32 `[m]`, for tokens `[m]` at `columns` `[m]` of samples with keys `[m, 2]`."""
        draw = _unit_interval(rng.hash32(keys, _ACTION, columns))
        which = rng.hash32(keys, _REPLACEMENT, columns).view(np.uint32).astype(np.uint64)
        other = self.replacements[(which * np.uint64(len(self.replacements))) >> np.uint64(32)]
        shown = np.where(draw < self.mask_share + self.random_share, other, tokens)
        return np.where(draw < self.mask_share, np.int32(self.mask_id), shown)


def _targets(ratio: float, maskable: np.ndarray) -> np.ndarray:
    return np.maximum(1, np.floor(ratio * maskable + 0.5)).astype(np.int64)


def largest_count(ratio: float, max_length: int) -> int:
    """Slots of a sample in which `ratio` of the maskable tokens is predicted; see `TokenMasking`."""
    return int(_targets(ratio, np.asarray(max_length - 2)))


@dataclass(frozen=True)
class TokenMasking:
    """Single tokens, chosen uniformly (BERT). Also the base of strategies that choose larger units.

    A unit is never begun when it would pass the sample's target, `max(1, round(ratio * maskable tokens))`; the units
    are visited in random order, so the next one that fits is taken instead.
    """

    ratio: float
    corruption: Corruption

    def largest_count(self, max_length: int) -> int:
        """Slots of a sample: its target if all but [CLS] and one [SEP] are maskable."""
        return largest_count(self.ratio, max_length)

    def targets(self, maskable: np.ndarray) -> np.ndarray:
        """How many tokens are to be predicted, int64 of the shape of `maskable` (numbers of maskable tokens)."""
        return _targets(self.ratio, maskable)

    def units(self, batch: SampleBatch, keys: np.ndarray) -> np.ndarray:
        """Where a unit begins: bool `[n, S]`, True at least where a maskable token follows one that is not."""
        return batch.maskable

    def __call__(self, batch: SampleBatch, keys: np.ndarray) -> MaskedBatch:
        """Mask a batch of `n` samples with keys int32 `[n, 2]`."""
        maskable = batch.maskable
        largest = self.largest_count(maskable.shape[1])
        targets = self.targets(maskable.sum(axis=1))
        chosen = _choose(maskable, self.units(batch, keys), keys, targets, largest)
        return _mask(batch.input_ids, chosen, keys, largest, self.corruption)


@dataclass(frozen=True)
class WholeWordMasking(TokenMasking):
    """Whole words (NEZHA, section 2.3), or spans of 1..`ngram` words, where length n has probability ~ 1/n.

    The corruption is still drawn for each token. Where no word fits the target of a short sample, one word up to
    `largest_count` is taken; a sample whose words are all longer than that has nothing to predict.
    """

    ngram: int = 1

    def units(self, batch: SampleBatch, keys: np.ndarray) -> np.ndarray:
        """Where a word, or a span of words, begins: bool `[n, S]`."""
        fresh = batch.maskable.copy()
        fresh[:, 1:] &= ~batch.maskable[:, :-1]  # the first token after a special one begins a word, cut or not
        words = (batch.word_starts & batch.maskable) | fresh
        return words if self.ngram == 1 else self._spans(words, fresh, keys)

    def _spans(self, words: np.ndarray, fresh: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Cut each sample's words into spans of drawn lengths, anew after each special token."""
        table = _Ragged(words)
        shares = np.cumsum(1.0 / np.arange(1, self.ngram + 1))
        draws = _unit_interval(rng.hash32(keys[table.rows], _SPAN, table.columns)) * shares[-1]
        lengths = table.dense(np.searchsorted(shares, draws, side="right") + 1, 1)
        fresh_words = table.dense(fresh[table.rows, table.columns], False)
        begins = np.empty_like(fresh_words)
        end = np.zeros(len(words), np.int64)  # word at which the present span ends
        for word in range(begins.shape[1]):
            begins[:, word] = fresh_words[:, word] | (end == word)
            end = np.where(begins[:, word], word + lengths[:, word], end)
        spans = np.zeros_like(words)
        spans[table.rows, table.columns] = begins[table.rows, table.ordinals]
        return spans


def build_masking(section: MaskingSection, tokenizer: Tokenizer) -> TokenMasking:
    """The strategy of a recipe's `data.masking`.

    Random replacement tokens are never special tokens nor the vocabulary's `[unused..]` places.

    Raises:
        UserError: the vocabulary holds nothing but such entries.
    """
    usable = np.array([_UNUSED.fullmatch(entry) is None for entry in tokenizer.vocabulary], bool)
    usable[list(tokenizer.special_ids)] = False
    if not usable.any():
        raise UserError(
            f"The vocabulary has {len(usable)} entries, all of them special or [unused..] tokens: "
            "there is nothing to mask or to replace with. Name a vocabulary of real tokens in data.tokenizer."
        )
    corruption = Corruption(
        tokenizer.mask_id, np.flatnonzero(usable).astype(np.int32), section.mask_share, section.random_share
    )
    if section.strategy == "token":
        return TokenMasking(section.ratio, corruption)
    return WholeWordMasking(section.ratio, corruption, section.ngram)


def _unit_interval(hashes: np.ndarray) -> np.ndarray:
    return hashes.view(np.uint32) * (1.0 / 4294967296.0)


class _Ragged:
    """The True places of a bool `[n, S]` matrix, row by row, and their dense form `[n, most places in a row]`."""

    def __init__(self, places: np.ndarray) -> None:
        self.rows, columns = np.divmod(np.flatnonzero(places), places.shape[1])  # much faster than np.nonzero
        self.columns = columns.astype(np.int32)
        counts = np.bincount(self.rows, minlength=len(places))
        self.ordinals = np.arange(len(self.rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.shape = (len(places), int(counts.max(initial=0)))

    def dense(self, values: np.ndarray, fill: int | bool | np.uint64) -> np.ndarray:
        matrix = np.full(self.shape, fill, values.dtype)
        matrix[self.rows, self.ordinals] = values
        return matrix


def _choose(
    maskable: np.ndarray, begins: np.ndarray, keys: np.ndarray, targets: np.ndarray, largest: int
) -> np.ndarray:
    """Choose whole units until each sample's target is met as closely as they allow: bool `[n, S]`."""
    units = _Ragged(begins)
    if not len(units.rows):
        return np.zeros_like(maskable)
    unit_of_token = np.cumsum(begins.ravel()) - 1
    inside = maskable.ravel()
    lengths = np.bincount(unit_of_token[inside], minlength=len(units.rows))
    hashes = rng.hash32(keys[units.rows], _PRIORITY, units.columns).view(np.uint32).astype(np.uint64)
    queue = units.dense((hashes << np.uint64(32)) | units.ordinals.astype(np.uint64), _LAST)
    queue.sort(axis=1)  # a hash and, below it, the unit's number: no ties, the order is the same everywhere
    order = np.where(queue == _LAST, 0, queue & np.uint64(0xFFFFFFFF)).astype(np.int64)
    waiting = np.where(queue == _LAST, _NEVER, np.take_along_axis(units.dense(lengths, _NEVER), order, axis=1))
    rows, places = np.nonzero(_fill(waiting, targets, largest))
    taken = np.zeros(units.shape, bool)
    taken[rows, order[rows, places]] = True
    return (taken[units.rows, units.ordinals][unit_of_token] & inside).reshape(maskable.shape)


def _fill(lengths: np.ndarray, targets: np.ndarray, largest: int) -> np.ndarray:
    """Which units of a queue are taken, bool `[n, U]`, if each is taken when it still fits its sample's target.

    Equal to visiting one after the other: a unit that does not fit the present room never fits later, so all such
    units leave at once and the longest fitting head of the queue is taken, until nothing fits.
    """
    chosen = np.zeros(lengths.shape, bool)
    room = targets.copy()
    while True:
        fits = ~chosen & (lengths <= room[:, None])
        head = fits & (np.cumsum(np.where(fits, lengths, 0), axis=1) <= room[:, None])
        if not head.any():
            break
        chosen |= head
        room -= np.where(head, lengths, 0).sum(axis=1)
    empty = np.flatnonzero(~chosen.any(axis=1))
    if empty.size:
        fits = lengths[empty] <= largest
        first = fits.argmax(axis=1)
        chosen[empty, first] = fits[np.arange(len(empty)), first]
    return chosen


def _mask(
    input_ids: np.ndarray, chosen: np.ndarray, keys: np.ndarray, largest: int, corruption: Corruption
) -> MaskedBatch:
    places = _Ragged(chosen)
    slots = (places.rows, places.ordinals)
    tokens = input_ids[places.rows, places.columns]
    shown = input_ids.copy()
    shown[places.rows, places.columns] = corruption(tokens, keys[places.rows], places.columns)
    positions = np.zeros((len(input_ids), largest), np.int32)
    labels = np.zeros_like(positions)
    weights = np.zeros(positions.shape, np.float32)
    positions[slots], labels[slots], weights[slots] = places.columns, tokens, 1.0
    return MaskedBatch(shown, positions, labels, weights)
