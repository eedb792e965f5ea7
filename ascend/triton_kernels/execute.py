"""Running a kernel's lowered text on the CPU, by upstream MLIR: the arithmetic that Ascend's compiler is asked for.

`mlir-opt`, `mlir-translate` and `llc` of LLVM 22 make a shared library of it; each program is a call. What it does not
show: how the Ascend compiler divides the work over units and memories.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm_ascend.triton_kernels.catalogue import kernel_of, signature
from ms_plm_ascend.triton_kernels.lower import Lowered, lower

FOLDER = "MS_PLM_LLVM"
"""Environment variable: where LLVM 22 is, if not where Debian puts it."""
DEFAULT = "/usr/lib/llvm-22"
PASSES = (
    "--allow-unregistered-dialect",  # attributes for the Ascend compiler
    "--canonicalize",
    "--convert-elementwise-to-linalg",
    "--one-shot-bufferize=bufferize-function-boundaries=false allow-return-allocs-from-loops",
    "--buffer-deallocation-pipeline",
    "--convert-linalg-to-loops",
    "--expand-strided-metadata",
    "--memref-expand",
    "--lower-affine",
    "--convert-scf-to-cf",
    "--convert-math-to-libm",
    "--arith-expand",
    "--convert-arith-to-llvm",
    "--finalize-memref-to-llvm",
    "--convert-cf-to-llvm",
    "--convert-func-to-llvm",
    "--convert-index-to-llvm",
    "--reconcile-unrealized-casts",
)
_TO_TENSOR = re.compile(r"(bufferization\.to_tensor .* : )memref<([^>]*)>$", re.MULTILINE)


@dataclass(frozen=True)
class Tools:
    """Programs and a library that turn lowered text into a shared library."""

    mlir_opt: Path
    mlir_translate: Path
    llc: Path
    runtime: Path
    linker: str

    @classmethod
    def found(cls) -> Tools:
        """Those of this machine.

        Raises:
            UserError: one is missing.
        """
        root = Path(os.environ.get(FOLDER, DEFAULT))
        paths = [root / "bin" / name for name in ("mlir-opt", "mlir-translate", "llc")]
        paths.append(root / "lib" / "libmlir_c_runner_utils.so.22.1")
        if missing := [str(path) for path in paths if not path.exists()]:
            raise UserError(
                f"running lowered kernels needs LLVM 22: {', '.join(missing)} not found. Install it (Debian: apt-get "
                f"install mlir-22-tools llvm-22) or name its folder in {FOLDER}."
            )
        linker = shutil.which("cc")
        if not linker:
            raise UserError("running lowered kernels needs a C compiler to link them: no cc in PATH (Debian: gcc).")
        return cls(*paths, linker)

    def build(self, linalg: str, target: Path) -> None:
        """Write the shared library `target`, and what comes in between beside it.

        Raises:
            UserError: a program refuses its input.
        """
        text, machine = target.with_suffix(".mlir"), target.with_suffix(".o")
        text.write_text(_TO_TENSOR.sub(r"\1memref<\2> to tensor<\2>", linalg), encoding="utf-8")
        low, bitcode = target.with_suffix(".llvm.mlir"), target.with_suffix(".ll")
        for command in (
            [self.mlir_opt, text, *PASSES, "-o", low],
            [self.mlir_translate, "--mlir-to-llvmir", low, "-o", bitcode],
            [self.llc, "-O2", "-mcpu=native", "-filetype=obj", "-relocation-model=pic", bitcode, "-o", machine],
            [self.linker, "-shared", machine, "-o", target, self.runtime, f"-Wl,-rpath,{self.runtime.parent}", "-lm"],
        ):
            ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
            if ran.returncode:
                raise UserError(f"{Path(command[0]).name} fails on {text}: {ran.stderr[-2000:]}")


def _described(array: np.ndarray) -> list[Any]:
    """A memref of one dimension, as LLVM passes it: the allocation, where data begins, offset, size, stride."""
    numbers = (ctypes.c_int64(number) for number in (0, array.size, 1))
    return [ctypes.c_void_p(array.ctypes.data), ctypes.c_void_p(array.ctypes.data), *numbers]


class LoweredRunner:
    """A runner for NumPy arrays; lowers and builds each kernel once for each set of constants.

    Attributes:
        lowered: all that was lowered, in order.

    Args:
        folder: for what is built.
        compute: fp16 or fp32.
        count: programs at most.
    """

    def __init__(self, folder: Path, compute: str, count: int = 3) -> None:
        self.folder, self.compute, self.count, self.tools = folder, compute, count, Tools.found()
        self.lowered: list[Lowered] = []
        self._built: dict[tuple, tuple[Lowered, Any]] = {}

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.full(shape, np.nan, dtype)  # what a kernel forgets to write is seen

    def programs(self, tasks: int, multiplies: bool) -> int:
        return min(tasks, self.count)

    def run(self, kernel: str, programs: int, arguments: dict[str, Any], constants: dict[str, Any]) -> None:
        lowered, function = self._function(kernel, constants)
        unused = np.zeros(8, np.uint8)  # two buffers that the device's launcher adds
        given: list[Any] = [*_described(unused), *_described(unused)]
        for name in lowered.arguments:
            value = arguments[name]
            if isinstance(value, np.ndarray):
                given += _described(value)
            else:
                given.append(ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int32(value))
        for program in range(programs):
            function(*given, *(ctypes.c_int32(number) for number in (programs, 1, 1, program, 0, 0)))

    def _function(self, kernel: str, constants: dict[str, Any]) -> tuple[Lowered, Any]:
        key = (kernel, *constants.items())
        if key not in self._built:
            source = kernel_of(kernel)
            lowered = lower(source, signature(source.arg_names, self.compute), constants)
            target = self.folder / f"{kernel}_{len(self._built)}.so"
            self.tools.build(lowered.linalg, target)
            function = getattr(ctypes.CDLL(str(target)), kernel)
            function.restype = None
            self.lowered.append(lowered)
            self._built[key] = lowered, function
        return self._built[key]
