"""Calling the C++ operations on NumPy arrays, as MindSpore would, without MindSpore."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import traceback
from collections.abc import Iterator

import numpy as np

from ms_plm.common.errors import UserError

LIBRARY = "MS_PLM_TEST_LIBRARY"
"""Environment variable: another build of the library to test, such as one with sanitizers."""
GEMM = "MS_PLM_TEST_GEMM"
"""Environment variable: `numpy` takes matrix products from NumPy; with another build nothing of MindSpore is needed."""


@functools.cache
def missing() -> str | None:
    """Why the native operations cannot be tested here, or None."""
    try:
        _opened()
    except UserError as error:
        return str(error)
    return None


@functools.cache
def _opened() -> ctypes.CDLL:
    path, from_numpy = os.environ.get(LIBRARY), os.environ.get(GEMM) == "numpy"
    if not (path and from_numpy):
        from ms_plm.kernels.native import build  # which imports MindSpore
    library = ctypes.CDLL(path or str(build.ensure()))
    library.ms_plm_open.restype = ctypes.c_char_p
    library.ms_plm_gemm_calls.restype = ctypes.c_int64
    if from_numpy:
        library.ms_plm_use_gemm(_numpy_gemm, None)
    else:
        assert library.ms_plm_open(str(build.onednn()).encode()) is None
    return library


_AT, _INDEX, _FLOAT, _CHARACTER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_char
_SINGLE_GEMM = ctypes.CFUNCTYPE(
    ctypes.c_int,
    *(_CHARACTER, _CHARACTER, _INDEX, _INDEX, _INDEX),
    *(_FLOAT, _AT, _INDEX, _AT, _INDEX, _FLOAT, _AT, _INDEX),
)
_poisoned = getattr(ctypes.CDLL(None), "__asan_region_is_poisoned", None)
if _poisoned is not None:
    _poisoned.argtypes, _poisoned.restype = (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_void_p


def _matrix(address: int, rows: int, columns: int, stride: int) -> np.ndarray:
    """The matrix at an address, not copied.

    Raises:
        MemoryError: an address sanitizer is at work and says that it reaches outside its memory.
    """
    count = (rows - 1) * stride + columns
    if min(rows, columns) <= 0:
        return np.empty((max(rows, 0), max(columns, 0)), np.float32)
    if _poisoned is not None and _poisoned(address, 4 * count):
        raise MemoryError(f"{rows} rows of {columns} numbers, {stride} apart, reach outside their memory")
    flat = np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (4 * stride, 4))


@_SINGLE_GEMM
def _numpy_gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) -> int:
    """C = alpha op(A) op(B) + beta C as oneDNN's `dnnl_sgemm`, in float64."""
    try:
        first = _matrix(a, k, m, lda).T if transpose_a == b"T" else _matrix(a, m, k, lda)
        second = _matrix(b, n, k, ldb).T if transpose_b == b"T" else _matrix(b, k, n, ldb)
        result = _matrix(c, m, n, ldc)
        with np.errstate(invalid="ignore"):
            product = alpha * (first.astype(np.float64) @ second)
            result[:] = product if beta == 0 else product + beta * result
    except MemoryError:
        traceback.print_exc()
        return 1
    return 0


def run(symbol: str, *inputs: np.ndarray, outputs: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Call a symbol; outputs are fp32 arrays of the given shapes that hold NaN before.

    Raises:
        RuntimeError: it reports a failure.
    """
    results = [np.full(shape, np.nan, np.float32) for shape in outputs]
    everything = [*(array if array.flags.c_contiguous else array.copy() for array in inputs), *results]
    count = len(everything)
    data = (ctypes.c_void_p * count)(*(array.ctypes.data for array in everything))
    dimensions = (ctypes.c_int * count)(*(array.ndim for array in everything))
    shapes = [(ctypes.c_int64 * max(1, array.ndim))(*array.shape) for array in everything]
    pointer = ctypes.POINTER(ctypes.c_int64)
    pointers = (pointer * count)(*(ctypes.cast(shape, pointer) for shape in shapes))
    if getattr(_opened(), symbol)(count, data, dimensions, pointers, None, None, None) != 0:
        raise RuntimeError(f"{symbol} reports a failure")
    return results


def integers(*values: int) -> np.ndarray:
    """int32 `[n]`, wrapped around."""
    return np.array([value & 0xFFFFFFFF for value in values], np.uint32).view(np.int32)


def gemm_calls(kind: int) -> int:
    """Matrix products so far: kind 0 in fp32, 1 in bf16."""
    return _opened().ms_plm_gemm_calls(kind)


def has_bf16() -> bool:
    """Whether products in bf16 use instructions of the processor."""
    return bool(_opened().ms_plm_has_bf16())


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Use so many threads."""
    _opened().ms_plm_set_threads(number)
    try:
        yield
    finally:
        _opened().ms_plm_set_threads(0)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal fp32 numbers; a function of seed and shape."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def to_bf16(x: np.ndarray) -> np.ndarray:
    """Nearest bf16, ties to even, as float64."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32).astype(np.float64)


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference as a share of the largest expected entry."""
    assert got.shape == expected.shape
    assert np.isfinite(got).all()
    if not got.size:
        return 0.0
    return float(np.abs(got - expected).max() / (np.abs(expected).max() or 1.0))
