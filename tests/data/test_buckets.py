"""Updates of samples of similar length: every sample once an epoch, the same for any micro-batch and rank."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.common.errors import UserError
from ms_plm.data.buckets import STEP, WORTH, BucketedLoader, LabelledSamples, in_order, padded_lengths

LENGTHS = np.random.default_rng(0).integers(3, 120, 101)


def samples(lengths: np.ndarray) -> LabelledSamples:
    """Sample i holds its own number + 5 at every place and has the label i."""
    numbers = np.arange(len(lengths))
    ids = np.repeat(numbers + 5, lengths).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    weights = np.ones(len(lengths), np.float32)
    return LabelledSamples(ids, np.zeros_like(ids), starts, numbers.astype(np.int32), weights, pad_id=0)


def weigh(arrays: dict) -> dict[str, float]:
    return {"loss": float(arrays["weights"].sum())}


def loader(batch: int = 8, micro_batch: int = 8, rank: int = 0, ranks: int = 1, lengths=LENGTHS) -> BucketedLoader:
    made = samples(lengths)
    return BucketedLoader(made, 3, padded_lengths(lengths), weigh, batch, micro_batch, rank, ranks, workers=0)


def rows_of(update) -> np.ndarray:
    return np.concatenate([part["labels"] for part in update.micro_batches])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_padded_lengths_are_the_best_of_all(lengths: list[int], most: int):
    """Brute force over all sets of multiples; fewer lengths are taken where they cost at most `WORTH` more."""
    top = -(-max(lengths) // STEP)

    def cost(chosen) -> int:
        return sum(next(size for size in chosen if size >= length) for length in lengths)

    best = {}
    for used in range(1, min(most, top) + 1):
        options = itertools.combinations(range(STEP, top * STEP, STEP), used - 1)
        best[used] = min(cost((*option, top * STEP)) for option in options)
    found = padded_lengths(np.array(lengths), most)
    least = min(best.values())
    wanted = next(used for used in best if best[used] <= (1 + WORTH) * least)
    assert len(found) == wanted
    assert list(found) == sorted(found)
    assert cost(found) == best[wanted]


def test_an_epoch_takes_every_sample_once_with_weight():
    made = loader()
    for epoch in range(2):
        updates = [made.load(epoch * made.updates_per_epoch + n) for n in range(made.updates_per_epoch)]
        counted = np.concatenate(
            [part["labels"][part["weights"] > 0] for update in updates for part in update.micro_batches]
        )
        assert sorted(counted) == list(range(101))
        assert sum(update.weights["loss"] for update in updates) == 101
        assert sum(update.tokens for update in updates) == LENGTHS.sum()


def test_epochs_have_other_orders_and_the_same_seed_gives_the_same():
    first, again = loader(), loader()
    per_epoch = first.updates_per_epoch
    assert any((rows_of(first.load(n)) != rows_of(first.load(n + per_epoch))).any() for n in range(per_epoch))
    for number in (0, 5, per_epoch + 1):
        np.testing.assert_array_equal(rows_of(first.load(number)), rows_of(again.load(number)))


def test_micro_batches_and_ranks_share_out_the_same_update_of_the_same_length():
    whole = loader()
    for number in (0, 7, 12, 20):
        wanted = whole.load(number).micro_batches[0]
        parts = [part for rank in range(2) for part in loader(8, 2, rank, 2).load(number).micro_batches]
        assert {part["input_ids"].shape for part in parts} == {(2, wanted["input_ids"].shape[1])}
        for name, values in wanted.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)


def test_rows_are_the_samples_padded():
    part = loader().load(4).micro_batches[0]
    for row, label in enumerate(part["labels"]):
        length = LENGTHS[label]
        assert part["attention_mask"][row].sum() == length
        assert (part["input_ids"][row, :length] == label + 5).all()
        assert (part["input_ids"][row, length:] == 0).all()


def test_little_is_padded_and_lengths_are_few():
    random = np.random.default_rng(1)
    lengths = np.clip(random.lognormal(3.3, 0.5, 5000).astype(int), 5, 128)
    made = BucketedLoader(samples(lengths), 3, padded_lengths(lengths), weigh, 32, 32, workers=0)
    updates = [made.load(n).micro_batches[0]["input_ids"].shape for n in range(made.updates_per_epoch)]
    padded = sum(rows * length for rows, length in updates)
    assert len(set(updates)) <= 6
    assert padded < 1.35 * lengths.sum()
    assert padded < 0.4 * 128 * len(lengths)


def test_prepared_ahead_is_the_same():
    made = samples(LENGTHS)
    ahead = BucketedLoader(made, 3, padded_lengths(LENGTHS), weigh, 8, 4, workers=2)
    for update, number in zip(ahead.updates(3, 20), range(3, 20), strict=True):
        np.testing.assert_array_equal(rows_of(update), rows_of(loader().load(number)))


def test_an_update_that_does_not_divide_is_refused():
    with pytest.raises(UserError, match=r"train.batch 8 is not a multiple of 6"):
        loader(8, 3, 0, 2)


def test_evaluation_sees_every_sample_once_from_the_shortest_on():
    seen, widths = [], []
    for indices, arrays in in_order(samples(LENGTHS), padded_lengths(LENGTHS), 16):
        seen += indices.tolist()
        widths.append(arrays["input_ids"].shape)
        np.testing.assert_array_equal(arrays["labels"][: len(indices)], indices)
    assert sorted(seen) == list(range(101))
    assert {rows for rows, _ in widths} == {16}
    assert [width for _, width in widths] == sorted(width for _, width in widths)


def test_evaluation_takes_samples_longer_than_all_of_training():
    lengths = [arrays["input_ids"].shape[1] for _, arrays in in_order(samples(LENGTHS), (16, 32), 16)]
    assert max(lengths) == LENGTHS.max()


def test_the_largest_micro_batch_is_of_the_greatest_length_in_every_process():
    for rank in range(2):
        made = loader(batch=8, micro_batch=2, rank=rank, ranks=2)
        assert made.largest()["input_ids"].shape == (2, padded_lengths(LENGTHS)[-1])
