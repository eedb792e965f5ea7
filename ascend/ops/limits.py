"""What several forms for Ascend ask of a run: each gives None, or the reason why a form declines it."""

from __future__ import annotations

from ms_plm.kernels import Call
from ms_plm_ascend.ops.bits import EACH


def lacks_chip(call: Call) -> str | None:
    """For what is made for Atlas A2 and A3 alone."""
    if call.chip is None or call.chip.startswith(("910B", "910C")):
        return None
    return f"is made for the 910B (A2) and 910C (A3), not for the {call.chip}"


def keeps_less(call: Call) -> str | None:
    """For attention that has neither scores nor probabilities in memory."""
    unmet = sorted(call.wants & {"scores", "probabilities"})
    return f"keeps no {' and no '.join(unmet)}" if unmet else None


def draws_bits(call: Call) -> str | None:
    """For dropout by `KeepBits`."""
    if call.exact_dropout:
        return "draws dropout by the device's own generator: set impl.exact_resume=false"
    return None


def draws_bits_of_scores(call: Call) -> str | None:
    """For dropout of attention by `KeepBits`, whose rows are as long as sequences."""
    if call.length is not None and call.length % EACH:
        return f"drops entries by bits: needs a length that is a multiple of {EACH}, not {call.length}"
    return draws_bits(call)
