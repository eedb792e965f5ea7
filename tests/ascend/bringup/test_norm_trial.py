"""The trial of dropout, sum and LayerNorm: right forms pass, each planted defect is found."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from ms_plm.kernels import Call, Implementation, Kernels
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.dropout import build_dropout
from ms_plm.kernels.verified import Record
from ms_plm_ascend.bringup.check import TOLERANCE
from ms_plm_ascend.bringup.forms_check import bound_milliseconds, verify
from ms_plm_ascend.bringup.norm_trial import NormTrial, Problem, norm_gradients, normalise
from ms_plm_ascend.bringup.trial import dropout_is_right

CALL = Kernels(Call("cpu", compute="fp32", training=True, chip="910B3"), {"dropout": "hash"}).call
SMALL = Problem(64, 1e-3, 0.03)
"""Variances of the size of epsilon."""
TRIAL = NormTrial(problems=(SMALL,), rows=16, size=64)


_mean, _zeros = ops.ReduceMean(keep_dims=True), ops.ZerosLike()


class Core(nn.Cell):
    """The operation with its own gradient, given the factors of dropout in each."""

    def __init__(self, epsilon: float, swapped: bool) -> None:
        super().__init__()
        self.epsilon, self.swapped, self.rsqrt = epsilon, swapped, ops.Rsqrt()

    def _normal(self, total):
        centred = total - _mean(total, -1)
        scale = self.rsqrt(_mean(centred * centred, -1) + self.epsilon)
        return centred * scale, scale

    def construct(self, x, residual, weight, bias, factors, others):
        return self._normal(x * factors + residual)[0] * weight + bias

    def bprop(self, x, residual, weight, bias, factors, others, out, dout):
        normal, scale = self._normal(x * factors + residual)
        inner = dout * weight
        total = scale * (inner - _mean(inner, -1) - normal * _mean(inner * normal, -1))
        dweight, dbias = (dout * normal).sum((0, 1)), dout.sum((0, 1))
        if self.swapped:
            dweight, dbias = dbias, dweight
        return total * others, total, dweight, dbias, _zeros(factors), _zeros(others)


class Norm(nn.Cell):
    """What a form may get wrong."""

    def __init__(self, call, size, epsilon, site, wrong="") -> None:
        super().__init__()
        self.core = Core(1.1 * epsilon if wrong == "epsilon" else epsilon, wrong == "swapped")
        self.dropout, self.wrong = build_dropout(call, site), wrong

    def construct(self, x, residual, weight, bias, keys=None):
        factors = others = self.dropout(ops.ones_like(residual), keys)
        if self.wrong == "other entries":
            others = self.dropout(ops.ones_like(residual), keys + 1)
        if self.wrong == "no factor":
            others = (factors > 0).astype(ms.float32)
        return self.core(x.astype(ms.float32), residual, weight, bias, factors, others)


def made(wrong: str = "") -> Implementation:
    return Implementation("dropout_add_layer_norm", "x", ("cpu",), partial(Norm, wrong=wrong), proven=False)


def test_the_definitions_gradients_are_its_differences() -> None:
    random = np.random.default_rng(0)
    x, residual, cotangent = random.standard_normal((3, 2, 3, 6))
    weight, bias = random.standard_normal((2, 6))
    factors = (random.random(x.shape) < 0.6) / 0.6
    found = norm_gradients(x, residual, weight, cotangent, 0.3, factors)
    for place, array in enumerate((x, residual, weight, bias)):
        given = [x, residual, weight, bias]
        for index in (0, array.size // 2, array.size - 1):
            sums = []
            for step in (1e-6, -1e-6):
                given[place] = array.copy()
                given[place].flat[index] += step
                sums.append((normalise(*given, 0.3, factors) * cotangent).sum())
            assert found[place].flat[index] == pytest.approx((sums[0] - sums[1]) / 2e-6, abs=1e-7)


def test_a_right_form_gets_a_record() -> None:
    reference = next(f for f in implementations()["dropout_add_layer_norm"] if f.name == "reference")
    verdict = verify(reference, CALL, TRIAL, repeats=1)
    assert verdict.passed, verdict
    record = Record(**verdict.record)
    assert (record.operation, record.form, record.dtype) == ("dropout_add_layer_norm", "reference", "fp32")
    assert set(record.errors) == {"y", "d x", "d residual", "d weight", "d bias"}
    assert verdict.figures["kept"] == pytest.approx(0.75, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("compute", ["fp32", "fp16"])
def test_a_form_with_its_own_gradient_passes_all_problems(compute: str) -> None:
    trial, call = replace(TRIAL, problems=NormTrial().problems), replace(CALL, compute=compute)
    assert max(trial.errors(made(), call).values()) < TOLERANCE[compute] / 4
    assert dropout_is_right(trial.dropout(made(), call))


@pytest.mark.parametrize(("wrong", "named"), [("epsilon", "y"), ("swapped", "d weight")])
def test_a_defect_shows_in_what_it_touches(wrong: str, named: str) -> None:
    """Also in half precision, whose tolerance is wide."""
    errors = TRIAL.errors(made(wrong), replace(CALL, compute="fp16"))
    assert errors[named] > 2 * TOLERANCE["fp16"]


@pytest.mark.parametrize("wrong", ["other entries", "no factor"])
def test_a_gradient_that_drops_otherwise_is_found(wrong: str) -> None:
    figures = TRIAL.dropout(made(wrong), CALL)
    assert figures["gradient drops otherwise"] > 0.1
    assert not dropout_is_right(figures)


def test_the_bound_is_the_time_of_its_bytes() -> None:
    numbers = 32 * 512 * 768
    bound = bound_milliseconds(NormTrial(), made(), replace(CALL, compute="fp16"), None)
    assert bound == pytest.approx((10 + 16) * numbers / 1.6e12 * 1000)
