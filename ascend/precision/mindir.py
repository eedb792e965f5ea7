"""Operators of an exported graph with the types of what goes in and comes out.

A MindIR file holds the graph as it is handed to a device, gradients and update included, before the device fuses
anything: what is cast where can be read there, also for a device that is not at hand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ms_plm.common.errors import DamagedFileError

TYPES = {"FLOAT": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "DOUBLE": "float64", "FLOAT64": "float64"}
"""MindIR's name of a floating type -> ours; other types are not looked at."""


class Operator(NamedTuple):
    """One node.

    Attributes:
        name: of the primitive.
        scope: the cells that it stands in. (A primitive that cells share has that of its first user.)
        function: number of the graph that it belongs to: branches of an `if` are graphs of their own.
        inputs: places of the operators that it reads, in the same list, and None for inputs, parameters, constants.
        takes: floating types of its inputs.
        gives: of its outputs.
    """

    name: str
    scope: str
    function: int
    inputs: tuple[int | None, ...]
    takes: tuple[str, ...]
    gives: tuple[str, ...]


def export_operators(graphs: Iterable[tuple[Any, Sequence[Any]]]) -> list[Operator]:
    """The nodes of cells that are exported with these inputs, one cell after the other.

    (MindSpore exports for any device on a CPU. It takes no None, so keys of dropout that nobody reads are put in.)
    """
    import mindspore as ms
    import numpy as np

    found: list[Operator] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (cell, inputs) in enumerate(graphs):
            given = [ms.Tensor(np.zeros((1, 2), np.int32)) if value is None else value for value in inputs]
            ms.export(cell, *given, file_name=f"{folder}/{number}", file_format="MINDIR")
            read, before = read_operators(Path(folder) / f"{number}.mindir"), len(found)
            function = max((operator.function for operator in found), default=-1) + 1
            for operator in read:
                inputs = tuple(None if place is None else place + before for place in operator.inputs)
                found.append(operator._replace(function=operator.function + function, inputs=inputs))
    return found


def read_operators(path: Path) -> list[Operator]:
    """All nodes of a MindIR file, each graph's in the order of computation.

    Raises:
        DamagedFileError: it is no such file.
    """
    from google.protobuf.message import DecodeError
    from mindspore.train.mind_ir_pb2 import ModelProto

    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise DamagedFileError(f"{path}: not a MindIR file ({error}). Export it again.") from error
    graphs = [model.graph, *model.functions]
    types: dict[str, tuple[str, ...]] = {}
    places: dict[str, int] = {}
    for graph in graphs:
        for value in (*graph.parameter, *graph.input):
            types[value.name] = _types([value] if hasattr(value, "data_type") else value.tensor)
        for node in graph.node:
            places[node.name] = len(places)
            types[node.name] = tuple(_of_node(node))
    found = []
    for number, graph in enumerate(graphs):
        for node in graph.node:
            takes = tuple(kind for name in node.input for kind in types.get(name, ()))
            inputs = tuple(places.get(name) for name in node.input)
            found.append(Operator(_primitive(node.op_type), node.domain, number, inputs, takes, types[node.name]))
    return found


def _primitive(kind: str) -> str:
    """`REF::MatMul:25` -> `MatMul`; a call of another graph keeps what it is called."""
    return kind.removeprefix("REF::").split(":")[0]


def _of_node(node) -> Iterator[str]:
    for attribute in node.attribute:
        if attribute.name in ("shape", "value"):
            yield from _types(attribute.tensors)
            for member in attribute.values:
                yield from _types(member.tensors)


def _types(tensors) -> tuple[str, ...]:
    from mindspore.train.mind_ir_pb2 import TensorProto

    names = (TensorProto.DataType.Name(tensor.data_type) for tensor in tensors)
    return tuple(TYPES[name] for name in names if name in TYPES)
