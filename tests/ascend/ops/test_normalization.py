"""Sum and LayerNorm in one operator of CANN: the arithmetic with a stand-in, and the graph with the real one.

Nothing here runs on Ascend.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from add_norm_stand_in import AddNormStandIn
from mindspore import Tensor, nn, ops
from mindspore.train import mind_ir_pb2

from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Implementation, Kernels
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm_ascend.bringup.norm_trial import NormTrial, Problem
from ms_plm_ascend.bringup.trial import dropout_is_right
from ms_plm_ascend.ops.normalization import AddNorm

OPERATION, FORM, SIZE, EPSILON = "dropout_add_layer_norm", "addnorm", 32, 1e-5
CALL = Call(device="ascend", compute="fp16", training=True, exact_dropout=False)
DRAW = np.random.default_rng(0)
X, RESIDUAL = DRAW.normal(size=(2, 3, 5, SIZE)).astype(np.float32)
WEIGHT, BIAS = DRAW.normal(size=(2, SIZE)).astype(np.float32)


class Step(nn.Cell):
    """Gradients of the sum of all outputs."""

    def __init__(self, cell: nn.Cell) -> None:
        super().__init__()
        self.cell, self.gradient = cell, ops.GradOperation(get_all=True)

    def _sum(self, x, residual, weight, bias, keys):
        return ops.reduce_sum(self.cell(x, residual, weight, bias, keys))

    def construct(self, x, residual, weight, bias, keys):
        return self.gradient(self._sum)(x, residual, weight, bias, keys)[:4]


def test_it_is_the_layer_norm_of_the_sum() -> None:
    cell = AddNorm(CALL, SIZE, EPSILON, None, operator=AddNormStandIn)
    found = cell(*(Tensor(value) for value in (X, RESIDUAL, WEIGHT, BIAS))).asnumpy()
    total = X.astype(np.float64) + RESIDUAL
    centred = total - total.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * WEIGHT + BIAS
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_bring_up_finds_it_right_with_dropout() -> None:
    call = Kernels(Call("cpu", compute="fp16", training=True), {"dropout": "hash"}).call
    form = Implementation(OPERATION, FORM, ("cpu",), partial(AddNorm, operator=AddNormStandIn))
    trial = NormTrial(problems=(Problem(64, 1e-3, 0.03),))
    assert max(trial.errors(form, call).values()) < 1e-3
    assert dropout_is_right(trial.dropout(form, call))


def test_the_real_graph_holds_the_operator_and_its_gradient_once(tmp_path: Path) -> None:
    site = DropoutPlan().hidden(0.1, SIZE)
    cell = Kernels(CALL, {OPERATION: FORM}).build(OPERATION, size=SIZE, epsilon=EPSILON, site=site)
    keys = Tensor(np.zeros((3, 2), np.int32))
    inputs = (Tensor(X.astype(np.float16)), *(Tensor(value) for value in (RESIDUAL, WEIGHT, BIAS)), keys)
    ms.export(Step(cell), *inputs, file_name=str(tmp_path / "step"), file_format="MINDIR")
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString((tmp_path / "step.mindir").read_bytes())
    nodes = [node.op_type for graph in (model.graph, *model.functions) for node in graph.node]
    found = Counter(name.split(":")[-2] if ":" in name else name for name in nodes)
    assert found["AddLayerNormV2"] == found["AddLayerNormGrad"] == 1
    assert not found["LayerNorm"]


def test_it_is_taken_only_where_it_is_asked_for_and_not_on_a_910a() -> None:
    chosen, reason = Kernels(CALL).choose(OPERATION, size=SIZE)
    assert chosen.name == "stock"
    assert "addnorm is not taken unless it is asked for" in reason
    with pytest.raises(UserError, match="not for the 910A"):
        Kernels(Call(device="ascend", training=True, chip="910A"), {OPERATION: FORM}).choose(OPERATION)
