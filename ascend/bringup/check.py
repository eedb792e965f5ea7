"""A question to the hardware, and the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

TOLERANCE = {"fp32": 2e-5, "fp16": 4e-3, "bf16": 3e-2}
"""Largest error of an output or gradient against float64, as a share of its largest entry, by compute type: a few
roundings of products of some hundred terms."""


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        passed: it is as our code needs it; None: it decides nothing, or could not be asked here.
        answer: for people.
        figures: errors, milliseconds.
        record: of `ms_plm.kernels.verified.Record`, where an implementation was verified.
    """

    passed: bool | None
    answer: str
    figures: dict[str, float] = field(default_factory=dict)
    record: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """A question.

    Attributes:
        name: short, without spaces.
        question: what is not known.
        how: what is computed to know it.
        otherwise: what to do where the answer is not as our code needs it.
        run: asks it, given the device's operators.
        gates: forms, as `OPERATION-FORM`, that rest on it: where it fails, they do not count as verified.
    """

    name: str
    question: str
    how: str
    otherwise: str
    run: Callable[[Any], Verdict]
    gates: tuple[str, ...] = ()
