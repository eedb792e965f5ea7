"""The operators by name: their inputs, outputs and files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
COMMON = FOLDER / "common"


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        name: of its folder and kernel.
        inputs, outputs: in order.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def type(self) -> str:
        """As CANN and the twin's library name it."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    @property
    def host(self) -> Path:
        return FOLDER / self.name / "op_host"

    @property
    def kernel(self) -> Path:
        return FOLDER / self.name / "op_kernel"


OPERATORS = (
    Operator(
        "plm_dropout_add_layer_norm",
        ("x", "residual", "weight", "bias", "keep", "constants"),
        ("y", "mean", "rstd"),
    ),
    Operator(
        "plm_dropout_add_layer_norm_grad",
        ("dy", "x", "residual", "weight", "keep", "constants", "mean", "rstd"),
        ("dx", "dresidual", "dweight", "dbias"),
    ),
    Operator(
        "plm_relative_attention",
        ("query", "key", "value", "table", "mask", "keep", "constants"),
        ("out", "largest", "total"),
    ),
    Operator(
        "plm_relative_attention_grad",
        ("dout", "query", "key", "value", "table", "mask", "keep", "constants", "largest", "total"),
        ("dquery", "dkey", "dvalue"),
    ),
)

LAYER_NORM, LAYER_NORM_GRAD, ATTENTION, ATTENTION_GRAD = OPERATORS

MOST_PARTS = 240
"""Parts of rows for which plm_dropout_add_layer_norm_grad sums gradients of parameters (its tiling says the same)."""
LONGEST = 512
"""Keys that plm_relative_attention takes (its tiling says the same)."""
WIDEST = 4096
"""Width of a row that plm_dropout_add_layer_norm takes (its tiling says the same)."""


def vendors() -> list[Path]:
    """Folders of operator packages that MindSpore looks into, in its order: those of ASCEND_CUSTOM_OPP_PATH, then those
    of ASCEND_OPP_PATH/vendors that config.ini there names (`load_priority=first,second`), and no others."""
    custom = [Path(path) for path in os.environ.get("ASCEND_CUSTOM_OPP_PATH", "").split(":") if path]
    stock = Path(os.environ.get("ASCEND_OPP_PATH", "")) / "vendors"
    if not (stock / "config.ini").is_file():
        return custom
    for line in (stock / "config.ini").read_text(encoding="utf-8").splitlines():
        key, _, names = line.partition("=")
        if key.strip().lower() == "load_priority":
            return custom + [stock / name.strip() for name in names.split(",") if name.strip()]
    return custom


def not_installed(*operators: Operator) -> str | None:
    """Why operators cannot be used on a device here, or None: they are looked for as MindSpore looks for them."""
    for operator in operators:
        header = f"op_api/include/aclnn_{operator.name}.h"
        if not any((folder / header).is_file() for folder in vendors()):
            return (
                f"needs the operator {operator.type}, which is not installed ({header} is in no folder of "
                "ASCEND_CUSTOM_OPP_PATH and of no vendor in load_priority of ASCEND_OPP_PATH/vendors/config.ini); "
                "`python -m ms_plm_ascend.ascendc --build` makes it"
            )
    return None
