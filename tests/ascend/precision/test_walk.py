"""A training step for Ascend keeps its precision policy, cast by cast; a step that does not is found out."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from tiny_step import exported

from ms_plm.config.precision import policy_for
from ms_plm_ascend.precision.mindir import export_operators
from ms_plm_ascend.precision.walk import Walk, walk

HALF = policy_for("fp16", "ascend", "910B3")
KEPT = ("softmax", "layer_norm", "loss", "reductions", "optimizer")


@pytest.mark.parametrize(
    ("precision", "chip", "optimizer", "accumulate"),
    [
        ("fp16", "910A", "adamw", False),
        pytest.param("fp16", "910B3", "lamb", True, marks=pytest.mark.slow),
        pytest.param("bf16", "910B3", "lamb", False, marks=pytest.mark.slow),
        pytest.param("fp32", "910B3", "adamw", True, marks=pytest.mark.slow),
    ],
)
def test_a_step_keeps_its_policy(precision: str, chip: str, optimizer: str, accumulate: bool) -> None:
    """Pretraining NEZHA with stock operators: forward, gradients, norm, clipping, update."""
    policy = policy_for(precision, "ascend", chip)
    found = walk(exported(policy, chip, optimizer=optimizer, accumulate=accumulate), policy)
    assert found.findings == []
    assert {part: set(found.parts[part]) for part in KEPT} == {part: {"float32"} for part in KEPT}
    # forward and gradients: 4 softmaxes or their gradients and 4 LayerNorms at least, 2 of 3 products are gradients
    assert set(found.parts["products"]) == {policy.compute}
    assert found.parts["products"].total() >= 3 * 10
    assert found.parts["softmax"].total() >= 2
    assert found.parts["layer_norm"].total() == 8
    assert found.parts["optimizer"].total() > 20
    down, up = (found.casts[pair] for pair in (("float32", policy.compute), (policy.compute, "float32")))
    if precision == "fp32":
        assert found.casts.total() == 0
    else:
        assert (down > 10, up > 10, found.casts.total()) == (True, True, down + up)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_fused_forms_keep_the_policy_around_them(precision: str) -> None:
    policy = policy_for(precision, "ascend", "910B3")
    kernels = {"relative_attention": "flash3", "dropout_add_layer_norm": "addnorm"}
    found = walk(exported(policy, "910B3", kernels), policy)
    assert found.findings == []
    assert found.parts["fused kernels"][policy.compute] >= 2
    assert set(found.parts["layer_norm"]) == {"float32"}


class Planted(nn.Cell):
    """What a step holds, each part right or, where named, in the wrong type."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self.weight = Parameter(Tensor(np.ones((8, 8), np.float32)), name="weight")
        self.moment = Parameter(Tensor(np.zeros((8, 8), np.float32)), name="moment")
        self.norm, self.softmax, self.log = ops.LayerNorm(-1, -1), ops.Softmax(-1), ops.Log()
        self.matmul, self.square, self.sum, self.sqrt = ops.MatMul(), ops.Square(), ops.ReduceSum(), ops.Sqrt()

    def _as(self, part, x, right):
        if part == self.wrong:
            return x.astype(ms.float16 if right == ms.float32 else ms.float32)
        return x.astype(right)

    def construct(self, x, ones):
        product = self.matmul(*(self._as("products", value, ms.float16) for value in (x, self.weight)))
        x = self._as("layer_norm", product, ms.float32)
        x = self.norm(x, ones.astype(x.dtype), ones.astype(x.dtype))[0]
        odds = self.softmax(self._as("softmax", x, ms.float32)).astype(ms.float32)
        loss = self.sum(self._as("loss", self.log(odds), ms.float32))
        length = self.sqrt(self.sum(self._as("reductions", self.square(odds), ms.float32)).astype(ms.float32))
        if loss > 0.0:
            step = self._as("optimizer", odds, ms.float32) * 0.1
            ops.assign(self.moment, self.moment - step.astype(ms.float32))
        return loss, length


def planted(wrong: str = "") -> Walk:
    inputs = (Tensor(np.ones((8, 8), np.float32)), Tensor(np.ones(8, np.float32)))
    return walk(export_operators([(Planted(wrong), inputs)]), HALF)


def test_a_right_graph_has_no_findings_and_tells_its_types() -> None:
    found = planted()
    assert found.findings == []
    assert found.describe().startswith("softmax float32; layer_norm float32; loss float32; reductions float32; ")
    assert "products float16" in found.describe()
    assert found.casts["float32", "float16"] == 2


@pytest.mark.parametrize("part", [*KEPT, "products"])
def test_a_wrong_cast_is_found_in_its_part(part: str) -> None:
    findings = planted(part).findings
    wrong, right = ("float32", "float16") if part == "products" else ("float16", "float32")
    assert findings
    assert all(f"{part} takes {wrong}, not {right}" in finding for finding in findings), findings
