"""The native optimizer and norm on arrays: against the float64 oracle, over tensors of several blocks."""

from __future__ import annotations

import numpy as np
import pytest
from optimizer_oracle import OracleOptimizer
from symbols import integers, normal, run, threads

from ms_plm.config.recipe import OptimizerSection

pytestmark = pytest.mark.usefixtures("native")
SHAPES = {"large": (3, 33000), "small": (7,), "one": (1,), "matrix": (40, 50)}
DECAYING = {"large", "matrix"}
SHARES = {"large": 0.3, "small": 0.5, "one": 1.0, "matrix": 1.0}
RULES = {"adamw": OptimizerSection(), "lamb": OptimizerSection(name="lamb")}
RULES["lamb_nezha"] = OptimizerSection(name="lamb", variant="nezha", weight_decay=0.1)
NUMBERS = {"adamw": 0, "lamb": 1, "lamb_nezha": 2}
RATES = (0.01, 0.02, 0.01)


def _gradients(step: int) -> dict[str, np.ndarray]:
    return {name: normal(*shape, seed=10 + step) for name, shape in SHAPES.items()}


def _train(rule: str, scale: float) -> list[list[np.ndarray]]:
    """Parameters and moments after every update, from gradients that are `scale` times too large."""
    options = RULES[rule]
    parameters = [normal(*shape, seed=1) for shape in SHAPES.values()]
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    decays = integers(*(name in DECAYING for name in SHAPES))
    shares = np.array(list(SHARES.values()), np.float32)
    constants = np.array([options.beta1, options.beta2, options.epsilon, options.weight_decay], np.float32).astype("f8")
    states = []
    for count, rate in enumerate(RATES, start=1):
        gradients = [gradient * np.float32(scale) for gradient in _gradients(count).values()]
        scalars = [np.array([value], np.float32) for value in (1 / scale, rate, count)]
        run(
            "optimizer_update",
            *(*parameters, *first, *second, *gradients, decays, shares, *scalars, constants, integers(NUMBERS[rule])),
            outputs=[(1,)],
        )
        states.append([array.copy() for array in (*parameters, *first, *second)])
    return states


@pytest.mark.parametrize("rule", RULES)
def test_updates_are_those_of_the_float64_optimizer(rule):
    start = {name: normal(*shape, seed=1) for name, shape in SHAPES.items()}
    oracle = OracleOptimizer(start, DECAYING, RULES[rule], clip=0.0, rates=SHARES)
    for count, (rate, state) in enumerate(zip(RATES, _train(rule, scale=1024.0), strict=True), start=1):
        oracle.update({name: array.astype(np.float64) for name, array in _gradients(count).items()}, rate)
        for name, got in zip(SHAPES, state, strict=False):
            largest = np.abs(oracle.parameters[name]).max()
            assert np.abs(got - oracle.parameters[name]).max() < 3e-6 * largest, (rule, count, name)


@pytest.mark.parametrize("rule", RULES)
def test_updates_do_not_depend_on_the_number_of_threads(rule):
    results = []
    for number in (1, 2, 4):
        with threads(number):
            results.append(_train(rule, scale=1.0)[-1])
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def _norm(*gradients: np.ndarray) -> float:
    (result,) = run("gradient_norm", *gradients, outputs=[(1,)])
    return float(result[0])


def test_the_norm_is_taken_over_all_tensors():
    gradients = list(_gradients(0).values())
    exact = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients))
    norms = set()
    for number in (1, 2, 4):
        with threads(number):
            norms.add(_norm(*gradients))
    assert len(norms) == 1
    assert norms.pop() == pytest.approx(exact, rel=1e-6)
    assert _norm(np.zeros((0, 3), np.float32), np.zeros(4, np.float32)) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_entry_that_is_not_finite_shows_in_the_norm(value):
    gradients = list(_gradients(0).values())
    gradients[0][2, 32999] = value
    assert not np.isfinite(_norm(*gradients))
