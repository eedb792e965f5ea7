"""The project's random numbers inside a kernel: bit for bit those of `ms_plm.common.rng`."""

import triton
import triton.language as tl

from ms_plm.common import rng

_GOLDEN = tl.constexpr(int(rng.GOLDEN))
_MIX_1 = tl.constexpr(int(rng.MIX_1))
_MIX_2 = tl.constexpr(int(rng.MIX_2))


@triton.jit
def kept(element, first, second, threshold):
    """True where dropout keeps an entry, of the shape of `element`.

    Args:
        element: int32, the entry's number inside the sample, not negative.
        first, second: int32, the sample's key; the operation's base is added to the first.
        threshold: fp32, the 16-bit draws below it are kept.

    Two entries share a hash. Draws are compared in fp32, which holds them exactly: the vector unit compares no int32.
    """
    state = (element >> 1) * _GOLDEN + first
    state = (state ^ (state >> 15)) * _MIX_1
    state = state ^ second
    state = (state ^ (state >> 13)) * _MIX_2
    high = (state >> 16) & 0xFFFF
    low = (state ^ high) & 0xFFFF
    return (low + (element & 1) * (high - low)).to(tl.float32) < threshold
