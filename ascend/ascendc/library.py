"""The twin's library: built at first use with the system's C++ compiler, called on NumPy arrays or by MindSpore."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.common.files import default_cache_folder, replacing_file
from ms_plm.kernels.native.build import compiler, locked, together
from ms_plm_ascend.ascendc.operators import COMMON, FOLDER, OPERATORS, Operator

log = logging.getLogger(__name__)

TWIN = FOLDER / "twin"
UB_BYTES = 192 * 1024
"""Unified buffer of a vector core of Atlas A2 and A3."""
CORES = 40
"""Vector cores of an Ascend 910B3."""
# -O1: half the time to compile of -O2; -ffp-contract=off: the same results on every processor
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-ffp-contract=off")


class Fault(Exception):
    """A kernel did on the twin what a device would punish; the message says what and where."""


def sources() -> list[Path]:
    """All files that the library is made of, in a fixed order; not those that need CANN's headers."""
    files = [*TWIN.rglob("*.h"), *TWIN.rglob("*.cpp"), *COMMON.glob("*.h")]
    for operator in OPERATORS:
        files += [*operator.host.glob("*.h"), *operator.kernel.iterdir()]
    return sorted(path for path in files if path.suffix in (".h", ".cpp"))


def includes() -> list[str]:
    """Compiler flags for where headers and kernels lie."""
    folders = [TWIN, COMMON, *(folder for item in OPERATORS for folder in (item.kernel, item.host))]
    return [f"-I{folder}" for folder in folders]


def compile_library(units: Sequence[Path], to: Path, more: Sequence[str] = ()) -> None:
    """Build a library from C++ files, side by side; `more` are further flags for the compiler.

    Raises:
        UserError: there is no compiler, or it failed; with its first error.
    """
    program = compiler()
    with tempfile.TemporaryDirectory() as folder:
        objects = [Path(folder) / f"{unit.stem}.o" for unit in units]
        flags = [*FLAGS, *includes(), *more]
        together([[program, *flags, "-c", str(unit), "-o", str(out)] for unit, out in zip(units, objects, strict=True)])
        with replacing_file(to) as temporary:
            together([[program, "-shared", *map(str, objects), "-o", str(temporary)]])


def ensure() -> Path:
    """The library, built now if it is not in the cache; its name holds a digest of sources and flags.

    Raises:
        UserError: it cannot be had.
    """
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for path in sources():
        digest.update(str(path.relative_to(FOLDER)).encode() + b"\0" + path.read_bytes() + b"\0")
    path = default_cache_folder() / "ascendc" / f"libms_plm_twin_{digest.hexdigest()[:16]}.so"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if not path.is_file():  # another process may have built it meanwhile
                log.info("building the twin of Ascend C (once)")
                compile_library(sorted(TWIN.glob("bindings/*.cpp")), path)
    except OSError as error:
        raise UserError(f"the twin of Ascend C cannot be written to {path.parent}: {error}") from error
    return path


class Library:
    """Kernels on the twin, called on NumPy arrays.

    Args:
        path: of the library.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle = ctypes.CDLL(str(path))
        self.handle.plm_twin_fault.restype = ctypes.c_char_p
        self.handle.plm_twin_peak.restype = ctypes.c_int64
        self.handle.plm_twin_set_cores.argtypes = [ctypes.c_int64]

    def run(self, symbol: str, *arrays: np.ndarray, cores: int = CORES) -> int:
        """Call a kernel on contiguous arrays, inputs then outputs, which it fills; the bytes of UB that it took.

        Raises:
            Fault: it did what a device would punish.
        """
        assert all(array.flags.c_contiguous for array in arrays)
        count = len(arrays)
        data = (ctypes.c_void_p * count)(*(array.ctypes.data for array in arrays))
        dimensions = (ctypes.c_int * count)(*(array.ndim for array in arrays))
        shapes = [(ctypes.c_int64 * max(1, array.ndim))(*array.shape) for array in arrays]
        pointer = ctypes.POINTER(ctypes.c_int64)
        pointers = (pointer * count)(*(ctypes.cast(shape, pointer) for shape in shapes))
        types = (ctypes.c_char_p * count)(*(array.dtype.name.encode() for array in arrays))
        self.handle.plm_twin_set_cores(cores)
        try:
            status = getattr(self.handle, symbol)(count, data, dimensions, pointers, types, None, None)
        finally:
            self.handle.plm_twin_set_cores(CORES)
        if status != 0:
            raise Fault(f"{symbol}: {self.handle.plm_twin_fault().decode(errors='replace')}")
        return int(self.handle.plm_twin_peak())

    def __call__(self, operator: Operator, *arrays: np.ndarray, cores: int = CORES) -> int:
        """`run` of an operator."""
        return self.run(operator.type, *arrays, cores=cores)

    def plan(self, symbol: str, *numbers: int, fields: Sequence[str]) -> dict[str, int] | None:
        """A tiling by itself: its fields by name, or None where the operator declines."""
        out = (ctypes.c_uint32 * len(fields))()
        if not getattr(self.handle, symbol)(*(ctypes.c_uint32(number) for number in numbers), out):
            return None
        return dict(zip(fields, map(int, out), strict=True))

    def share(self, total: int, parts: int, index: int) -> range:
        """Which of 0 .. total-1 a core gets."""
        out = (ctypes.c_uint32 * 2)()
        self.handle.plm_share(total, parts, index, out)
        return range(out[0], out[1])


@functools.cache
def library() -> Library:
    """The library of this installation.

    Raises:
        UserError: it cannot be had.
    """
    return Library(ensure())
