"""Masking: shares, whole words, budgets, and independence of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from fake_corpus import FIRST_REAL, FakeTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ms_plm.common import rng
from ms_plm.common.errors import UserError
from ms_plm.config.recipe import MaskingSection
from ms_plm.data.batches import MaskedBatch, SampleBatch
from ms_plm.data.masking import build_masking

S = 64
TOKENIZER = FakeTokenizer(1000)


def samples(n: int, seed: int = 0, word: float = 0.6, length: int = S) -> SampleBatch:
    """Random pairs `[CLS] A [SEP] B [SEP] [PAD]...` with words of 1/word tokens on average."""
    random = np.random.default_rng(seed)
    ids = random.integers(FIRST_REAL, 1000, (n, length)).astype(np.int32)
    total = random.integers(length // 2, length + 1, n)[:, None]
    middle = random.integers(3, length // 2 - 2, n)[:, None]
    columns = np.arange(length)
    special = (columns == 0) | (columns == middle) | (columns == total - 1)
    used = columns < total
    ids[:, 0] = TOKENIZER.cls_id
    ids[(columns == middle) | (columns == total - 1)] = TOKENIZER.sep_id
    ids[~used] = TOKENIZER.pad_id
    maskable = used & ~special
    starts = (random.random((n, length)) < word) & maskable
    zeros = np.zeros((n, length), np.int32)
    return SampleBatch(ids, zeros, used.astype(np.int32), starts, maskable)


def keys(n: int, epoch: int = 0) -> np.ndarray:
    return rng.sample_keys(5, epoch, np.arange(n), rng.MASKING)


def strategy(**options: object):
    return build_masking(MaskingSection(**options), TOKENIZER)


def selected(batch: SampleBatch, masked: MaskedBatch) -> np.ndarray:
    chosen = np.zeros(batch.input_ids.shape, bool)
    rows, slots = np.nonzero(masked.weights)
    chosen[rows, masked.positions[rows, slots]] = True
    return chosen


def words_of(batch: SampleBatch) -> list[list[list[int]]]:
    """Plain restatement: per sample, its words as lists of columns, in order."""
    result = []
    for starts, maskable in zip(batch.word_starts, batch.maskable, strict=True):
        words: list[list[int]] = []
        for column in np.flatnonzero(maskable):
            if starts[column] or not maskable[column - 1]:
                words.append([])
            words[-1].append(int(column))
        result.append(words)
    return result


@pytest.fixture(scope="module")
def many() -> SampleBatch:
    return samples(10_000)


@pytest.mark.parametrize("options", [{"strategy": "token"}, {"strategy": "whole_word"}], ids=["token", "whole_word"])
def test_ten_thousand_samples_keep_ratio_and_shares(many: SampleBatch, options: dict) -> None:
    masked = strategy(**options)(many, keys(10_000))
    chosen, maskable = selected(many, masked), many.maskable
    targets = np.maximum(1, np.floor(0.15 * maskable.sum(1) + 0.5))
    counts = chosen.sum(1)
    assert (counts <= targets).all()
    assert (counts == targets).mean() > (1 if options["strategy"] == "token" else 0.99) - 1e-9
    assert counts.sum() / maskable.sum() == pytest.approx(0.15, abs=0.002)

    assert not (chosen & ~maskable).any()
    untouched = ~chosen
    assert np.array_equal(masked.input_ids[untouched], many.input_ids[untouched])
    real = masked.weights > 0
    assert np.array_equal(masked.labels[real], many.input_ids[chosen])
    assert (masked.positions[~real] == 0).all()
    assert (masked.labels[~real] == 0).all()

    shown, true = masked.input_ids[chosen], many.input_ids[chosen]
    as_mask, same = shown == TOKENIZER.mask_id, shown == true
    other = ~as_mask & ~same
    assert not np.isin(shown[other], range(FIRST_REAL)).any()  # neither special nor [unused..]
    observed = np.array([as_mask.sum(), other.sum(), same.sum()])
    replacements = 1000 - FIRST_REAL  # a random token is the true one by chance now and then
    expected = np.array([0.8, 0.1 * (1 - 1 / replacements), 0.1 * (1 + 1 / replacements)]) * len(shown)
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    spread = np.bincount(shown[other], minlength=1000)[FIRST_REAL:]
    assert stats.chisquare(spread).pvalue > 1e-3


def test_token_masking_reaches_every_maskable_position_equally(many: SampleBatch) -> None:
    chosen = selected(many, strategy(strategy="token")(many, keys(10_000)))
    full = many.maskable.sum(0) > 9000
    share = chosen.sum(0)[full] / many.maskable.sum(0)[full]
    assert share.min() > 0.13
    assert share.max() < 0.17


@pytest.mark.parametrize("ngram", [1, 3])
def test_only_whole_words_are_masked(ngram: int) -> None:
    batch = samples(500, seed=1)
    chosen = selected(batch, strategy(strategy="whole_word", ngram=ngram)(batch, keys(500)))
    for words, row in zip(words_of(batch), chosen, strict=True):
        for word in words:
            assert len(set(row[word].tolist())) == 1
    assert chosen.sum() > 1000


def greedy(words: list[list[int]], key: np.ndarray, target: int) -> set[int]:
    """The definition: words in the order of their hashes, each taken if it still fits."""
    hashes = [int(rng.hash32(key, 0, np.array([word[0]])).view(np.uint32)[0]) for word in words]
    taken: set[int] = set()
    for _, number in sorted((h, i) for i, h in enumerate(hashes)):
        if len(taken) + len(words[number]) <= target:
            taken.update(words[number])
    return taken


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.15, 0.9), st.floats(0.05, 0.5))
def test_whole_words_are_taken_one_after_the_other(seed: int, word: float, ratio: float) -> None:
    batch, key = samples(8, seed, word), keys(8, seed)
    chosen = selected(batch, strategy(strategy="whole_word", ratio=ratio)(batch, key))
    for row, words in enumerate(words_of(batch)):
        target = max(1, int(np.floor(ratio * batch.maskable[row].sum() + 0.5)))
        expected = greedy(words, key[row], target)
        if expected:
            assert set(np.flatnonzero(chosen[row]).tolist()) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([16, 24, 64]), st.floats(0.02, 0.95), st.floats(0.05, 1), st.integers(1, 5)
)
def test_the_budget_is_never_passed(seed: int, length: int, word: float, ratio: float, ngram: int) -> None:
    ratio = min(ratio, 0.95)
    masking = strategy(strategy="whole_word", ratio=ratio, ngram=ngram)
    batch = samples(20, seed, word, length)
    masked = masking(batch, keys(20))
    largest = masking.largest_count(length)
    assert masked.positions.shape == masked.labels.shape == masked.weights.shape == (20, largest)
    assert masked.positions.dtype == masked.labels.dtype == masked.input_ids.dtype == np.int32
    assert masked.weights.dtype == np.float32
    counts = (masked.weights > 0).sum(1)
    shortest = [min(map(len, words)) for words in words_of(batch)]
    assert all(count > 0 for count, word in zip(counts, shortest, strict=True) if ngram == 1 and word <= largest)
    for positions, count in zip(masked.positions, counts, strict=True):
        assert (np.diff(positions[:count]) > 0).all()


def test_one_word_longer_than_the_target_but_within_the_budget_is_taken() -> None:
    batch = samples(1)
    ids = np.full((1, S), TOKENIZER.pad_id, np.int32)
    maskable = np.zeros((1, S), bool)
    maskable[0, 1:5] = True  # one word of four tokens: the target is 1, the budget round(0.15 * 62) = 9
    starts = np.zeros((1, S), bool)
    short = SampleBatch(ids, batch.token_type_ids, batch.attention_mask, starts, maskable)
    masked = strategy(strategy="whole_word")(short, keys(1))
    assert masked.weights.sum() == 4


def test_span_lengths_follow_one_over_n() -> None:
    """With one-token words a span of n words begins with probability ~ 1/n."""
    n, length = 4000, 64
    ids = np.full((n, length), 30, np.int32)
    maskable = np.ones((n, length), bool)
    maskable[:, 0] = False
    ones = maskable.astype(np.int32)
    batch = SampleBatch(ids, ones, ones, maskable.copy(), maskable)
    spans = strategy(strategy="whole_word", ngram=3).units(batch, keys(n))
    starts = [np.flatnonzero(row) for row in spans]
    lengths = np.concatenate([np.diff(row) for row in starts])  # the last span of a row is cut by its end
    observed = np.bincount(lengths, minlength=4)[1:]
    assert observed.size == 3
    shares = np.array([1, 1 / 2, 1 / 3]) / (1 + 1 / 2 + 1 / 3)
    assert np.abs(observed / observed.sum() - shares).max() < 0.01


def test_spans_do_not_cross_special_tokens() -> None:
    batch = samples(300, seed=4)
    spans = strategy(strategy="whole_word", ngram=10).units(batch, keys(300))
    assert spans[:, 1].all()
    after_middle = batch.maskable[:, 1:] & ~batch.maskable[:, :-1]
    assert spans[:, 1:][after_middle].all()


@pytest.mark.parametrize("options", [{"strategy": "token"}, {"strategy": "whole_word"}, {"ngram": 4}], ids=str)
def test_a_mask_does_not_depend_on_the_batch_around_it(options: dict) -> None:
    batch, key, masking = samples(64, seed=2), keys(64), strategy(**options)
    whole = masking(batch, key)
    for rows in (np.array([5]), np.array([63, 5, 17]), np.arange(63, -1, -1)):
        part = SampleBatch(
            batch.input_ids[rows],
            batch.token_type_ids[rows],
            batch.attention_mask[rows],
            batch.word_starts[rows],
            batch.maskable[rows],
        )
        masked = masking(part, key[rows])
        for name in ("input_ids", "positions", "labels", "weights"):
            assert np.array_equal(getattr(masked, name), getattr(whole, name)[rows])


def test_every_epoch_masks_anew() -> None:
    batch, masking = samples(200), strategy()
    first, second = (selected(batch, masking(batch, keys(200, epoch))) for epoch in (0, 1))
    overlap = (first & second).sum() / first.sum()
    assert 0.1 < overlap < 0.2  # that of independent choices is the ratio


def test_shares_are_options() -> None:
    batch = samples(200)
    masked = strategy(mask_share=1.0, random_share=0.0)(batch, keys(200))
    assert (masked.input_ids[selected(batch, masked)] == TOKENIZER.mask_id).all()


def test_a_sample_with_nothing_maskable_predicts_nothing() -> None:
    batch = samples(3)
    empty = SampleBatch(
        batch.input_ids, batch.token_type_ids, batch.attention_mask, batch.word_starts, np.zeros((3, S), bool)
    )
    masked = strategy()(empty, keys(3))
    assert masked.weights.sum() == 0
    assert np.array_equal(masked.input_ids, batch.input_ids)


def test_a_vocabulary_without_real_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to mask"):
        build_masking(MaskingSection(), FakeTokenizer(FIRST_REAL))
