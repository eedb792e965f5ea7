"""Attention, with and without relative positions, against float64 NumPy: outputs and every gradient."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pytest
from measured import Measured, central_differences, largest_error
from mindspore import Tensor

from ms_plm.common import rng
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.attention import MASKED, sinusoid_table
from ms_plm.kernels.dropout import DropoutPlan

BATCH, HEADS, SIZE = 2, 2, 4
OPERATIONS, FORMS = ("attention", "relative_attention"), ("reference", "naive")
EVERY = [(operation, form) for operation in OPERATIONS for form in FORMS]


class Case(NamedTuple):
    """One way of calling attention; `reach` is K, `padded` the number of masked keys of the last sequence."""

    queries: int
    keys: int
    reach: int = 3
    causal: bool = False
    offset: int = 0
    padded: int = 0
    square_mask: bool = False
    dropout: str | None = None
    head_mask: bool = False
    wants: tuple[str, ...] = ()


CASES = {
    "padding_heads_dropout_wants": Case(
        7, 7, padded=3, dropout="host_mask", head_mask=True, wants=("scores", "probabilities")
    ),
    "one_token": Case(1, 1, wants=("probabilities",)),
    "long_causal_hashed_dropout": Case(33, 33, reach=4, causal=True, dropout="hash"),
    "cache": Case(3, 9, causal=True, offset=6, reach=2, wants=("scores",), square_mask=True),
}


def _quick(*arguments: str, quick: bool):
    """A parameter set of the default run, or one of the slow run."""
    return pytest.param(*arguments, marks=() if quick else pytest.mark.slow)


class Problem(NamedTuple):
    """Arrays of a case: float32 inputs, the mask, dropout factors, and a cotangent for every output."""

    inputs: list[np.ndarray]
    mask: np.ndarray
    keys: np.ndarray
    factors: np.ndarray
    cotangents: list[np.ndarray]


def _error(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference; masked scores are about -10000 in fp32, where the last digits are lost."""
    return largest_error(np.maximum(got, -100), np.maximum(expected, -100))


def _names(case: Case) -> list[str]:
    return ["context", *(name for name in ("scores", "probabilities") if name in case.wants)]


def _plan(case: Case):
    plan = DropoutPlan()
    plan.hidden(0.3, 5)  # so that the site does not begin at 0
    return plan, plan.scores(0.25 if case.dropout else 0.0, HEADS)


@functools.cache
def _problem(case: Case) -> Problem:
    draw = np.random.default_rng(case.queries * 100 + case.keys)
    shapes = [(BATCH, HEADS, length, SIZE) for length in (case.queries, case.keys, case.keys)]
    inputs = [draw.standard_normal(shape).astype(np.float32) for shape in shapes]
    if case.head_mask:
        inputs.append(np.array([0.7, 1.3], np.float32))
    mask = np.zeros((BATCH, 1, case.queries if case.square_mask else 1, case.keys), np.float32)
    if case.padded:
        mask[-1, ..., -case.padded :] = MASKED
    if case.square_mask:
        mask[0, 0, 1, 2] = mask[1, 0, 0, 0] = MASKED
    keys = rng.sample_keys(1, 0, np.arange(BATCH), rng.DROPOUT)
    factors = np.ones((BATCH, HEADS, case.queries, case.keys))
    if case.dropout:
        _, site = _plan(case)
        kept = np.empty((BATCH, factors[0].size), np.bool_)
        rng.keep_mask(keys, site.operation, factors[0].size, rng.keep_threshold(0.25), kept)
        factors = kept.reshape(factors.shape) / 0.75
    scores = (BATCH, HEADS, case.queries, case.keys)
    shapes = {"context": (BATCH, case.queries, HEADS * SIZE), "scores": scores, "probabilities": scores}
    cotangents = [draw.standard_normal(shapes[name]).astype(np.float32) for name in _names(case)]
    return Problem(inputs, mask, keys, factors, cotangents)


def _expected_outputs(case: Case, problem: Problem, relative: bool, *inputs: np.ndarray) -> list[np.ndarray]:
    query, key, value, *heads = inputs
    place = np.arange(case.queries)[:, None] + case.offset
    scores = np.einsum("bnid,bnjd->bnij", query, key)
    if relative:
        distance = np.clip(np.arange(case.keys)[None, :] - place, -case.reach, case.reach)
        rows = sinusoid_table(case.reach, SIZE).astype(np.float64)[distance + case.reach]
        scores = scores + np.einsum("bnid,ijd->bnij", query, rows)
    scores = scores / np.sqrt(SIZE) + problem.mask
    if case.causal:
        scores = scores + MASKED * (np.arange(case.keys)[None, :] > place)
    probabilities = np.exp(scores - scores.max(-1, keepdims=True))
    probabilities = probabilities / probabilities.sum(-1, keepdims=True)
    if heads:
        probabilities = probabilities * heads[0][:, None, None]
    weights = probabilities * problem.factors
    context = np.einsum("bnij,bnjd->bind", weights, value)
    if relative:
        context = context + np.einsum("bnij,ijd->bind", weights, rows)
    outputs = {"context": context.reshape(BATCH, case.queries, -1), "scores": scores, "probabilities": probabilities}
    return [outputs[name] for name in _names(case)]


@functools.cache
def _expected(case: Case, relative: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    problem = _problem(case)

    def weighted(*inputs: np.ndarray) -> float:
        outputs = _expected_outputs(case, problem, relative, *inputs)
        return sum(float((out * c).sum()) for out, c in zip(outputs, problem.cotangents, strict=True))

    inputs = [array.astype(np.float64) for array in problem.inputs]
    return _expected_outputs(case, problem, relative, *inputs), central_differences(weighted, inputs)


class MeasuredAttention(Measured):
    """Builds the positions and hands over what the case asks for."""

    def __init__(self, kernel, case: Case, problem: Problem, random) -> None:
        super().__init__(kernel, problem.cotangents, len(problem.inputs))
        self.table = Tensor(sinusoid_table(case.reach, SIZE))
        self.mask, self.random = Tensor(problem.mask), None if random is None else Tensor(random)
        self.offset, self.has_heads = case.offset, case.head_mask
        self.want_scores, self.want_probabilities = "scores" in case.wants, "probabilities" in case.wants

    def outputs(self, *inputs):
        query, key, value = inputs[:3]
        heads = None
        if self.has_heads:
            heads = inputs[3]
        positions = self.kernel.positions(self.table, query.shape[2], key.shape[2], self.offset)
        context, scores, probabilities = self.kernel(
            query, key, value, self.mask, positions, self.random, heads, self.offset
        )
        out = (context,)
        if self.want_scores:
            out = (*out, scores)
        if self.want_probabilities:
            out = (*out, probabilities)
        return out


def _measure(operation: str, form: str, case: Case, problem: Problem, compute: str = "fp32", dtype=np.float32):
    wanted = {operation: form, **({"dropout": case.dropout} if case.dropout else {})}
    call = Call(training=True, wants=frozenset(case.wants), compute=compute)
    plan, site = _plan(case)
    kernel = Kernels(call, wanted).build(operation, head_size=SIZE, site=site, causal=case.causal)
    random = {"host_mask": lambda: plan.host_mask(problem.keys, case.queries), "hash": lambda: problem.keys}
    cell = MeasuredAttention(kernel, case, problem, random[case.dropout]() if case.dropout else None)
    return cell.measure(*(array.astype(dtype) for array in problem.inputs))


@pytest.mark.parametrize(
    ("operation", "form", "name"),
    [
        _quick(operation, form, name, quick=form == "naive" or name == "padding_heads_dropout_wants")
        for operation, form in EVERY
        for name in CASES
    ],
)
def test_outputs_and_gradients_are_those_of_the_formula(operation: str, form: str, name: str) -> None:
    case = CASES[name]
    outputs, gradients = _measure(operation, form, case, _problem(case))
    expected_outputs, expected_gradients = _expected(case, operation == "relative_attention")
    for got, expected in zip(outputs, expected_outputs, strict=True):
        assert _error(got, expected) < 2e-6
    for got, expected in zip(gradients, expected_gradients, strict=True):
        assert _error(got, expected) < 5e-6


@pytest.mark.parametrize(("operation", "form"), [_quick(*pair, quick=pair[1] == "naive") for pair in EVERY])
def test_a_fully_padded_row_is_finite_and_leaves_the_others_alone(operation: str, form: str) -> None:
    case = Case(5, 5, padded=5)
    outputs, gradients = _measure(operation, form, case, _problem(case))
    for array in (*outputs, *gradients):
        assert np.isfinite(array).all()
    expected, _ = _expected(case, operation == "relative_attention")
    np.testing.assert_allclose(outputs[0][0], expected[0][0], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("operation", "form"), [_quick(*pair, quick=pair == ("relative_attention", "naive")) for pair in EVERY]
)
def test_half_precision_follows_the_formula(operation: str, form: str) -> None:
    case = CASES["padding_heads_dropout_wants"]
    outputs, gradients = _measure(operation, form, case, _problem(case), "fp16", np.float16)
    expected_outputs, expected_gradients = _expected(case, operation == "relative_attention")
    for got, expected in zip(outputs, expected_outputs, strict=True):
        assert _error(got, expected) < 2e-2
    for got, expected in zip(gradients, expected_gradients, strict=True):
        assert _error(got, expected) < 2e-2


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "form"), EVERY)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [0, 2])
@pytest.mark.parametrize(("queries", "offset"), [(1, 0), (2, 0), (5, 0), (13, 0), (1, 12), (4, 7)])
def test_every_combination_of_shapes_and_masks(
    operation: str, form: str, causal: bool, padded: int, queries: int, offset: int
) -> None:
    keys = queries + offset
    if padded >= keys:
        pytest.skip("no key would be left")
    case = Case(queries, keys, 3, causal, offset, padded, head_mask=True, wants=("scores", "probabilities"))
    outputs, gradients = _measure(operation, form, case, _problem(case))
    expected_outputs, expected_gradients = _expected(case, operation == "relative_attention")
    for got, expected in zip(outputs + gradients, expected_outputs + expected_gradients, strict=True):
        assert _error(got, expected) < 5e-6


def test_the_table_is_the_sinusoid_at_the_shifted_index() -> None:
    table = sinusoid_table(64, 16)
    assert table.shape == (129, 16)
    for row in (0, 1, 64, 128):
        for column in range(16):
            angle = row / 10000 ** ((column - column % 2) / 16)
            assert table[row, column] == pytest.approx(np.cos(angle) if column % 2 else np.sin(angle), abs=1e-7)
