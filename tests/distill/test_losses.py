"""Every term equals its definition in float64, and so do its gradients, by finite differences of the definition."""

from __future__ import annotations

from functools import partial

import loss_oracle as oracle
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from ms_plm.distill.losses import (
    HiddenDifference,
    MapDifference,
    MapDivergence,
    RelationDivergence,
    SoftPrediction,
)

BATCH, LENGTH, WIDTH, HEADS, CLASSES = 2, 5, 8, 2, 3
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.float64)
ALL = np.ones_like(MASK)
DRAW = np.random.default_rng(0)
HIDDEN = DRAW.normal(size=(2, BATCH, LENGTH, WIDTH))
SCORES = DRAW.normal(size=(2, BATCH, HEADS, LENGTH, LENGTH)) * 2 - 1e4 * (1 - MASK)[None, :, None, None, :]
LOW = SCORES + 0
LOW[0, 1, 0, 2, 3], LOW[1, 1, 1, 0, 4] = -120.0, -100.0
LOGITS = DRAW.normal(size=(2, 4, CLASSES)) * 2
WEIGHTS = np.array([1.0, 0.0, 2.0, 1.0])

POSITIONS, PAIRS = MASK.sum(), float((MASK.sum(1) ** 2).sum())
HIDDEN_CASES = {
    "mse": (HiddenDifference("mse"), HIDDEN, MASK, POSITIONS, oracle.hidden_mse),
    "mse, all": (HiddenDifference("mse"), HIDDEN, ALL, ALL.sum(), lambda s, t, m: ((s - t) ** 2).mean()),
    "normalised": (HiddenDifference("normalised_mse"), HIDDEN, MASK, POSITIONS, oracle.hidden_normalised),
    "cosine": (HiddenDifference("cosine"), HIDDEN, MASK, POSITIONS, oracle.hidden_cosine),
    "first": (
        HiddenDifference("normalised_mse", first=True),
        HIDDEN,
        MASK,
        BATCH,
        lambda s, t, m: oracle.hidden_normalised(s[:, :1], t[:, :1], m[:, :1]),
    ),
    "relations": (
        RelationDivergence(4),
        HIDDEN,
        MASK,
        POSITIONS,
        partial(oracle.relations, heads=4),
    ),
}
MAP_CASES = {
    "scores": (MapDifference(), SCORES, MASK, PAIRS, oracle.maps_mse),
    "original": (MapDifference(True), LOW, ALL, BATCH * LENGTH**2, lambda s, t, m: oracle.maps_original(s, t)),
    "divergence": (MapDivergence(), SCORES, MASK, POSITIONS, oracle.maps_divergence),
}
LOGIT_CASES = {
    "soft": (SoftPrediction(2.5), LOGITS, WEIGHTS, WEIGHTS.sum(), partial(oracle.soft_prediction, temperature=2.5)),
    "soft, original": (
        SoftPrediction(2.5, original=True),
        LOGITS,
        np.ones(4),
        4.0,
        partial(oracle.soft_prediction, temperature=2.5, original=True),
    ),
}
GROUPS = {"hidden": HIDDEN_CASES, "maps": MAP_CASES, "logits": LOGIT_CASES}


class All(nn.Cell):
    """Several terms and their gradients in one graph."""

    def __init__(self, terms: list[nn.Cell]) -> None:
        super().__init__()
        self.terms = nn.CellList(terms)
        self.gradients = [ms.value_and_grad(term, 0) for term in terms]

    def construct(self, *inputs):
        found = ()
        for number in range(len(self.gradients)):
            student, teacher, mask = inputs[3 * number : 3 * number + 3]
            found = (*found, self.gradients[number](student, teacher, mask))
        return found


@pytest.fixture(scope="module")
def computed() -> dict[str, tuple[float, np.ndarray]]:
    """Value and gradient of every case."""
    found = {}
    for cases in GROUPS.values():
        terms = [case[0] for case in cases.values()]
        arrays = [array for case in cases.values() for array in (*case[1], case[2])]
        inputs = [Tensor(array.astype(np.float32)) for array in arrays]
        for name, (value, gradient) in zip(cases, All(terms)(*inputs), strict=True):
            found[name] = float(value.asnumpy()), gradient.asnumpy()
    return found


def single(values: np.ndarray) -> np.ndarray:
    """What the graph sees of float64 values, in float64."""
    return values.astype(np.float32).astype(np.float64)


CASES = [(name, *case[1:]) for cases in GROUPS.values() for name, case in cases.items()]


@pytest.mark.parametrize(("name", "pair", "mask", "weight", "definition"), CASES, ids=[case[0] for case in CASES])
def test_a_term_divided_by_its_weight_is_the_papers_mean(computed, name, pair, mask, weight, definition) -> None:
    student, teacher = single(pair)
    expected = definition(student, teacher, mask)
    assert computed[name][0] / weight == pytest.approx(expected, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize(("name", "pair", "mask", "weight", "definition"), CASES, ids=[case[0] for case in CASES])
def test_gradients_are_those_of_the_definition(computed, name, pair, mask, weight, definition) -> None:
    student, teacher = single(pair)
    gradient, step = computed[name][1] / weight, 1e-5
    for place in np.random.default_rng(1).choice(student.size, min(24, student.size), replace=False):
        at = np.unravel_index(place, student.shape)
        if student[at] <= -100:  # beyond what a difference can see
            continue
        moved = [student.copy(), student.copy()]
        moved[0][at], moved[1][at] = student[at] + step, student[at] - step
        slope = (definition(moved[0], teacher, mask) - definition(moved[1], teacher, mask)) / (2 * step)
        assert gradient[at] == pytest.approx(slope, rel=1e-3, abs=2e-6), at


def test_padding_takes_no_gradient_and_masked_keys_are_zero_in_the_original(computed) -> None:
    assert not computed["mse"][1][0, 3:].any()
    assert not computed["scores"][1][0, :, 3:].any()
    assert not computed["scores"][1][0, :, :, 3:].any()
    assert computed["original"][1][1, 0, 2, 3] == 0
    assert computed["original"][1][0, :, 3, :3].any()  # a padded query counts there


def test_a_divergence_of_equals_is_nothing() -> None:
    same = Tensor(SCORES[0].astype(np.float32))
    assert abs(float(MapDivergence()(same, same, Tensor(MASK.astype(np.float32))).asnumpy())) < 1e-5


def test_the_square_of_the_temperature_keeps_gradients_alike() -> None:
    """For high temperatures the gradient is (z - t) / C whatever the temperature (Hinton et al., section 2.1)."""
    student, teacher = (Tensor(x.astype(np.float32)) for x in LOGITS - LOGITS.mean(-1, keepdims=True))
    weights = Tensor(np.ones(4, np.float32))
    gradient = ops.grad(SoftPrediction(1000.0), 0)(student, teacher, weights).asnumpy()
    np.testing.assert_allclose(gradient, (student - teacher).asnumpy() / CLASSES, rtol=2e-2, atol=2e-3)
