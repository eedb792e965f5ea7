"""All kernels: where they are, the types of their arguments, and what their lowered form must look like."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A kernel.

    Attributes:
        module: file that holds it.
        matmuls: products of matrices in its code; with any, the cube and the vector units work together ("mix").
    """

    module: str
    matmuls: int

    @property
    def mix_mode(self) -> str:
        return "mix" if self.matmuls else "aiv"


KERNELS = {
    "attention_forward": Entry("attention", 10),  # turning queries 1, beyond the band 2 + 2, in it 4, turning back 1
    "attention_rows": Entry("attention_grad", 2),  # turning queries and gradients
    "attention_dquery": Entry("attention_grad", 13),  # beyond the band 3 + 3, in it 6, turning back 1
    "attention_dkey_dvalue": Entry("attention_grad", 14),  # beyond the band 4 + 4, in it 6
    "norm_forward": Entry("normalization", 0),
    "norm_backward": Entry("normalization", 0),
}

COMPUTE = frozenset(
    (
        *("query", "key", "value", "out", "dquery", "dkey", "dvalue", "dout"),
        *("query_turned", "dout_turned", "phi", "swap", "x", "dx"),
    )
)
"""Tensors of the compute dtype. `keys` is int32, all others are fp32."""
INTEGERS = frozenset(["batch", "length", "heads", "size", "base"])
REALS = frozenset(["scale", "threshold", "amplify", "epsilon"])


def kernel_of(name: str) -> Any:
    """The kernel; imports Triton, which must not happen before the interpreter is chosen."""
    return getattr(import_module(f"ms_plm_ascend.triton_kernels.{KERNELS[name].module}"), name)


def signature(arguments: list[str], compute: str) -> dict[str, str]:
    """Triton's type of every argument that is not a compile-time constant; compute: fp32, fp16 or bf16."""
    return {name: _type(name, compute) for name in arguments if not name.isupper()}


def _type(name: str, compute: str) -> str:
    if name in INTEGERS:
        return "i32"
    if name in REALS:
        return "fp32"
    if name == "keys":
        return "*i32"
    return f"*{compute}" if name in COMPUTE else "*fp32"
