"""What `ms-plm doctor --soc` tells of an Ascend chip, from tables: no device and no MindSpore is needed."""

from __future__ import annotations

from typing import get_args

from ms_plm.common.errors import UserError
from ms_plm.config.chips import Chip, chip_named
from ms_plm.config.precision import Precision, policy_for

OVERFLOWS = {
    "inf_nan": "becomes infinite, which the finite check of every update sees",
    "saturates": "becomes the largest number (saturation); only the chip's status register tells, which every fp16 "
    "update clears and reads (not yet run on hardware)",
}


def describe(name: str) -> list[str]:
    """Lines on a chip and on every precision that it has.

    Raises:
        UserError: there is no such chip.
    """
    chip = chip_named(name)
    made = [
        f"Ascend {chip.name}, by its data sheet (no device was asked)",
        f"  16-bit peak      {chip.tflops} TFLOP/s a device",
        f"  memory           {chip.memory} GB, {chip.bandwidth} TB/s",
        f"  overflow         {OVERFLOWS[chip.overflow]}",
        f"  use              {'training and inference' if chip.trains else 'inference only'}",
        "precision",
    ]
    return made + [f"  {precision:<16} {_policy(precision, chip)}" for precision in get_args(Precision)]


def _policy(precision: Precision, chip: Chip) -> str:
    try:
        return policy_for(precision, "ascend", chip.name).summary
    except UserError as error:
        return f"refused: {error}"
