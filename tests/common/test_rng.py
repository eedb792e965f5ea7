"""The generator against an integer definition of its own, and against what random numbers should look like."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ms_plm.common import rng

INT32 = st.integers(-(2**31), 2**31 - 1)


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _hash_of_integers(first: int, second: int, operation: int, element: int) -> int:
    """The definition in unbounded Python integers; >> of a negative one is arithmetic."""
    state = _signed(element * -1640531527 + first + operation * 747796405)
    state = _signed((state ^ (state >> 15)) * -2048144789)
    state = _signed(state ^ second)
    state = _signed((state ^ (state >> 13)) * -1028477379)
    return _signed(state ^ ((state & 0xFFFFFFFF) >> 16))


def _keys(count: int, seed: int = 5) -> np.ndarray:
    return rng.sample_keys(seed, 0, np.arange(count), rng.DROPOUT)


def _mask(keys: np.ndarray, operation: int, count: int, threshold: int) -> np.ndarray:
    out = np.empty((len(keys), count), np.bool_)
    rng.keep_mask(keys, operation, count, threshold, out)
    return out


@pytest.mark.parametrize(
    ("first", "second", "operation", "element", "expected"),
    [
        (0, 0, 0, 0, 0),
        (0, 0, 0, 1, -84873897),
        (1, 2, 3, 4, 1637723152),
        (-1, 7, 0, 2147483647, 393091954),
        (123456789, -987654321, 40, 100000, -1302879600),
        (-2147483648, 2147483647, 7, 1, 1206730007),
    ],
)
def test_hashes_never_change(first: int, second: int, operation: int, element: int, expected: int) -> None:
    got = rng.hash32(np.array([first, second], np.int32), operation, np.array([element], np.int32))
    assert got.dtype == np.int32
    assert got.tolist() == [expected]


@given(INT32, INT32, st.integers(0, 2000), st.lists(INT32, min_size=1, max_size=5))
def test_the_hash_is_its_definition_in_integers(first: int, second: int, operation: int, elements: list[int]) -> None:
    got = rng.hash32(np.array([first, second], np.int32), operation, np.array(elements, np.int32))
    assert got.tolist() == [_hash_of_integers(first, second, operation, element) for element in elements]


@pytest.mark.parametrize(
    ("seed", "epoch", "index", "purpose", "expected"),
    [
        (1, 0, 0, rng.MASKING, [-1553139444, -864859894]),
        (1, 0, 1, rng.DROPOUT, [1222824917, -409551243]),
        (-5, 3, 10**12, rng.SAMPLE_TABLE, [-312215873, -1500586018]),
        (42, 7, 123, rng.DROPOUT + 16, [-1380009306, -242943873]),
    ],
)
def test_keys_of_samples_never_change(seed: int, epoch: int, index: int, purpose: int, expected: list[int]) -> None:
    assert rng.sample_keys(seed, epoch, np.array([index]), purpose).tolist() == [expected]


def test_a_key_does_not_depend_on_its_neighbours() -> None:
    together = rng.sample_keys(3, 2, np.array([10, 11, 12]), rng.MASKING)
    alone = [rng.sample_keys(3, 2, np.array([index]), rng.MASKING)[0] for index in (10, 11, 12)]
    np.testing.assert_array_equal(together, alone)


def test_seeds_epochs_indices_and_purposes_give_different_keys() -> None:
    keys = {
        tuple(key)
        for seed, epoch, purpose in itertools.product(range(6), range(6), range(4))
        for key in rng.sample_keys(seed, epoch, np.arange(50), purpose).tolist()
    }
    assert len(keys) == 6 * 6 * 4 * 50


@pytest.mark.parametrize("drop", [0.0, 0.1, 0.5, 0.9])
def test_masks_keep_the_share_that_they_should(drop: float) -> None:
    mask = _mask(_keys(64), 3, 10_000, rng.keep_threshold(drop))
    deviation = np.sqrt(drop * (1 - drop) / mask.size)
    assert abs(mask.mean() - (1 - drop)) <= 5 * deviation + 2**-17


def test_probability_zero_keeps_every_value() -> None:
    assert rng.keep_threshold(0.0) == 65536
    assert _mask(_keys(4), 0, 70_001, 65536).all()


@given(st.integers(1, 400), st.integers(0, 300), st.integers(0, 65536), st.integers(0, 10**6))
def test_a_mask_takes_the_low_then_the_high_half_of_each_hash(
    count: int, operation: int, threshold: int, seed: int
) -> None:
    keys = _keys(2, seed)
    elements = np.arange((count + 1) // 2, dtype=np.int32)
    hashes = rng.hash32(keys[:, None, :], operation, elements[None, :]).astype(np.int64) & 0xFFFFFFFF
    draws = np.stack((hashes & 0xFFFF, hashes >> 16), -1).reshape(2, -1)[:, :count]
    np.testing.assert_array_equal(_mask(keys, operation, count, threshold), draws < threshold)


@pytest.mark.parametrize("count", [2 * rng._BLOCK - 1, 2 * rng._BLOCK, 2 * rng._BLOCK + 1, 5 * rng._BLOCK + 3])
def test_blocks_do_not_show_in_a_mask(count: int) -> None:
    keys = _keys(2)
    hashes = rng.hash32(keys[:, None, :], 9, np.arange((count + 1) // 2, dtype=np.int32)[None, :])
    draws = hashes.view(np.uint16)[:, :count]
    np.testing.assert_array_equal(_mask(keys, 9, count, 60_000), draws < 60_000)


def test_bool_and_uint8_masks_are_the_same() -> None:
    keys, bytes_ = _keys(3), np.full((3, 77), 7, np.uint8)
    rng.keep_mask(keys, 1, 77, 40_000, bytes_)
    np.testing.assert_array_equal(bytes_, _mask(keys, 1, 77, 40_000).astype(np.uint8))


def _agreement_deviations(one: np.ndarray, other: np.ndarray, keep: float) -> float:
    """How many standard deviations the share of equal entries lies from that of independent masks."""
    expected = keep**2 + (1 - keep) ** 2
    return abs((one == other).mean() - expected) / np.sqrt(expected * (1 - expected) / one.size)


@pytest.mark.parametrize("keep", [0.9, 0.5])
def test_keys_operations_and_neighbouring_elements_are_independent(keep: float) -> None:
    threshold, keys = rng.keep_threshold(1 - keep), _keys(65)
    mask = _mask(keys, 0, 8192, threshold)
    assert _agreement_deviations(mask[:-1], mask[1:], keep) < 5
    assert _agreement_deviations(mask[:, :-1], mask[:, 1:], keep) < 5
    assert _agreement_deviations(mask[:, 0::2], mask[:, 1::2], keep) < 5
    for operation in (1, 2, 17):
        assert _agreement_deviations(mask, _mask(keys, operation, 8192, threshold), keep) < 5
    second_epoch = rng.sample_keys(5, 1, np.arange(65), rng.DROPOUT)
    assert _agreement_deviations(mask, _mask(second_epoch, 0, 8192, threshold), keep) < 5


def test_uniform_draws_are_uniform() -> None:
    draws = rng.uniform(_keys(200), 4, 5000)
    assert draws.dtype == np.float64
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    counts = np.histogram(draws, bins=256, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-4
    per_element = np.histogram2d(draws[:, :-1].ravel(), draws[:, 1:].ravel(), bins=16, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(per_element.ravel()).pvalue > 1e-4


def test_the_first_draw_of_many_samples_is_uniform() -> None:
    counts = np.histogram(rng.uniform(_keys(100_000), 0, 1), bins=256, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-4


def test_integers_cover_their_range_evenly() -> None:
    draws = rng.integers(_keys(100), 2, 2000, 7)
    assert draws.dtype == np.int64
    assert stats.chisquare(np.bincount(draws.ravel(), minlength=7)).pvalue > 1e-4
    assert set(np.unique(draws)) == set(range(7))


def test_bounds_of_integers_may_differ_by_draw() -> None:
    bound = np.array([1, 2, 1000, 2**31])
    draws = rng.integers(_keys(500), 2, 4, bound)
    assert (draws >= 0).all()
    assert (draws < bound).all()
    assert (draws[:, 0] == 0).all()
    assert draws[:, 3].max() > 2**30
