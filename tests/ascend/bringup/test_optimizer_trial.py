"""The trial of AdamW: right forms pass, each planted defect is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from mindspore import nn

from ms_plm.kernels import Call, Implementation
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.optimizer import OptimizerUpdate
from ms_plm.kernels.verified import Record
from ms_plm_ascend.bringup.forms_check import bound_milliseconds, verify
from ms_plm_ascend.bringup.optimizer_trial import OptimizerTrial
from ms_plm_ascend.ops.optimizer import AdamWeightDecayUpdate

CALL = Call("cpu", compute="fp16", training=True, chip="910B3")
TRIAL = OptimizerTrial(shapes=((5, 3), (7,)), timed_shapes=((8, 8),))


def form(build: Callable) -> Implementation:
    return Implementation("optimizer_update", "x", ("cpu",), build, proven=False)


def test_the_form_for_ascend_passes_on_the_cpus_operator_and_gets_a_record() -> None:
    verdict = verify(form(AdamWeightDecayUpdate), CALL, TRIAL, repeats=1)
    assert verdict.passed, verdict
    record = Record(**verdict.record)
    assert (record.operation, record.dtype, record.tolerance) == ("optimizer_update", "fp16", 2e-5)
    assert set(record.errors) == {"change", "first moment", "second moment"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "fused_adam"])
def test_forms_that_were_proven_pass(name: str) -> None:
    proven = next(one for one in implementations()["optimizer_update"] if one.name == name)
    assert max(OptimizerTrial().errors(proven, CALL).values()) < 2e-5


def other_epsilon(call, options, decays, rates):
    return OptimizerUpdate(call, options.model_copy(update={"epsilon": 1.01 * options.epsilon}), decays, rates)


def decay_everywhere(call, options, decays, rates):
    return OptimizerUpdate(call, options, (True,) * len(decays), rates)


def whole_rate(call, options, decays, rates):
    return OptimizerUpdate(call, options, decays, (1.0,) * len(rates))


class Forgets(nn.Cell):
    """The factor, or the number of updates."""

    def __init__(self, call, options, decays, rates, what: str) -> None:
        super().__init__()
        self.update, self.what = OptimizerUpdate(call, options, decays, rates), what

    def construct(self, parameters, first, second, gradients, factor, learning_rate, count):
        if self.what == "factor":
            factor = factor * 0.0 + 1.0
        if self.what == "count":
            count = count * 0.0 + 100.0
        return self.update(parameters, first, second, gradients, factor, learning_rate, count)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (other_epsilon, "change"),
        (decay_everywhere, "change"),
        pytest.param(whole_rate, "change", marks=pytest.mark.slow),
        pytest.param(partial(Forgets, what="count"), "change", marks=pytest.mark.slow),
        pytest.param(partial(Forgets, what="factor"), "second moment", marks=pytest.mark.slow),
    ],
)
def test_a_defect_shows(build: Callable, named: str) -> None:
    verdict = verify(form(build), CALL, TRIAL)
    assert (verdict.passed, verdict.record) == (False, None)
    assert verdict.figures[named] > 1e-4


def test_the_bound_is_the_time_of_its_bytes() -> None:
    trial = replace(TRIAL, timed_shapes=((1000, 1000), (500,)))
    assert bound_milliseconds(trial, form(AdamWeightDecayUpdate), CALL, None) == pytest.approx(
        28 * 1000500 / 1.6e12 * 1000
    )
