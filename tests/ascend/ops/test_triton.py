"""Operations on Triton kernels: when they are taken, why they decline, and the graph that they make.

Nothing here needs Triton; what the kernels compute is tested in `tests/ascend/triton_kernels`.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from mindspore.train import mind_ir_pb2

from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.attention import sinusoid_table
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm_ascend.ops import triton
from ms_plm_ascend.ops.triton import BACKEND, TritonAttention, TritonNorm, missing

CALL = Call(device="ascend", compute="fp16", training=True)
OPERATIONS = ("relative_attention", "dropout_add_layer_norm")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine that has all that is needed: `packages` (names of packages), `register` (the file that makes
    triton-ascend one for MindSpore) and `programs` in PATH may be taken away."""
    register = tmp_path / "triton" / "backends" / "ascend" / "backend_register.py"
    register.parent.mkdir(parents=True)
    register.touch()
    having = SimpleNamespace(packages={"triton"}, register=register, programs={"bishengir-compile"})
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "triton")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name in having.packages else None)
    monkeypatch.setattr(triton.shutil, "which", lambda name: name if name in having.programs else None)
    monkeypatch.delenv(BACKEND, raising=False)
    return having


def test_a_complete_machine_lacks_nothing(machine: SimpleNamespace) -> None:
    assert missing() is None


def test_what_is_missing_is_named_with_the_remedy(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.programs.clear()
    assert "bishengir-compile" in missing()
    assert "set_env.sh" in missing()
    machine.packages.add("torch_npu")
    assert f"{BACKEND}=mindspore" in missing()
    monkeypatch.setenv(BACKEND, "mindspore")
    assert "bishengir-compile" in missing()
    machine.register.unlink()
    monkeypatch.setattr(triton, "version", lambda name: "3.2.0")
    assert "needs triton-ascend 3.2.1 or later" in missing()
    assert "not triton-ascend 3.2.0" in missing()
    machine.packages.clear()
    assert "pip install 'triton-ascend>=3.2.1'" in missing()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_both_operations_decline_a_machine_without_triton(operation: str, machine: SimpleNamespace) -> None:
    machine.packages.clear()
    with pytest.raises(UserError, match=f"impl.kernels.{operation}: triton cannot be used here.*pip install"):
        Kernels(CALL, {operation: "triton"}).choose(operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_never_ran_on_hardware_is_taken_only_where_it_is_asked_for(operation, machine: SimpleNamespace) -> None:
    chosen, reason = Kernels(CALL).choose(operation)
    assert chosen.name != "triton"
    assert "triton is not taken unless it is asked for" in reason
    chosen, reason = Kernels(CALL, {operation: "triton"}).choose(operation)
    assert chosen.name == "triton"
    assert "never run on the hardware" in reason


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({"compute": "fp32"}, {}, "multiplies in fp16 or bf16"),
        ({"wants": frozenset({"scores"})}, {}, "keeps no scores"),
        ({"dynamic": True}, {}, "needs static shapes"),
        ({"training": False}, {}, "is for training"),
        ({}, {"causal": True}, "has no causal form"),
        ({}, {"learned_table": True}, "not for a learned table"),
        ({}, {"head_size": 40}, "multiple of 16, not 40"),
        ({}, {"head_size": 128}, "heads of at most 112 numbers"),
    ],
)
def test_calls_that_the_kernels_cannot_serve_are_declined(change, arguments, words, machine: SimpleNamespace) -> None:
    call = Call(**{**vars(CALL), **change})
    with pytest.raises(UserError, match=words):
        Kernels(call, {"relative_attention": "triton"}).choose("relative_attention", **arguments)


def test_tokens_too_wide_to_normalize_are_declined(machine: SimpleNamespace) -> None:
    kernels = Kernels(Call(device="ascend", training=True), {"dropout_add_layer_norm": "triton"})
    assert kernels.choose("dropout_add_layer_norm", size=1024)[0].name == "triton"  # in fp32 too
    with pytest.raises(UserError, match="tokens of at most 5120 numbers"):
        kernels.choose("dropout_add_layer_norm", size=8192)


class _Step(nn.Cell):
    """Attention and normalization, with all their gradients."""

    def __init__(self) -> None:
        super().__init__()
        plan = DropoutPlan()
        self.attention = TritonAttention(CALL, heads=4, head_size=64, reach=64, site=plan.scores(0.1, 4))
        self.norm = TritonNorm(CALL, 256, 1e-12, plan.hidden(0.1, 256))
        self.gradient = ops.GradOperation(get_all=True)
        self.table = Tensor(sinusoid_table(64, 64))

    def _sum(self, query, key, value, weight, bias, mask, keys):
        positions = self.attention.positions(self.table, query.shape[1], key.shape[1])
        context = self.attention(query, key, value, mask, positions, keys)[0]
        return self.norm(context, query, weight, bias, keys).sum()

    def construct(self, query, key, value, weight, bias, mask, keys):
        return self.gradient(self._sum)(query, key, value, weight, bias, mask, keys)[:5]


def test_the_graph_holds_one_callback_an_operation_and_one_a_gradient(tmp_path: Path) -> None:
    array, vector = Tensor(np.zeros((2, 100, 256), np.float16)), Tensor(np.zeros(256, np.float32))
    mask, keys = Tensor(np.zeros((2, 1, 1, 100), np.float32)), Tensor(np.zeros((2, 2), np.int32))
    path = tmp_path / "step"
    ms.export(_Step(), *(array,) * 3, vector, vector, mask, keys, file_name=str(path), file_format="MINDIR")
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(path.with_suffix(".mindir").read_bytes())
    names = [node.op_type.split(":")[2] for node in model.graph.node if ":" in node.op_type]
    callbacks = Counter(name for name in names if name.startswith("PyCallback"))
    wanted = ("attention", "attention_grad", "norm", "norm_grad")
    assert callbacks == {f"PyCallback_triton_{name}": 1 for name in wanted}
    assert "Transpose" not in names  # heads are read where the projections leave them


def test_a_mask_with_rows_for_queries_is_refused() -> None:
    cell = TritonAttention(CALL, heads=2, head_size=16, reach=5)
    array, mask = Tensor(np.zeros((1, 8, 32), np.float16)), Tensor(np.zeros((1, 1, 8, 8), np.float32))
    with pytest.raises(ValueError, match="masks of keys"):
        cell.construct(array, array, array, mask)
