"""How long a chip needs at least for counted work: by its matrix unit, its vector unit, its memory or its link."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ms_plm.config.chips import Chip
from ms_plm_ascend.roofline.counts import Work, merge

CUBE = 8192
"""16-bit operations of one matrix unit in a cycle."""
LANES = 64
"""fp32 operations of one vector unit in a cycle."""
VECTOR_UNITS = {"910A": 1, "310P": 1}
"""Vector units beside each matrix unit, where not two."""
LINKS = {"910A": 30e9}
"""Bytes of its own gradients that a device sums with seven others in a second; others than 910A: `LINK`. Assumed from
the links' rates."""
LINK = 100e9


class Bound(NamedTuple):
    """The least time of one kind of operation, and what sets it.

    Attributes:
        work: what is computed.
        seconds: by the slowest part.
        part: matrix, vector, memory or link.
    """

    work: Work
    seconds: float
    part: str


def rates(chip: Chip) -> dict[str, float]:
    """What a device does in a second: matrix and vector operations, bytes of memory, bytes over the link."""
    matrix = chip.tflops * 1e12
    return {
        "matrix": matrix,
        "vector": matrix / CUBE * LANES * VECTOR_UNITS.get(chip.name, 2),
        "memory": chip.bandwidth * 1e12,
        "link": LINKS.get(chip.name, LINK),
    }


def bound(work: Work, chip: Chip) -> Bound:
    """The least time of one kind of operation on a chip."""
    rate = rates(chip)
    needs = {"matrix": work.products, "vector": work.vector, "memory": work.bytes, "link": work.link}
    seconds = {part: need / rate[part] for part, need in needs.items()}
    part = max(seconds, key=seconds.__getitem__)
    return Bound(work, seconds[part], part)


def bounds(works: Iterable[Work], chip: Chip) -> list[Bound]:
    """Those of all kinds, the longest first; their sum is the step's, since one runs after the other.

    Works of one name are bound one by one, then added up: a small product that memory holds up gains nothing from a
    large one that it does not. `part` is then that of the longest.
    """
    found: dict[str, list[Bound]] = {}
    for work in works:
        found.setdefault(work.name, []).append(bound(work, chip))
    merged = []
    for same in found.values():
        longest = max(same, key=lambda item: item.seconds)
        (total,) = merge(item.work for item in same)
        merged.append(Bound(total, sum(item.seconds for item in same), longest.part))
    return sorted(merged, key=lambda item: -item.seconds)
