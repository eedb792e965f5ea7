"""How large a message of gradients between devices should be, from the model's size. Arithmetic, not a measurement."""

from __future__ import annotations

import math

START_SECONDS = 5e-5
"""What an exchange costs before its first byte: launch and handshake of one HCCL operation. An assumption."""
BYTES_PER_SECOND = {"machine": 100e9, "network": 20e9}
"""What an all-reduce moves of a device's own gradients in a second: inside a machine of eight, and between machines
over 200 Gbit/s a device. Assumptions from the links' rates."""
SIZES = (8, 16, 32, 64, 128)
"""MB that are offered."""


def fusion_mb(parameters: int, nodes: int, accumulates: bool) -> tuple[int, str]:
    """Size of fused gradient messages in MB for `impl.parallel.fusion_mb`, and the reason.

    A sum of G bytes in messages of m costs a start for each, t G / m, and the last message, which no computation hides,
    m / B. That is least at m = sqrt(G t B). With accumulation the exchange stands behind all backward passes: nothing
    is hidden whatever m is, only starts count, and the largest message that still leaves four is taken, so that copying
    into the next overlaps with sending the last.

    Args:
        parameters: of the model; gradients are fp32.
        nodes: machines.
        accumulates: an update has several forwards.
    """
    total = 4.0 * parameters
    rate = BYTES_PER_SECOND["machine" if nodes == 1 else "network"]
    best = total / 4 if accumulates else math.sqrt(total * START_SECONDS * rate)
    size = min(SIZES, key=lambda offered: abs(math.log(offered * 1e6 / best)))
    why = "a quarter of it is" if accumulates else "sqrt(G t B) is"
    return size, (
        f"gradients are {total / 1e6:.0f} MB in fp32; {why} {best / 1e6:.0f} MB, nearest to which of "
        f"{', '.join(map(str, SIZES))} is {size} (a model with {START_SECONDS * 1e6:.0f} us a message and "
        f"{rate / 1e9:.0f} GB/s, not measured)"
    )
