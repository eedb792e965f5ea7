"""The oracle of attention is its formula, pair by pair, and its gradients are those of its outputs."""

from __future__ import annotations

import numpy as np
import pytest
from attention_oracle import MASKED, Attention
from measured import central_differences


def _given(relative: bool, **more) -> Attention:
    draw = np.random.default_rng(3)
    query, key, value = (draw.standard_normal((2, length, 2 * 4)) for length in (3, 7, 7))
    mask = np.zeros((2, 1, 3, 7))
    mask[1, ..., 5:] = mask[0, 0, 1, 2] = MASKED
    factors = (draw.random((2, 2, 3, 7)) < 0.75) / 0.75
    table = draw.standard_normal((5, 4)) if relative else None  # any rows: they may be learned
    return Attention(2, query, key, value, mask, table, np.array([0.7, 1.3]), factors, causal=True, offset=3, **more)


@pytest.mark.parametrize("relative", [False, True])
def test_outputs_are_the_formula_pair_by_pair(relative: bool) -> None:
    given = _given(relative)
    outputs = given.outputs()
    for batch, head, i in np.ndindex(2, 2, 3):
        part = slice(4 * head, 4 * head + 4)
        query, keys, values = given.query[batch, i, part], given.key[batch, :, part], given.value[batch, :, part]
        rows = [given.table[min(max(j - i - 3, -2), 2) + 2] if relative else np.zeros(4) for j in range(7)]
        scores = np.array([query @ (keys[j] + rows[j]) / 2 + given.mask[batch, 0, i, j] for j in range(7)])
        scores[i + 4 :] += MASKED
        probabilities = np.exp(scores - scores.max())
        probabilities *= given.head_mask[head] / probabilities.sum()
        context = sum(probabilities[j] * given.factors[batch, head, i, j] * (values[j] + rows[j]) for j in range(7))
        np.testing.assert_allclose(outputs["scores"][batch, head, i], scores, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(outputs["probabilities"][batch, head, i], probabilities, rtol=1e-10)
        np.testing.assert_allclose(outputs["context"][batch, i, part], context, rtol=1e-10)


@pytest.mark.parametrize("relative", [False, True])
def test_gradients_are_those_of_the_outputs(relative: bool) -> None:
    given = _given(relative)
    draw = np.random.default_rng(4)
    outputs = given.outputs()
    cotangents = {name: draw.standard_normal(array.shape) for name, array in outputs.items()}
    cotangents["scores"] *= outputs["scores"] > MASKED / 2  # differences of numbers about 10000 have too few digits
    names = list(given.differentiable)

    def weighted(*arrays: np.ndarray) -> float:
        outputs = given.of(**dict(zip(names, arrays, strict=True))).outputs()
        return sum(float((outputs[name] * cotangents[name]).sum()) for name in cotangents)

    expected = dict(zip(names, central_differences(weighted, list(given.differentiable.values())), strict=True))
    gradients = given.gradients(cotangents)
    assert list(gradients) == names
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-7, err_msg=name)


def test_outputs_that_are_not_named_count_nothing() -> None:
    given = _given(relative=True)
    zeros = {name: np.zeros_like(array) for name, array in given.outputs().items()}
    context = np.random.default_rng(5).standard_normal(zeros["context"].shape)
    for name, gradient in given.gradients({"context": context}).items():
        np.testing.assert_array_equal(gradient, given.gradients({**zeros, "context": context})[name])
