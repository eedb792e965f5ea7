"""What is computed in which precision: decided here once, as data, not by automatic mixed precision.

(MindSpore's `amp` level O1 breaks on BERT and O2 renames parameters.) Types are names, so this needs no MindSpore.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ms_plm.common.errors import UserError
from ms_plm.config.chips import CHIPS, Overflow

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""Precision of a recipe -> name of its compute type."""
MASKED = -1e4
"""Added to the scores of masked keys, as in the originals: far below any score, and finite in float16."""

KEPT = ("parameters", "layer_norm", "softmax", "loss", "reductions", "optimizer")
"""Parts whose type does not follow the precision."""


@dataclass(frozen=True)
class PrecisionPolicy:
    """Types by part of the computation. Only `compute` varies: everything that sums or normalises stays float32."""

    precision: Precision
    compute: str
    """Matrix products, embeddings' output, activations between operations."""
    loss_scaling: bool
    """Whether gradients underflow without a loss scale: float16 only (bfloat16 has float32's exponents)."""
    overflow: Overflow = "inf_nan"
    """How a result that is too large shows; see `ms_plm.config.chips.Chip`."""
    parameters: str = "float32"
    layer_norm: str = "float32"
    softmax: str = "float32"
    loss: str = "float32"
    reductions: str = "float32"
    """Norms, sums of gradients over micro-batches and devices."""
    optimizer: str = "float32"

    @property
    def summary(self) -> str:
        """In one line, for people."""
        kept = {name: getattr(self, name) for name in KEPT}
        types = ", ".join(sorted(set(kept.values())))
        scale = "dynamic loss scale" if self.loss_scaling else "no loss scale"
        return f"products in {self.compute}; {', '.join(kept)} in {types}; {scale}; masked scores {MASKED:+.0f}"

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
    if precision not in DTYPES:
        raise UserError(f"impl.precision: expected {', '.join(DTYPES)}, found {precision!r}.")
    known = CHIPS[chip] if device == "ascend" and chip else None
    if known and precision != "fp32" and precision not in known.types:
        raise UserError(
            f"impl.precision: {precision} cannot run on an Ascend {chip}, which has no {DTYPES[precision]}. Set "
            "impl.precision=fp16; its loss scale is handled for you."
        )
    overflow = known.overflow if known else "inf_nan"
    return PrecisionPolicy(precision, DTYPES[precision], loss_scaling=precision == "fp16", overflow=overflow)
