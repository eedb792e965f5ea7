"""The loss scale and what an overflow does to an update, for the precision policy of every chip.

A policy decides whether there is a scale and how an overflow shows: as an infinite or undefined gradient, or, on chips
that saturate, in a register while every number stays finite.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from mindspore import Tensor, ops
from scaled import KEPT, Register, Slope

from ms_plm.config.chips import CHIPS
from ms_plm.config.loading import load_recipe
from ms_plm.config.precision import PrecisionPolicy, policy_for
from ms_plm.kernels import Call, Kernels
from ms_plm.training import assembly

POLICIES = {
    "910A fp16": policy_for("fp16", "ascend", "910A"),
    "910A fp32": policy_for("fp32", "ascend", "910A"),
    "A2 and A3 fp16": policy_for("fp16", "ascend", "910B3"),
    "A2 and A3 bf16": policy_for("bf16", "ascend", "910B3"),
    "A2 and A3 fp32": policy_for("fp32", "ascend", "910B3"),
}
FIRST, WINDOW = 1024.0, 2


def test_these_are_the_policies_of_all_chips() -> None:
    found = {policy_for(kind, "ascend", chip.name) for chip in CHIPS.values() for kind in ("fp32", *chip.types)}
    assert found == set(POLICIES.values())


class Machine:
    """The step that training builds for a policy, with a register of ours where the chip has one."""

    def __init__(self, policy: PrecisionPolicy, monkeypatch) -> None:
        self.registers: list[Register] = []
        monkeypatch.setattr(assembly, "NpuStatus", self._register)
        changes = {"train.batch": 2, "impl.micro_batch": None, "impl.loss_scale": FIRST}
        changes |= {"impl.loss_scale_window": WINDOW, "train.optimizer.name": "lamb"}
        recipe, self.loss = load_recipe("nezha_base_pretrain_ascend", changes), Slope()
        named = [("dense.weight", self.loss.weight)]
        model = SimpleNamespace(
            kernels=Kernels(Call(training=True)),
            config=SimpleNamespace(num_hidden_layers=1),
            parameters_and_names=lambda: named,
        )
        self.step = assembly.build_step(recipe, self.loss, model, policy)

    def _register(self) -> Register:
        self.registers.append(Register())
        return self.registers[-1]

    def update(self, value: float, overflows: bool = False):
        """`value` is the gradient; `overflows` is what the register tells of this update."""
        for register in self.registers:
            ops.assign(register.word, Tensor(np.float32(overflows)))
        return self.step(0.1, [1.0], [{"x": np.full((2, 3), value, np.float32)}])

    def state(self) -> dict[str, np.ndarray]:
        values = {name: parameter.asnumpy().copy() for name, parameter in self.step.state().items()}
        return {**values, "weight": self.loss.weight.asnumpy().copy()}


@pytest.mark.parametrize("name", POLICIES)
def test_an_overflow_skips_the_update_and_training_goes_on(name: str, monkeypatch) -> None:
    policy = POLICIES[name]
    machine = Machine(policy, monkeypatch)
    reads = policy.loss_scaling and policy.overflow == "saturates"
    assert bool(machine.registers) is reads
    first = FIRST if policy.loss_scaling else 1.0
    # the last but one has an infinite norm; the squares of the last add up to 3.37e38, as saturated ones would
    overflows = [(np.inf, False), (np.nan, False), (-np.inf, False), (3e38, False), (5.3e18, False)]
    if reads:
        overflows.append((0.5, True))
    assert bool(machine.update(0.5).finite.asnumpy())
    before, scale = machine.state(), first
    for number, injected in enumerate(overflows, 1):
        result = machine.update(*injected)
        assert not bool(result.finite.asnumpy()), injected
        assert float(result.scale.asnumpy()) == scale
        scale = scale / 2 if policy.loss_scaling else 1.0
        after = machine.state()
        for kept in KEPT:
            np.testing.assert_array_equal(before[kept], after[kept])
        assert (after["loss_scale"], after["skipped_updates"], after["good_updates"]) == (scale, number, 0)
    used = [machine.update(0.25) for _ in range(WINDOW + 1)]
    assert [bool(result.finite.asnumpy()) for result in used] == [True] * len(used)
    assert [float(result.scale.asnumpy()) for result in used] == [scale] * WINDOW + [
        scale * 2 if policy.loss_scaling else 1.0
    ]
    assert machine.state()["applied_updates"] == 1 + len(used)
    # gradients of 0.5 in two rows of three entries, whatever the scale
    np.testing.assert_allclose(used[-1].norm.asnumpy(), 0.5 * np.sqrt(3.0), rtol=1e-6)
