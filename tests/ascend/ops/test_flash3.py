"""Attention on Ascend's flash operators: the algebra with a stand-in, and the graph with the real ones.

Nothing here runs on Ascend.
"""

from __future__ import annotations

from collections import Counter

import mindspore as ms
import numpy as np
import pytest
from attention_cases import HEADS, Case, MeasuredAttention, problem
from mindspore import Tensor, nn, ops
from mindspore.train import mind_ir_pb2
from stand_in import StandIn, kept

from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.attention import sinusoid_table
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm_ascend.ops.flash import FlashAttention
from ms_plm_ascend.ops.flash3 import Flash3

CALL = Call(device="ascend", compute="fp16", training=True, exact_dropout=False)
CASES = {
    "shorter than the band": Case(6, 6, reach=7),
    "one row beyond the band": Case(8, 8, reach=7),
    "padded": Case(33, 33, reach=5, padded=13),
    "all keys of a sequence padded": Case(33, 33, reach=5, padded=33),
    "dropout": Case(33, 33, reach=5, padded=13, dropout="hash"),
    "head mask, a mask for every query": Case(33, 33, reach=5, square_mask=True, head_mask=True),
    "absolute positions": Case(33, 33, reach=None, padded=13, dropout="hash"),
    "absolute positions, causal": Case(33, 33, reach=None, causal=True),
}


def _cell(case: Case, factors) -> nn.Cell:
    options = {"heads": HEADS, "head_size": case.size, "site": case.plan()[1], "causal": case.causal}
    options |= {"operator": StandIn, "bits": kept(factors)}
    return FlashAttention(CALL, **options) if case.reach is None else Flash3(CALL, reach=case.reach, **options)


@pytest.mark.parametrize("name", CASES)
def test_three_calls_joined_are_attention_and_its_gradients(name: str) -> None:
    case = CASES[name]
    given = problem(case)
    measured = MeasuredAttention(case, _cell(case, given.given.factors))
    if name == "all keys of a sequence padded":  # the reference spreads such a row evenly, here it gives 0
        outputs, gradients = measured.run(given)
        for values in (*outputs.values(), *gradients.values()):
            assert np.isfinite(values).all()
            assert not values[-1].any()
        rest = problem(case._replace(padded=0))
        expected = rest.given.outputs()["context"][:-1]
        np.testing.assert_allclose(outputs["context"][:-1], expected, rtol=0, atol=3e-6)
        return
    assert max(measured.errors(given).values()) < 3e-6


@pytest.mark.parametrize("name", ["padded", "dropout"])
def test_in_fp16_what_is_around_the_calls_loses_no_more_than_they_do(name: str) -> None:
    case = CASES[name]
    asked = problem(case, np.float16)
    errors = MeasuredAttention(case, _cell(case, asked.given.factors)).errors(asked)
    assert max(errors.values()) < 3e-3, errors


class _Step(nn.Cell):
    def __init__(self, cell: nn.Cell) -> None:
        super().__init__()
        self.cell, self.gradient = cell, ops.GradOperation(get_all=True)
        self.table = Tensor(sinusoid_table(64, 64))

    def _sum(self, query, key, value, mask, keys):
        positions = self.cell.positions(self.table, query.shape[1], key.shape[1])
        return self.cell(query, key, value, mask, positions, keys)[0].astype(ms.float32).sum()

    def construct(self, query, key, value, mask, keys):
        return self.gradient(self._sum)(query, key, value, mask, keys)[:3]


def _operators(cell: nn.Cell, path) -> Counter[str]:
    """Operators of a step's exported graph, by name."""
    array = Tensor(np.zeros((2, 192, 4 * 64), np.float16))
    mask, keys = Tensor(np.zeros((2, 1, 1, 192), np.float32)), Tensor(np.zeros((2, 2), np.int32))
    ms.export(_Step(cell), array, array, array, mask, keys, file_name=str(path), file_format="MINDIR")
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(path.with_suffix(".mindir").read_bytes())
    graphs = [model.graph, *model.functions]
    return Counter(
        node.op_type.split(":")[-2].split("::")[-1] if ":" in node.op_type else node.op_type
        for graph in graphs
        for node in graph.node
    )


@pytest.mark.parametrize(("operation", "calls"), [("relative_attention", 3), ("attention", 1)])
def test_the_real_graph_holds_the_flash_calls_and_few_copies(operation: str, calls: int, tmp_path) -> None:
    plan = DropoutPlan()
    form = {"relative_attention": "flash3", "attention": "flash"}[operation]
    kernels = Kernels(CALL, {operation: form})
    more = {"reach": 64} if calls == 3 else {}
    cell = kernels.build(operation, heads=4, head_size=64, site=plan.scores(0.1, 4), **more)
    found = _operators(cell, tmp_path / "step")
    assert found["FlashAttentionScore"] == found["FlashAttentionScoreGrad"] == calls
    assert found["DropoutGenMask"] == 1  # no entry is in two regions
    assert found["StridedSlice"] <= 11  # of row statistics and of what layers share; vectors are widened by products
    assert found["Concat"] <= 5


def test_what_never_ran_on_hardware_is_taken_only_where_it_is_asked_for() -> None:
    chosen, reason = Kernels(CALL).choose("relative_attention", reach=64)
    assert chosen.name != "flash3"
    assert "flash3 is not taken unless it is asked for" in reason
    chosen, reason = Kernels(CALL, {"relative_attention": "flash3"}).choose("relative_attention", reach=64)
    assert chosen.name == "flash3"
    assert "never run on the hardware" in reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compute": "fp32"}, "multiplies in fp16 or bf16"),
        ({"exact_dropout": True}, "impl.exact_resume=false"),
        ({"wants": frozenset({"scores"})}, "keeps no scores"),
        ({"dynamic": True}, "needs static shapes"),
        ({"chip": "910A"}, "made for the 910B .A2. and 910C .A3., not for the 910A"),
        ({"length": 100}, "needs a length that is a multiple of 8, not 100"),
    ],
)
def test_calls_that_the_operators_cannot_serve_are_declined(change: dict, words: str) -> None:
    call = Call(**{**vars(CALL), "dropout": None, **change})
    with pytest.raises(UserError, match=words):
        Kernels(call, {"relative_attention": "flash3"}).choose("relative_attention")
