"""Lowering a kernel for Ascend without a device: Triton's own IR, then Linalg by triton-ascend's `triton-adapter-opt`.

The result is what `bishengir-compile` of CANN gets; that compiler is not public and not run here.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from ms_plm.common.errors import UserError

SOC = "Ascend910B3"
VERSION = "3.2.0"
"""Of triton-ascend: what this was written for; its compiler has no stable interface."""
INSTALL = f"pip install 'numpy<2' pybind11 && pip install --no-deps triton-ascend=={VERSION} (Python 3.9 to 3.11)"


@dataclass(frozen=True)
class Lowered:
    """A kernel's texts.

    Attributes:
        name: of the kernel.
        arguments: names of its arguments, in order.
        ttir: Triton's IR.
        linalg: what the Ascend compiler gets.
    """

    name: str
    arguments: tuple[str, ...]
    ttir: str
    linalg: str


def lower(kernel: Any, signature: dict[str, str], constants: dict[str, Any], soc: str = SOC) -> Lowered:
    """Lower a kernel.

    Args:
        kernel: a function under `triton.jit`, not interpreted.
        signature: types of its arguments, see `catalogue.signature`.
        constants: its compile-time constants.
        soc: the chip.

    Raises:
        UserError: triton-ascend is missing or another version, or it refuses the kernel.
    """
    compiler = require()
    from triton._C.libtriton import ir
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import ASTSource, make_backend

    backend = make_backend(GPUTarget("npu", soc, 0))
    options = backend.parse_options({})
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    source = ASTSource(fn=kernel, signature=signature, constants=constants)
    module = source.make_ir(options, backend.get_codegen_implementation(), backend.get_module_map(), context)
    settings = {"hash": source.hash(), "target": backend.target, **options.__dict__}
    module = compiler.make_ttir(module, settings, options)
    name = kernel.__name__
    try:
        linalg = compiler.ttir_to_linalg(module, settings, options, named_ops=True)
    except subprocess.CalledProcessError as error:
        raise UserError(f"triton-adapter-opt refuses {name} for {soc}: {error.stderr.decode()[-2000:]}") from error
    return Lowered(name, tuple(signature), str(module), linalg)


def require() -> Any:
    """triton-ascend's compiler, if it is the version that this was written for.

    Raises:
        UserError: it is not there, or another.
    """
    remedy = f"In an environment of its own: {INSTALL}"
    try:
        found = metadata.version("triton-ascend")
    except metadata.PackageNotFoundError as error:
        raise UserError(f"lowering needs triton-ascend {VERSION}, which is not installed. {remedy}") from error
    if found != VERSION:
        raise UserError(f"lowering needs triton-ascend {VERSION}, found {found}. {remedy}")
    try:
        from triton.backends.ascend import compiler
    except ImportError as error:
        raise UserError(f"triton-ascend {VERSION} cannot be imported ({error}). {remedy}") from error
    return compiler
