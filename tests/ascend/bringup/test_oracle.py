"""The bring-up's float64 attention against one that shares no code with it, and against differences."""

from __future__ import annotations

import numpy as np
import pytest
from attention_oracle import MASKED, Attention

from ms_plm.kernels.attention import sinusoid_table
from ms_plm_ascend.bringup.oracle import Given, error, forward, gradients, relations, rounded

SHAPE = (2, 9, 2, 4)


def drawn(seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(SHAPE) for _ in range(4)]


@pytest.mark.parametrize("relative", [False, True])
def test_it_agrees_with_the_kernels_own_oracle(relative: bool) -> None:
    query, key, value, cotangent = drawn()
    hidden = np.zeros((2, 1, 1, 9))
    hidden[1, ..., 6:] = MASKED
    factors = (np.random.default_rng(3).random((2, 2, 9, 9)) < 0.7) / 0.7
    table = sinusoid_table(3, 4) if relative else None
    flat = [x.reshape(2, 9, 8) for x in (query, key, value)]
    other = Attention(2, *flat, hidden, table, None, factors)
    shared = relations(table, 9) if relative else None
    given = Given(query, key, value, 0.5, seen=hidden > MASKED / 2, factors=factors, relations=shared)
    np.testing.assert_allclose(forward(given).out.reshape(2, 9, 8), other.outputs()["context"], atol=1e-12)
    expected = other.gradients({"context": cotangent.reshape(2, 9, 8)})
    for name, found in zip(("query", "key", "value"), gradients(given, cotangent), strict=True):
        np.testing.assert_allclose(found.reshape(2, 9, 8), expected[name], atol=1e-12)


def test_a_bias_and_a_row_without_keys_by_differences() -> None:
    query, key, value, cotangent = drawn(1)
    seen = np.random.default_rng(4).random((2, 1, 9, 9)) < 0.6
    seen[0, 0, 2] = False
    bias = np.random.default_rng(5).standard_normal((2, 2, 9, 9))
    given = Given(query, key, value, 0.5, seen=seen, bias=bias)
    assert not forward(given).out[0, 2].any()
    found = gradients(given, cotangent)
    for place, name in enumerate(("query", "key", "value")):
        array = getattr(given, name).copy()
        for index in [(0, 1, 0, 2), (1, 8, 1, 3), (0, 2, 1, 0)]:
            sums = []
            for step in (1e-6, -1e-6):
                moved = array.copy()
                moved[index] += step
                sums.append((forward(given._replace(**{name: moved})).out * cotangent).sum())
            assert found[place][index] == pytest.approx((sums[0] - sums[1]) / 2e-6, abs=1e-7)


def test_values_are_rounded_as_the_types_hold_them() -> None:
    x = np.array([1.0, 1.00390625, 1.01171875, -3.14159, 1e-5, 65504.0], np.float32)
    assert rounded(x, "fp32").tolist() == x.tolist()
    assert rounded(x, "fp16").tolist() == x.astype(np.float16).astype(np.float32).tolist()
    # 1 + 1/256 lies between 1 and 1 + 1/128 and goes to the even one, 1 + 3/256 to 1 + 4/256
    assert rounded(x, "bf16").tolist()[:3] == [1.0, 1.0, 1.015625]


def test_an_error_is_a_share_of_the_largest_entry_and_infinite_where_something_is_not_finite() -> None:
    assert error(np.array([1.0, 4.2]), np.array([1.0, 4.0])) == pytest.approx(0.05)
    assert error(np.array([np.nan]), np.array([1.0])) == float("inf")
