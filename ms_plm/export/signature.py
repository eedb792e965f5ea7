"""What a MindIR file says of itself: inputs, outputs, parameters. The graph is not compiled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ms_plm.common.errors import DamagedFileError, UserError

DYNAMIC = "dynamic"
_TYPES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class TensorFacts:
    """One input or output: `shape` holds numbers and, for sizes that are free, "dynamic"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """Inputs, outputs, and the number and size of parameters of a MindIR file."""

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    parameters: int
    parameter_bytes: int
    version: str


def read_signature(path: Path) -> Signature:
    """Read a MindIR file.

    Raises:
        UserError: there is none.
        DamagedFileError: it is cut, damaged, encrypted or something else.
    """
    from google.protobuf.message import DecodeError
    from mindspore.train.mind_ir_pb2 import ModelProto

    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise DamagedFileError(
            f"{path}: not a MindIR file that can be read ({error}): it is cut, damaged or encrypted. Export it again."
        ) from error
    graph = model.graph
    if not graph.output:
        raise DamagedFileError(f"{path}: not a whole MindIR file: it has no outputs. Export it again.")
    sizes = [len(item.raw_data) or item.external_data.length for item in graph.parameter]
    return Signature(
        tuple(facts for value in graph.input for facts in _facts(value)),
        tuple(facts for value in graph.output for facts in _facts(value)),
        len(graph.parameter),
        sum(sizes),
        model.model_version,
    )


def _facts(value) -> list[TensorFacts]:
    """A value's tensors: one, or those of a tuple, numbered."""
    name = value.name.rsplit(":", 1)[-1] if "construct" in value.name else value.name
    if value.tensor:
        return [_tensor_facts(name, value.tensor[0])]
    members = [member.tensors[0] for member in value.attr_info.values if member.tensors]
    return [_tensor_facts(f"{name}.{number}", tensor) for number, tensor in enumerate(members)]


def _tensor_facts(name: str, tensor) -> TensorFacts:
    from mindspore.train.mind_ir_pb2 import TensorProto

    kind = TensorProto.DataType.Name(tensor.data_type).lower()
    shape = tuple(int(size) if size >= 0 else DYNAMIC for size in tensor.dims)
    return TensorFacts(name, _TYPES.get(kind, kind), shape)
