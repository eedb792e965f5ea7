"""Native attention: on arrays against the float64 oracle, and as a form of the graph operation."""

from __future__ import annotations

import numpy as np
import pytest
from attention_oracle import MASKED, Attention, relative_error
from symbols import integers, normal, run, threads, to_bf16

from ms_plm.common import rng

pytestmark = pytest.mark.usefixtures("native")
FP32, BF16 = 0, 1
BOUNDS = {FP32: 1e-5, BF16: 1e-2}
OPERATION, THRESHOLD = 5, rng.keep_threshold(0.25)
GRID = {"lengths": (7, 64, 127, 128, 129, 333, 512, 700), "sizes": (16, 32, 64)}


def _table(reach: int, size: int) -> np.ndarray:
    """Any table will do: the formula holds for all of them."""
    return normal(2 * reach + 1, size, seed=9)


def _problem(
    queries: int, keys: int, size: int, heads: int = 2, reach: int | None = 64, offset: int = 0, precision: int = FP32
) -> Attention:
    batch = 2
    arrays = [normal(batch, length, heads * size, seed=i) for i, length in enumerate((queries, keys, keys))]
    table = None if reach is None else _table(reach, size)
    if precision == BF16:  # what the layers before give
        arrays = [to_bf16(array).astype(np.float32) for array in arrays]
    mask = np.zeros((batch, 1, 1, keys), np.float32)
    mask[-1, ..., max(1, keys - 3) :] = MASKED
    kept = np.empty((batch, heads * queries * keys), np.bool_)
    rng.keep_mask(_keys(batch), OPERATION, kept.shape[1], THRESHOLD, kept)
    factors = kept.reshape(batch, heads, queries, keys) * (65536 / THRESHOLD)
    head_mask = np.linspace(0.5, 1.5, heads).astype(np.float32)
    return Attention(heads, *arrays, mask, table, head_mask, factors, causal=offset > 0, offset=offset)


def _keys(batch: int) -> np.ndarray:
    return rng.sample_keys(3, 0, np.arange(batch), rng.DROPOUT)


def _everything(given: Attention, cotangent: np.ndarray, precision: int) -> dict[str, np.ndarray]:
    drop = (THRESHOLD, OPERATION * int(rng.OPERATION)) if given.factors is not None else (65536, 0)
    options = integers(precision, int(given.causal), given.offset, *drop)
    tail = [given.mask, *([] if given.table is None else [given.table]), options, _keys(len(given.query))]
    inputs = [given.query, given.key, given.value, *tail, given.head_mask]
    name = "attention" if given.table is None else "relative_attention"
    batch, queries, _ = given.query.shape
    context, log_sum = run(f"{name}_forward", *inputs, outputs=[given.query.shape, (batch, given.heads, queries)])
    gradients = run(
        f"{name}_backward",
        *(cotangent, *inputs, log_sum),
        outputs=[given.query.shape, given.key.shape, given.value.shape, (given.heads,)],
    )
    return {"context": context, **dict(zip(("query", "key", "value", "head_mask"), gradients, strict=True))}


def _check(given: Attention, precision: int) -> None:
    cotangent = normal(*given.query.shape, seed=7)
    got = _everything(given, cotangent, precision)
    assert relative_error(got["context"], given.outputs()["context"]) < BOUNDS[precision]
    expected = given.gradients({"context": cotangent})
    for name in ("query", "key", "value", "head_mask"):
        scale = given.head_mask_scale({"context": cotangent}) if name == "head_mask" else 0.0
        assert relative_error(got[name], expected[name], scale) < 1.5 * BOUNDS[precision], name


@pytest.mark.parametrize("precision", [FP32, BF16])
@pytest.mark.parametrize("reach", [64, None])
@pytest.mark.parametrize("length", [7, 129])
def test_context_and_gradients_are_those_of_the_formula(length, reach, precision):
    _check(_problem(length, length, 16, reach=reach, precision=precision), precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [FP32, BF16])
@pytest.mark.parametrize("reach", [64, None])
@pytest.mark.parametrize("size", GRID["sizes"])
@pytest.mark.parametrize("length", GRID["lengths"])
def test_every_length_and_head_size(length, size, reach, precision):
    _check(_problem(length, length, size, reach=reach, precision=precision), precision)


@pytest.mark.parametrize(
    ("queries", "keys", "reach", "offset"), [(1, 1, 2, 0), (3, 9, 2, 6), (5, 40, 4, 35), (20, 60, 3, 40)]
)
def test_a_cache_of_earlier_keys_and_one_token(queries, keys, reach, offset):
    _check(_problem(queries, keys, 16, reach=reach, offset=offset), FP32)


def test_a_fully_padded_sequence_is_finite_and_leaves_the_others_alone():
    given = _problem(33, 33, 16)
    mask = given.mask.copy()
    mask[-1] = MASKED
    emptied, cotangent = given.of(mask=mask), normal(*given.query.shape, seed=7)
    got, whole = _everything(emptied, cotangent, FP32), _everything(given, cotangent, FP32)
    for name, array in got.items():
        assert np.isfinite(array).all()
        if name != "head_mask":
            np.testing.assert_array_equal(array[0], whole[name][0])


def test_no_queries_give_zero_gradients_of_keys_and_values():
    given = _problem(0, 5, 16)
    got = _everything(given, normal(*given.query.shape), FP32)
    assert not got["key"].any()
    assert not got["value"].any()
    assert not got["head_mask"].any()


def test_without_dropout_nothing_is_scaled():
    _check(_problem(40, 40, 16).of(factors=None), FP32)


@pytest.mark.parametrize("precision", [FP32, BF16])
def test_results_do_not_depend_on_the_number_of_threads(precision):
    given, results = _problem(150, 150, 16, heads=3, precision=precision), []
    for number in (1, 2, 4):
        with threads(number):
            results.append(_everything(given, normal(*given.query.shape, seed=7), precision))
    for other in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_array_equal(array, other[name])


def test_an_infinite_score_shows_in_its_row_alone():
    given = _problem(9, 9, 16)
    query = given.query.copy()
    query[0, 4, :16] = np.inf
    context = _everything(given.of(query=query), normal(*given.query.shape), FP32)["context"]
    assert not np.isfinite(context[0, 4, :16]).any()
    context[0, 4, :16] = 0
    assert np.isfinite(context).all()
