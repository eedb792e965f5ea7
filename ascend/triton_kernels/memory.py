"""An estimate of the vector memory that a lowered kernel needs: what of its values is live at once.

The Ascend compiler plans the memory and is not here. This counts, at every line, the tensors that were computed or
loaded before and are used later. Not counted: constants and scalars spread over a tensor, which instructions take as
scalars; what only products of matrices read, which lies in the cube unit's memory. Operations are taken to write over
operands that end there. What is planned can be more (two buffers for what is loaded) or less (fused operations).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod

VECTOR_MEMORY = 192 * 1024
"""Bytes of a vector core of Ascend 910B and 910C."""
BITS = {"i1": 1, "i8": 8, "f16": 16, "bf16": 16, "f32": 32, "i32": 32, "i64": 64}
_SHAPED = re.compile(r"(?:tensor|memref)<((?:\d+x)+)(\w+)")
_DEFINED = re.compile(r"\s*(%[\w-]+)(?::\d+)? = ([\w.]+)")
_WORD = re.compile(r"\s*([\w.]*)")
_NAME = re.compile(r"%[\w-]+(?:#\d+)?")
_FREE = {"tensor.empty", "linalg.fill", "arith.constant", "memref.reinterpret_cast", "linalg.index"}
_SAME = {
    "bufferization.to_tensor",
    "memref.subview",
    "tensor.expand_shape",
    "tensor.collapse_shape",
    "tensor.extract_slice",
}
"""Other names of their first operand."""
_PASSING = {"memref.copy", "scf.if", "linalg.fill", "bufferization.to_tensor", "memref.subview"}
_CUBE = {"linalg.matmul", "linalg.transpose"}


@dataclass
class _Value:
    size: int
    operation: str
    first: int
    last: int
    users: set[str] = field(default_factory=set)

    @property
    def on_cube(self) -> bool:
        """Loaded or transposed for products of matrices alone."""
        loaded = self.operation in ("memref.alloc", "linalg.transpose")
        return loaded and bool(self.users & _CUBE) and self.users <= _CUBE | _PASSING


def live_bytes(linalg: str) -> int:
    """The largest sum of bytes over all lines of a lowered kernel."""
    lines = linalg.splitlines()
    values = [value for value in _values(lines) if not value.on_cube]
    changes = [0] * (len(lines) + 1)
    for value in values:
        changes[value.first] += value.size
        changes[value.last] -= value.size
    total = most = 0
    for change in changes:
        total += change
        most = max(most, total)
    return most


def _size(kind: str) -> int:
    found = _SHAPED.match(kind)
    if not found:
        return 0
    return (prod(int(n) for n in found.group(1).split("x")[:-1]) * BITS[found.group(2)] + 7) // 8


def _values(lines: list[str]) -> list[_Value]:
    ends = _loops(lines)
    values: list[_Value] = []
    known: dict[str, _Value] = {}  # the latest of a name: regions side by side use the same ones
    for number, line in enumerate(lines):
        defined = _DEFINED.match(line)
        name, operation = defined.groups() if defined else ("", _WORD.match(line).group(1))
        used = [word for word in _NAME.findall(line) if word != name]
        for value in (known[word] for word in used if word in known):
            outer = [end for start, end in ends.items() if value.first < start < number <= end]
            value.last = max(value.last, number, *outer)
            value.users.add(operation)
        made: dict[str, tuple[int, int]] = {}  # name: size, and the line from which it is there
        if operation == "scf.for" and "iter_args" in line:
            arguments = re.findall(r"(%\w+) =", line.split("iter_args(")[1].split(") ->")[0])
            kinds = re.findall(r"tensor<[^>]*>|\w+", line.split("-> (")[1].split(")")[0])
            for place, (argument, kind) in enumerate(zip(arguments, kinds, strict=True)):
                made[argument] = _size(kind), number
                made[f"{name}#{place}" if len(kinds) > 1 else name] = _size(kind), ends[number]
        elif operation in _SAME and used and used[0] in known:
            known[name] = known[used[0]]
        elif defined and operation not in _FREE:
            kinds = re.findall(r"(?:tensor|memref)<[^>]*>", line)
            size = _size(kinds[-1]) if kinds else 0
            made[name] = (size // 32 if operation == "arith.cmpf" else size), number
        for word, (size, first) in made.items():
            known.pop(word, None)
            if size:
                known[word] = _Value(size, operation, first, first)
                values.append(known[word])
    return values


def _loops(lines: list[str]) -> dict[int, int]:
    """First and last line of every loop."""
    found, open_blocks = {}, []
    for number, line in enumerate(lines):
        if line.strip().startswith("}"):
            start = open_blocks.pop()
            if "scf.for" in lines[start]:
                found[start] = number
        if line.rstrip().endswith("{"):
            open_blocks.append(number)
    return found
