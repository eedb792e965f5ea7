"""Operations and bytes of a compiled graph, read from MindSpore's own files instead of counted from the model.

`MS_DEV_SAVE_GRAPHS=2 MS_DEV_SAVE_GRAPHS_PATH=DIR` writes them; `graph_build_0_*.ir` is a graph as it is executed, after
all fusions. Every node is a line `%18(name) = PrimFunc_MatMul(%16, %17, ...)` with the types and shapes of its operands
and results on the next: `: (<Tensor[Float32], (64, 32)>, ...) -> (<Tensor[Float32], (64, 32)>)`.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from ms_plm.common.errors import UserError
from ms_plm_ascend.roofline.counts import Work

_NODE = re.compile(r"^\s*%\d+\([^=]*\) = (?:call )?(?:PrimFunc_|Primitive_|@)?([A-Za-z]\w*)[^(]*\((.*)$")
_TYPES = re.compile(r"^\s*: \((.*)\) -> \((.*)\)\s*$")
_TENSOR = re.compile(r"Tensor\[(\w+)\]\]?, \(([-\d, ]*)\)")
_SCOPE = re.compile(r"# Fullname with scope: \((.*)\)")
_BITS = re.compile(r"\d+$")
_LAYOUT = re.compile(r'input_layout: "(\w+)"')

VIEWS = {"Reshape", "ExpandDims", "Squeeze", "Flatten", "View", "Load", "Depend", "UpdateState", "MakeTuple"}
VIEWS |= {"TupleGetItem", "Return", "Shape", "TensorShape", "PyExecute", "Partial", "Switch", "ConditionSwitch"}
"""Nodes that move nothing."""
PRODUCTS = {"MatMul", "MatMulV2", "MatMulExt", "BatchMatMul", "BatchMatMulV2", "BatchMatMulExt", "Dense", "BMM"}
FLASH = {"FlashAttentionScore": 4.0, "FlashAttentionScoreGrad": 10.0}
"""Operations a pair and column: two products; the gradient has five."""
KEYS_AXIS = {"BSND": 1, "BSH": 1, "BNSD": 2, "SBH": 0}
"""Where the keys are counted, by layout."""
COSTS = {"Softmax": 8, "SoftmaxBackward": 4, "SoftmaxGrad": 4, "LayerNorm": 8, "LayerNormGrad": 16, "GeLU": 12}
COSTS |= {"GeLUGrad": 20, "Exp": 4, "Erf": 10, "Tanh": 8, "Log": 4, "Sqrt": 2, "Pow": 8}
"""Vector operations an element; others: 1."""


class Shape(NamedTuple):
    """Type, such as Float16, and extents of a tensor."""

    dtype: str
    extents: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.extents)

    @property
    def bytes(self) -> float:
        bits = _BITS.search(self.dtype)
        return self.elements * (int(bits.group()) / 8 if bits else 1)


class Node(NamedTuple):
    """A node that is executed."""

    name: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    layout: str = "BSND"
    scope: str = ""


def read_ir(path: str | Path) -> list[Node]:
    """The nodes of an IR file, in order.

    Raises:
        UserError: the file holds none, or a node with an extent that is not known.
    """
    nodes: list[Node] = []
    waiting: tuple[str, str] | None = None
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _NODE.match(line):
            waiting = (match.group(1), line)
        elif waiting and (match := _TYPES.match(line)):
            layout = _LAYOUT.search(waiting[1])
            inputs, outputs = (_shapes(part) for part in match.groups())
            nodes.append(Node(waiting[0], inputs, outputs, layout.group(1) if layout else "BSND"))
            waiting = None
        elif nodes and not nodes[-1].scope and (match := _SCOPE.search(line)):
            nodes[-1] = nodes[-1]._replace(scope=match.group(1))
    if not nodes:
        raise UserError(f"{path}: no node with shapes; expected a file graph_build_N_*.ir of MS_DEV_SAVE_GRAPHS=2.")
    for node in nodes:
        if any(extent < 0 for shape in (*node.inputs, *node.outputs) for extent in shape.extents):
            raise UserError(f"{path}: {node.scope or node.name}: a shape is dynamic, so that nothing can be counted.")
    return nodes


def _shapes(text: str) -> tuple[Shape, ...]:
    found = []
    for dtype, extents in _TENSOR.findall(text):
        found.append(Shape(dtype, tuple(int(part) for part in extents.split(",") if part.strip())))
    return tuple(found)


def work_of(node: Node) -> Work:
    """What one node computes and moves.

    (Operands are counted whole, also where a gather reads a part of them.)
    """
    if node.name in VIEWS:
        return Work(node.name, "view")
    moved = sum(shape.bytes for shape in (*node.inputs, *node.outputs))
    if node.name == "Assign":
        moved = 2 * sum(shape.bytes for shape in node.outputs)  # the target is not read
    if node.name in PRODUCTS:
        return Work(node.name, "gemm", products=_products(node), bytes=moved)
    if node.name in FLASH:
        query, key = node.inputs[:2]
        products = FLASH[node.name] * query.elements * key.extents[KEYS_AXIS[node.layout]]
        return Work(node.name, "attention", products=products, bytes=moved)
    if node.name.startswith(("AllReduce", "AllGather", "Broadcast", "ReduceScatter")) and node.name != "BroadcastTo":
        return Work(node.name, "exchange", bytes=moved, link=sum(shape.bytes for shape in node.inputs))
    elements = max((shape.elements for shape in (*node.inputs, *node.outputs)), default=0)
    return Work(node.name, "elementwise", vector=float(elements * _cost(node.name)), bytes=moved)


def _products(node: Node) -> float:
    """Two operations for each entry of the result and each of what is summed, whichever operand is transposed."""
    first, out = node.inputs[0].extents, node.outputs[0].extents
    rows = out[-2] if len(out) > 1 else 1
    summed = math.prod(first[-2:]) // rows
    return 2.0 * math.prod(out) * summed


def _cost(name: str) -> int:
    """Of a fused node, `GraphKernel_Cast_BiasAdd_fusion`, the sum of its parts."""
    if not name.startswith("GraphKernel_"):
        return COSTS.get(name, 1)
    parts = [part for part in name.split("_")[1:] if part not in ("fusion", "split", "parallel")]
    return sum(COSTS.get(part, 1) for part in parts)


def read_step(folder: str | Path) -> tuple[list[Node], list[Node]]:
    """Nodes of all compiled graphs in a folder: forward and gradients, and the update.

    MindSpore makes a graph of each branch of an `if`: those without a product are the update's.

    Raises:
        UserError: there is no graph, or one that cannot be counted.
    """
    paths = sorted(Path(folder).glob("**/graph_build_*.ir"))
    if not paths:
        raise UserError(f"{folder}: no graph_build_*.ir; MindSpore writes them with MS_DEV_SAVE_GRAPHS=2.")
    parts: tuple[list[Node], list[Node]] = ([], [])
    for nodes in map(read_ir, paths):
        parts[0 if any(node.name in PRODUCTS for node in nodes) else 1].extend(nodes)
    return parts
