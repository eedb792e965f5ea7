"""Calling the C++ operations on NumPy arrays, as MindSpore would, without MindSpore."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ms_plm.kernels.native import build

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int)


@functools.cache
def opened(path: Path | None = None) -> ctypes.CDLL:
    """The native library for this processor, or another build of it, with oneDNN's matrix products."""
    library = ctypes.CDLL(str(path or build.ensure()))
    library.ms_plm_open.restype = ctypes.c_char_p
    library.ms_plm_gemm_calls.restype = ctypes.c_int64
    assert library.ms_plm_open(str(build.onednn()).encode()) is None
    return library


def run(symbol: str, *inputs: np.ndarray, outputs: list[tuple[int, ...]], path: Path | None = None) -> list[np.ndarray]:
    """Call a symbol; outputs are fp32 arrays of the given shapes that hold NaN before.

    Raises:
        RuntimeError: it reports a failure.
    """
    results = [np.full(shape, np.nan, np.float32) for shape in outputs]
    arrays = [np.ascontiguousarray(array) for array in inputs]
    everything = [*arrays, *results]
    count = len(everything)
    data = (ctypes.c_void_p * count)(*(array.ctypes.data for array in everything))
    dimensions = (ctypes.c_int * count)(*(array.ndim for array in everything))
    shapes = [(ctypes.c_int64 * max(1, array.ndim))(*array.shape) for array in everything]
    pointers = (ctypes.POINTER(ctypes.c_int64) * count)(
        *(ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)) for shape in shapes)
    )
    if getattr(opened(path), symbol)(count, data, dimensions, pointers, None, None, None) != 0:
        raise RuntimeError(f"{symbol} reports a failure")
    return results


def integers(*values: int) -> np.ndarray:
    """int32 `[n]`, wrapped around."""
    return np.array([value & 0xFFFFFFFF for value in values], np.uint32).view(np.int32)
