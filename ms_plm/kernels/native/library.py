"""The native library as graph operations, and what else it offers."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from mindspore import Tensor, ops

from ms_plm.common.errors import UserError
from ms_plm.common.processor import cores
from ms_plm.kernels.native import build
from ms_plm.kernels.registry import Call, for_static_training

log = logging.getLogger(__name__)

PRECISION = {"fp32": 0, "bf16": 1}
"""Compute types by the number that the C++ side reads."""


@functools.cache
def _opened() -> tuple[ctypes.CDLL, str]:
    """The library, ready for use, and its path.

    Raises:
        UserError: it cannot be had.
    """
    path, products = build.ensure(), build.onednn()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise UserError(f"the library cannot be loaded: {error}") from error
    library.ms_plm_open.restype = ctypes.c_char_p
    library.ms_plm_gemm_calls.restype = ctypes.c_int64
    problem = library.ms_plm_open(str(products).encode())
    if problem is not None:
        raise UserError(f"{products} cannot be used: {problem.decode(errors='replace')}")
    library.ms_plm_set_threads(default_threads())
    return library, str(path)


def default_threads() -> int:
    """OMP_NUM_THREADS as the user set it, else the cores of this process.

    Never to be read by getenv of C: importing MindSpore sets it to 1 there, where Python does not see it.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else cores()


@functools.cache
def unavailable() -> str | None:
    """None where the native operations can be used, else the reason; builds and opens them. Logged once."""
    reason = build.unavailable()
    if reason is None:
        try:
            _opened()
        except UserError as error:
            reason = str(error)
            log.warning("native CPU operations are not used: %s", reason)
    return reason


def for_native(call: Call) -> str | None:
    """`supports` of native forms."""
    if call.compute not in PRECISION:
        return f"computes in {' and '.join(PRECISION)}, not in {call.compute}"
    if reason := for_static_training(call):
        return reason
    if reason := unavailable():
        return f"needs a library that cannot be had: {reason}"
    if call.compute == "bf16":
        _tell_emulation()
    return None


@functools.cache
def _tell_emulation() -> None:
    if not has_bf16():
        log.warning(
            "this processor has no bf16 instructions: products in bf16 are emulated by rounding, slower than fp32"
        )


def has_bf16() -> bool:
    """Whether products in bf16 use the processor's own instructions; otherwise they are emulated."""
    return bool(_opened()[0].ms_plm_has_bf16())


def gemm_calls(compute: str) -> int:
    """Matrix products so far in this process, fp32 (emulated bf16 included) or bf16."""
    return int(_opened()[0].ms_plm_gemm_calls(PRECISION[compute]))


def set_threads(number: int) -> None:
    """Threads of later calls in this process; 0: the default. Results do not depend on it."""
    _opened()[0].ms_plm_set_threads(int(number) or default_threads())


def threads() -> int:
    """Threads of later calls in this process."""
    return int(_opened()[0].ms_plm_threads())


def operation(
    symbol: str, shape: Callable | None, dtype: Any, bprop: Callable | None = None, in_place: bool = False
) -> ops.Custom:
    """A graph operation from a symbol.

    MindSpore keeps one gradient per symbol: whatever varies between two places of one model must be an input.

    Args:
        symbol: name of the C++ function.
        shape: from the shapes of the inputs to that of the output, or a tuple of lists.
        dtype: of the output, or a function of the inputs' dtypes.
        bprop: its gradient.
        in_place: it writes to its inputs.
    """
    made = ops.Custom(f"{_opened()[1]}:{symbol}", out_shape=shape, out_dtype=dtype, func_type="aot", bprop=bprop)
    if in_place:
        made.add_prim_attr("side_effect_mem", True)  # without it an operation whose result is unused is dropped
    return made


def options(*values: int) -> Tensor:
    """Whole numbers that configure an operation: int32 `[n]`."""
    with np.errstate(over="ignore"):
        return Tensor(np.array([np.int64(value).astype(np.int32) for value in values], np.int32))
