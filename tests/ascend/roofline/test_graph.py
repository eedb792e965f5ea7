"""Counts read from a compiled graph: lines as MindSpore writes them, and a real graph against the counted model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm_ascend.roofline.counts import Step, attention, gemms
from ms_plm_ascend.roofline.graph import Node, Shape, read_ir, read_step, work_of

ROOT = Path(__file__).resolve().parents[3]
LINES = """\
# Total subgraphs: 1
  %0(CNode_1) = PrimFunc_MatMul(%para1_x, %para2_w, Bool(0), Bool(1)) {instance name: matmul} primitive_attrs: {}
      : (<Tensor[Float16], (64, 32)>, <Ref[Tensor[Float16]], (48, 32), ref_key=w>) -> (<Tensor[Float16], (64, 48)>)
      : (<Float16xDefaultFormat[const vector]{64, 32}>) -> (<Float16xDefaultFormat[const vector]{64, 48}>)
      # Fullname with scope: (Default/net/MatMul-op0)
  %1(CNode_2) = PrimFunc_BatchMatMul(%0, %5, Bool(1), Bool(0)) {instance name: product}
      : (<Tensor[Float32], (2, 4, 7, 5)>, <Tensor[Float32], (2, 4, 7, 9)>) -> (<Tensor[Float32], (2, 4, 5, 9)>)
  %2(CNode_3) = GraphKernel_Cast_BiasAdd_GeLU_fusion(%1)
      : (<Tensor[Float16], (10, 10)>, <Tensor[Float16], (10)>) -> (<Tensor[Float16], (10, 10)>)
  %3(CNode_4) = PrimFunc_FlashAttentionScoreGrad(%1, %1) primitive_attrs: {input_layout: "BSND"}
      : (<Tensor[Float16], (2, 16, 3, 8)>, <Tensor[Float16], (2, 24, 3, 8)>) -> (<Tensor[Float16], (2, 16, 3, 8)>)
  %4(CNode_5) = AllReduce(%0) {op: "sum"}
      : (<Tensor[Float32], (100)>) -> (<Tensor[Float32], (100)>)
  %5(CNode_6) = Reshape(%1, (10, 36))
      : (<Tensor[Float32], (2, 4, 5, 9)>, <Tuple[Int64*2], TupleShape(NoShape)>) -> (<Tensor[Float32], (10, 36)>)
"""


@pytest.fixture
def ir(tmp_path: Path) -> Path:
    path = tmp_path / "graph_build_0_0001.ir"
    path.write_text(LINES)
    return path


def test_nodes_have_shapes_and_scopes(ir: Path) -> None:
    nodes = read_ir(ir)
    names = ["MatMul", "BatchMatMul", "GraphKernel_Cast_BiasAdd_GeLU_fusion", "FlashAttentionScoreGrad", "AllReduce"]
    assert [node.name for node in nodes] == [*names, "Reshape"]
    assert nodes[0].inputs == (Shape("Float16", (64, 32)), Shape("Float16", (48, 32)))
    assert nodes[0].scope == "Default/net/MatMul-op0"


def test_operations_and_bytes_by_hand(ir: Path) -> None:
    matmul, batched, fused, flash, reduced, view = map(work_of, read_ir(ir))
    assert (matmul.products, matmul.bytes) == (2 * 64 * 48 * 32, 2 * (64 * 32 + 48 * 32 + 64 * 48))
    assert batched.products == 2 * (2 * 4 * 5 * 9) * 7  # the first operand is transposed: 7 is what is summed
    assert (fused.vector, fused.bytes) == (100 * (1 + 1 + 12), 2 * 210)
    assert flash.products == 10 * (2 * 16 * 3 * 8) * 24
    assert (reduced.link, reduced.group) == (400, "exchange")
    assert (view.bytes, view.group) == (0, "view")


def test_a_target_of_an_assignment_is_written_and_not_read() -> None:
    tensor = Shape("Float32", (10,))
    assert work_of(Node("Assign", (tensor, tensor), (tensor,))).bytes == 2 * 40
    assert work_of(Node("AssignAdd", (tensor, tensor), (tensor,))).bytes == 3 * 40


def test_a_step_is_its_graphs_with_products_and_the_update_without(tmp_path: Path, ir: Path) -> None:
    node = "  %0(CNode_1) = PrimFunc_Assign(%para1_w, %1)"
    update = f"{node}\n      : (<Tensor[Float32], (4)>) -> (<Tensor[Float32], (4)>)\n"
    (tmp_path / "graph_build_1_0002.ir").write_text(update)
    forward, rest = read_step(tmp_path)
    assert (len(forward), [node.name for node in rest]) == (6, ["Assign"])
    with pytest.raises(UserError, match=r"no graph_build_\*.ir"):
        read_step(tmp_path / "none")


def test_a_file_without_nodes_and_a_dynamic_shape_are_refused(tmp_path: Path, ir: Path) -> None:
    empty = tmp_path / "empty.ir"
    empty.write_text("# nothing\n")
    with pytest.raises(UserError, match="no node with shapes"):
        read_ir(empty)
    ir.write_text(LINES.replace("(64, 48)>)", "(-1, 48)>)"))
    with pytest.raises(UserError, match="MatMul-op0: a shape is dynamic"):
        read_ir(ir)


TRAINS = """\
import mindspore as ms
ms.set_device("CPU")
ms.set_context(mode=ms.GRAPH_MODE)
from tiny import Trainer
Trainer(kernels="reference", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).update([0, 1, 2, 3])
"""


@pytest.mark.slow
def test_the_products_of_a_real_graph_are_those_that_are_counted(tmp_path: Path) -> None:
    """One layer, forward and gradients, compiled by MindSpore: every product is there, and no other."""
    from tiny import LENGTH, MASKED, tiny_config

    python_path = os.pathsep.join([str(ROOT), str(ROOT / "tests/training"), os.environ.get("PYTHONPATH", "")])
    variables = {"MS_DEV_SAVE_GRAPHS": "2", "MS_DEV_SAVE_GRAPHS_PATH": str(tmp_path), "PYTHONPATH": python_path}
    child = subprocess.run(
        [sys.executable, "-c", TRAINS], env={**os.environ, **variables}, cwd=tmp_path, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    works = Counter()
    for path in tmp_path.rglob("graph_build_*.ir"):
        for work in map(work_of, read_ir(path)):
            works[work.name] += work.products
    step = Step(tiny_config(), batch=4, length=LENGTH, masked=4 * MASKED, devices=1)
    assert works["MatMul"] == sum(work.products for work in gemms(step))
    assert works["BatchMatMul"] == sum(work.products for work in attention(step))
