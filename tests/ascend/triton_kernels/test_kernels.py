"""The kernels in Triton's interpreter, forward and all gradients, against float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from attention_oracle import Attention as Oracle
from attention_oracle import relative_error
from interpret_cases import ATTENTION, NORM, PROGRAMS
from measured import central_differences, largest_error
from triton_environment import HERE, Environment

from ms_plm.common import rng
from ms_plm.kernels.attention import sinusoid_table
from ms_plm_ascend.triton_kernels.problem import OPERATION, AttentionProblem, NormProblem

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of all problems."""
    folder = tmp_path_factory.mktemp("interpreted")
    ran = environment.run(HERE / "interpret_cases.py", folder, TRITON_INTERPRET="1")
    assert ran.returncode == 0, ran.stderr
    return folder


def _factors(keys: np.ndarray, shape: tuple[int, ...], threshold: int) -> np.ndarray:
    kept = np.empty((len(keys), int(np.prod(shape[1:]))), np.bool_)
    rng.keep_mask(keys, OPERATION, kept.shape[1], threshold, kept)
    return kept.reshape(shape) / (threshold / 65536)


def _packed(array: np.ndarray) -> np.ndarray:
    return array.reshape(*array.shape[:2], -1).astype(np.float64)


def _expected(problem: AttentionProblem, samples: slice) -> dict[str, np.ndarray]:
    tensors, mask, keys = problem.drawn()
    query, key, value, dout = (_packed(array)[samples] for array in tensors)
    call = problem.call
    shape = (problem.batch, call.heads, problem.length, problem.length)
    factors = _factors(keys, shape, call.dropout.threshold)[samples] if call.dropout.drops else None
    table = sinusoid_table(call.reach, call.size)
    oracle = Oracle(call.heads, query, key, value, mask[samples, None, None], table, None, factors)
    gradients = oracle.gradients({"context": dout})
    names = {"dquery": "query", "dkey": "key", "dvalue": "value"}
    return {"out": oracle.outputs()["context"]} | {name: gradients[other] for name, other in names.items()}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_and_its_gradients(name: str, results: Path) -> None:
    problem, got = ATTENTION[name], np.load(results / f"attention {name}.npz")
    samples = slice(None)
    if problem.padded == problem.length:  # what such a sample gives is not compared, only finite
        assert all(np.isfinite(got[result]).all() for result in got)
        samples = slice(-1)
    tolerance = 2e-3 if problem.dtype == np.float16 else 2e-6
    for result, expected in _expected(problem, samples).items():
        assert relative_error(_packed(got[result])[samples], expected) < tolerance, result


@pytest.mark.parametrize("name", NORM)
def test_dropout_add_layer_norm_and_its_gradients(name: str, results: Path) -> None:
    problem, got = NORM[name], np.load(results / f"norm {name}.npz")
    (*inputs, dy), keys = problem.drawn()
    factors = 1.0
    if problem.call.dropout.drops:
        factors = _factors(keys, inputs[0].shape, problem.call.dropout.threshold)

    def formula(x, residual, weight, bias):
        h = x * factors + residual
        centred = h - h.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + problem.call.epsilon) * weight + bias

    exact = [array.astype(np.float64) for array in inputs]
    assert largest_error(got["y"], formula(*exact)) < 2e-6
    expected = central_differences(lambda *arrays: float((formula(*arrays) * dy).sum()), exact)
    for result, wanted in zip(("dx", "dresidual", "dweight", "dbias"), expected, strict=True):
        assert largest_error(got[result], wanted) < 4e-6, result


def test_results_do_not_depend_on_how_many_programs_share_the_work(results: Path) -> None:
    first, second = (np.load(results / f"{name}.npz") for name in PROGRAMS)
    for result in first:
        np.testing.assert_array_equal(first[result], second[result])


def test_the_problems_hold_every_kind_of_call() -> None:
    assert any(isinstance(problem, NormProblem) for problem in NORM.values())
    reaches = [(problem.length, problem.call.reach) for problem in ATTENTION.values()]
    assert any(length <= reach for length, reach in reaches)
    assert any(length > 2 * reach + 32 for length, reach in reaches)  # with tiles of 16: all three regions
    assert any(length % 2 and problem.padded for (length, _), problem in zip(reaches, ATTENTION.values(), strict=True))
