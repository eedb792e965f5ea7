"""Ascend chips: what each computes in, how it shows an overflow, its peak and its memory. Data only, no MindSpore."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ms_plm.common.errors import UserError

Overflow = Literal["inf_nan", "saturates"]


@dataclass(frozen=True)
class Chip:
    """One kind of Ascend chip.

    Attributes:
        types: 16-bit types of its matrix unit, `fp16` and `bf16`.
        overflow: `inf_nan`: a result that is too large becomes infinite, as in IEEE arithmetic; `saturates`: it becomes
            the largest number, and only the chip's status register tells.
        trains: it is for training; the others are for inference.
        tflops: 16-bit peak of one device (of a 910C: one die), TFLOP/s: cube units x 8192 x clock, the lower of the
            figures in use.
        memory: of one device, GB.
        bandwidth: of that memory, TB/s.
    """

    name: str
    types: tuple[str, ...]
    overflow: Overflow
    trains: bool
    tflops: int
    memory: int
    bandwidth: float


_BOTH = ("fp16", "bf16")
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("910A", ("fp16",), "saturates", True, 262, 32, 1.2),
        Chip("910B1", _BOTH, "inf_nan", True, 364, 64, 1.6),
        Chip("910B2", _BOTH, "inf_nan", True, 354, 64, 1.6),
        Chip("910B3", _BOTH, "inf_nan", True, 295, 64, 1.6),
        Chip("910B4", _BOTH, "inf_nan", True, 246, 32, 0.8),
        Chip("910C", _BOTH, "inf_nan", True, 354, 64, 1.6),
        Chip("310P", ("fp16",), "saturates", False, 70, 24, 0.2),
    )
}
"""By common name. Figures of the vendor's device descriptions; none was measured by us."""


def chip_of(soc: str) -> str | None:
    """The chip's common name from what the driver calls it: `Ascend910B3`, `Ascend910_9392`, `Ascend910ProA`."""
    if match := re.fullmatch(r"Ascend910(B[1-4])(-1)?", soc):
        return f"910{match.group(1)}"
    if re.match(r"Ascend910_93", soc):
        return "910C"
    if re.match(r"Ascend910(A|B|ProA|ProB|PremiumA)?$", soc):  # `Ascend910B` without a digit is of the first series
        return "910A"
    return "310P" if soc.startswith("Ascend310P") else None


def chip_named(name: str) -> Chip:
    """A chip by what the driver (`Ascend910B3`) or people (`910B3`) call it.

    Raises:
        UserError: there is none of that name.
    """
    known = name if name in CHIPS else chip_of(name)
    if known is None:
        names = ", ".join(CHIPS)
        raise UserError(
            f"no Ascend chip is called {name!r}; known are {names}, also as npu-smi writes them: Ascend910B3."
        )
    return CHIPS[known]
