"""AdamW on the stock operator `AdamWeightDecay`: its CPU kernel against float64, and the step's graph for Ascend."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn
from optimizer_oracle import OracleOptimizer
from tiny_step import exported

from ms_plm.common.errors import UserError
from ms_plm.config.precision import policy_for
from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels import Call, Kernels
from ms_plm_ascend.ops.optimizer import AdamWeightDecayUpdate
from ms_plm_ascend.precision.walk import walk

OPERATION, FORM = "optimizer_update", "adam_weight_decay"
SHAPES = {"matrix": (6, 5), "bias": (7,), "slow": (4,)}
OPTIONS = OptimizerSection(name="adamw", weight_decay=0.1, epsilon=1e-3)
SHARES = {"matrix": 1.0, "bias": 0.25, "slow": 0.5}
DECAYING = {"matrix", "slow"}
FACTOR = 1.0 / 1024.0


class Update(nn.Cell):
    """Tensors, their moments, and the form."""

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.values, self.first, self.second = (
            ParameterTuple([Parameter(Tensor(value * scale), name=f"{kind}.{name}") for name, value in values.items()])
            for kind, scale in (("value", 1), ("first", 0), ("second", 0))
        )
        decays, rates = tuple(name in DECAYING for name in SHAPES), tuple(SHARES.values())
        self.update = AdamWeightDecayUpdate(Call(training=True), OPTIONS, decays, rates)

    def construct(self, gradients, factor, rate, count):
        return self.update(self.values, self.first, self.second, gradients, factor, rate, count)


def test_six_updates_follow_the_float64_optimizer() -> None:
    """Unscaled gradients, bias correction, decoupled decay, shares of the rate; epsilon of the size of roots of v."""
    draw = np.random.default_rng(0)
    values = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    cell, oracle = Update(values), OracleOptimizer(values, DECAYING, OPTIONS, 0.0, SHARES)
    for count, rate in enumerate((0.01, 0.02, 0.0, 0.03, 0.02, 0.01), 1):
        gradients = {name: (0.01 * draw.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}
        given = tuple(Tensor(gradient / np.float32(FACTOR)) for gradient in gradients.values())
        cell(given, *(Tensor(np.float32(value)) for value in (FACTOR, rate, count)))
        oracle.update({name: gradient.astype(np.float64) for name, gradient in gradients.items()}, rate)
    for kind, expected in (("values", oracle.parameters), ("first", oracle.first), ("second", oracle.second)):
        for found, right in zip(getattr(cell, kind), expected.values(), strict=True):
            assert np.abs(found.asnumpy() - right).max() <= 3e-6 * np.abs(right).max(), found.name


@pytest.mark.slow
def test_the_real_graph_has_one_operator_a_tensor_in_fp32() -> None:
    policy = policy_for("fp16", "ascend", "910A")
    operators = exported(policy, "910A", {OPERATION: FORM})
    names = Counter(operator.name for operator in operators)
    tensors = 29  # of the tiny model
    assert names["AdamWeightDecay"] == tensors
    assert names["Assign"] < tensors
    found = walk(operators, policy)
    assert found.findings == []
    assert set(found.parts["optimizer"]) == {"float32"}


def test_it_is_taken_only_where_it_is_asked_for_and_for_adamw_alone() -> None:
    kernels = Kernels(Call("ascend", "fp16", training=True))
    chosen, reason = kernels.choose(OPERATION, options=OPTIONS)
    assert chosen.name == "reference"
    assert f"{FORM} is not taken unless it is asked for" in reason
    asked = Kernels(Call("ascend", "fp16", training=True), {OPERATION: FORM})
    assert asked.choose(OPERATION, options=OPTIONS)[0].name == FORM
    with pytest.raises(UserError, match="computes AdamW, not LAMB"):
        asked.choose(OPERATION, options=OptimizerSection(name="lamb"))
