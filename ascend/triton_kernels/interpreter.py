"""The kernels in Triton's interpreter, on NumPy arrays: no device, no compiler, and no PyTorch.

Kernels are interpreted in a process where TRITON_INTERPRET=1 was set before they were imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ms_plm_ascend.triton_kernels.catalogue import kernel_of


class _Name:
    """A dtype under the name that Triton looks for: what follows the last dot."""

    def __init__(self, dtype: np.dtype) -> None:
        self.name = f"numpy.{dtype}"

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Name) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class _Array:
    """What the interpreter asks of a tensor: it copies it to the host and back, which are the same here."""

    device = "cpu"

    def __init__(self, array: np.ndarray) -> None:
        if not array.flags.c_contiguous:
            raise ValueError("a kernel's arrays are contiguous")
        self.array, self.dtype, self.data = array, _Name(array.dtype), self

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def cpu(self) -> _Array:
        return self

    def to(self, *_: Any) -> _Array:
        return self

    def copy_(self, other: _Array) -> _Array:
        return self


class Interpreter:
    """A runner for NumPy arrays; `count` programs at most, one after the other."""

    def __init__(self, count: int = 2) -> None:
        self.count = count

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.full(shape, np.nan, dtype)  # what a kernel forgets to write is seen

    def programs(self, tasks: int, multiplies: bool) -> int:
        return min(tasks, self.count)

    def run(self, kernel: str, programs: int, arguments: dict[str, Any], constants: dict[str, Any]) -> None:
        wrapped = {name: _Array(value) if isinstance(value, np.ndarray) else value for name, value in arguments.items()}
        kernel_of(kernel)[(programs,)](**wrapped, **constants)
