"""What is computed in which precision: decided here once, as data, not by automatic mixed precision.

(MindSpore's `amp` level O1 breaks on BERT and O2 renames parameters.) Types are names, so this needs no MindSpore.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ms_plm.common.errors import UserError

Precision = Literal["fp32", "fp16", "bf16"]
_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True)
class PrecisionPolicy:
    """Types by part of the computation. Only `compute` varies: everything that sums or normalises stays float32."""

    precision: Precision
    compute: str
    """Matrix products, embeddings' output, activations between operations."""
    loss_scaling: bool
    """Whether gradients underflow without a loss scale: float16 only (bfloat16 has float32's exponents)."""
    parameters: str = "float32"
    layer_norm: str = "float32"
    softmax: str = "float32"
    loss: str = "float32"
    reductions: str = "float32"
    """Norms, sums of gradients over micro-batches and devices."""
    optimizer: str = "float32"

    @property
    def bits(self) -> int:
        """Width of the compute type."""
        return 32 if self.precision == "fp32" else 16


def policy_for(precision: Precision, device: str, chip: str | None = None) -> PrecisionPolicy:
    """The policy of `impl.precision` on a device (cpu, gpu or ascend; `chip` as in `hardware.Device`).

    On a CPU bf16 is what the native operations make of it: tensors stay fp32, operands and results of products are
    rounded at the places where other devices cast. That they can be had is found when kernels are chosen.

    Raises:
        UserError: the device has no such type.
    """
    if precision not in _DTYPES:
        raise UserError(f"impl.precision: expected {', '.join(_DTYPES)}, found {precision!r}.")
    if precision == "bf16" and device == "ascend" and chip == "910A":
        raise UserError(
            "impl.precision: bf16 cannot run on an Ascend 910A, which has no bfloat16. Set impl.precision=fp16; its "
            "loss scale is handled for you."
        )
    return PrecisionPolicy(precision, _DTYPES[precision], loss_scaling=precision == "fp16")
