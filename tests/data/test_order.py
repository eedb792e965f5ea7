"""The order of samples is a permutation of each epoch, found by arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.common import rng
from ms_plm.data.order import EpochOrder, keys_of


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(-(2**40), 2**40), st.integers(0, 10**6))
def test_every_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    epochs, indices = EpochOrder(n, seed)(np.arange(n) + n * epoch)
    assert (epochs == epoch).all()
    assert np.array_equal(np.sort(indices), np.arange(n))


@settings(max_examples=30, deadline=None)
@given(st.integers(100, 3000), st.integers(0, 2**31))
def test_epochs_and_seeds_differ(n: int, seed: int) -> None:
    order = EpochOrder(n, seed)
    first, second = order(np.arange(n))[1], order(np.arange(n, 2 * n))[1]
    other = EpochOrder(n, seed + 1)(np.arange(n))[1]
    for a, b in ((first, second), (first, other), (first, np.arange(n))):
        assert (a == b).mean() < 0.1  # two random permutations agree at one place on average


def test_a_batch_may_lie_across_epochs_and_in_any_order() -> None:
    order, positions = EpochOrder(10, 3), np.array([29, 3, 8, 9, 10, 11, 25])
    epochs, indices = order(positions)
    assert epochs.tolist() == [2, 0, 0, 0, 1, 1, 2]
    one_by_one = [int(order(np.array([position]))[1][0]) for position in positions]
    assert indices.tolist() == one_by_one


def test_neighbours_are_scattered() -> None:
    n = 100_000
    _, indices = EpochOrder(n, 1)(np.arange(n))
    steps = np.abs(np.diff(indices))
    assert abs(steps.mean() - n / 3) < n / 100  # the mean distance of two uniform numbers
    assert abs(np.corrcoef(indices[:-1], indices[1:])[0, 1]) < 0.02


def test_a_very_large_corpus_costs_nothing() -> None:
    n = 10**12 + 7
    epochs, indices = EpochOrder(n, 1)(np.array([0, n - 1, n, 5 * n + 3]))
    assert epochs.tolist() == [0, 0, 1, 5]
    assert ((indices >= 0) & (indices < n)).all()
    assert len(set(indices.tolist())) == 4


def test_an_empty_order_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        EpochOrder(0, 1)


def test_keys_of_several_epochs_are_those_of_each() -> None:
    epochs, indices = np.array([4, 0, 4, 1]), np.array([7, 7, 8, 9])
    keys = keys_of(11, epochs, indices, rng.MASKING)
    for key, epoch, index in zip(keys, epochs, indices, strict=True):
        assert np.array_equal(key, rng.sample_keys(11, int(epoch), np.array([index]), rng.MASKING)[0])
    assert len({tuple(key) for key in keys.tolist()}) == 4
