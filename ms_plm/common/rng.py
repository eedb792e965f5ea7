"""The project's random numbers: a hash of where a number is used, never a hidden state.

A draw is a function of (key, operation, element). Keys come from (seed, epoch, dataset index, pass), so that resuming,
another micro-batch size, another number of devices or of threads gives the same masks and the same dropout. This
module is the definition; other implementations (C++, graph operators) must give the same bits.

All arithmetic is on 32-bit integers that wrap around; right shifts are arithmetic (sign-extending), because that is
what the int32 shift of graph operators does. Only the last one is logical: an arithmetic one would cancel the top bit.
"""

from __future__ import annotations

import numpy as np

GOLDEN = np.int32(-1640531527)
"""Weyl increment, 2^32 divided by the golden ratio."""
OPERATION = np.int32(747796405)
MIX_1 = np.int32(-2048144789)
MIX_2 = np.int32(-1028477379)
_BLOCK = 1 << 15  # int32 numbers that stay in the first-level caches


def keep_threshold(drop_probability: float) -> int:
    """The 16-bit draws below this number are kept; 0 <= `drop_probability` < 1."""
    return round((1.0 - drop_probability) * 65536)


def _mix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64 finaliser on uint64 arrays: every input bit reaches every output bit."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def sample_keys(seed: int, epoch: int, indices: np.ndarray, purpose: int = 0) -> np.ndarray:
    """Keys of samples: int32 `[n, 2]` from int64 dataset indices `[n]`.

    Args:
        seed: of the run.
        epoch: the epoch in which the sample is drawn.
        indices: dataset indices.
        purpose: keeps streams apart that must be independent: see the constants below.
    """
    with np.errstate(over="ignore"):
        state = _mix64(np.asarray(indices, dtype=np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
        for word in (seed, epoch, purpose):
            state = _mix64(
                state + _mix64(np.asarray([word], dtype=np.int64).view(np.uint64) ^ np.uint64(0xD6E8FEB86659FD93))
            )
    return np.ascontiguousarray(state).view(np.int32).reshape(-1, 2)


MASKING, DROPOUT, SAMPLE_TABLE, ORDER, AUGMENTATION = range(5)
"""Values of `purpose`. A second training forward of the same samples uses `DROPOUT + 16 * pass`."""


def hash32(key: np.ndarray, operation: int, elements: np.ndarray) -> np.ndarray:
    """The generator: int32 hashes.

    Args:
        key: int32 `[..., 2]`, broadcast against `elements` without its last axis.
        operation: number of the operation that draws.
        elements: int32 counter inside the sample, `[...]`.
    """
    with np.errstate(over="ignore"):
        state = elements.astype(np.int32) * GOLDEN + (key[..., 0] + np.int32(operation) * OPERATION)
        state = (state ^ (state >> np.int32(15))) * MIX_1
        state = state ^ key[..., 1]
        state = (state ^ (state >> np.int32(13))) * MIX_2
        return state ^ ((state >> np.int32(16)) & np.int32(0xFFFF))


def uniform(key: np.ndarray, operation: int, count: int) -> np.ndarray:
    """Uniform draws in [0, 1): float64 `[n, count]` from keys int32 `[n, 2]` (32 bits each)."""
    hashes = hash32(key[:, None, :], operation, np.arange(count, dtype=np.int32)[None, :])
    return hashes.view(np.uint32) * (1.0 / 4294967296.0)


def integers(key: np.ndarray, operation: int, count: int, bound: np.ndarray | int) -> np.ndarray:
    """Draws in 0..bound-1: int64 `[n, count]`; `bound` (at most 2^31) broadcasts against that shape."""
    hashes = hash32(key[:, None, :], operation, np.arange(count, dtype=np.int32)[None, :])
    return ((hashes.view(np.uint32).astype(np.uint64) * np.asarray(bound, dtype=np.uint64)) >> np.uint64(32)).astype(
        np.int64
    )


def keep_mask(key: np.ndarray, operation: int, count: int, threshold: int, out: np.ndarray) -> None:
    """Write a dropout mask (1 keep, 0 drop) for a whole batch into `out`.

    Elements 2i and 2i+1 take the low and the high 16 bits of hash i: two draws a hash.

    Args:
        key: int32 `[n, 2]`.
        operation: number of the operation.
        count: elements of one sample.
        threshold: from `keep_threshold`.
        out: bool or uint8 `[n, count]`, contiguous.
    """
    pairs = (count + 1) // 2
    limit = np.uint16(min(threshold, 65535))
    inclusive = threshold > 65535  # probability 0: every draw is kept
    block = max(1, min(_BLOCK, pairs))
    counters = np.arange(block, dtype=np.int32) * GOLDEN
    state, shifted = np.empty(block, np.int32), np.empty(block, np.int32)
    out = out.view(np.bool_) if out.dtype == np.uint8 else out
    with np.errstate(over="ignore"):
        for row, (first, second) in enumerate(key):
            base = first + np.int32(operation) * OPERATION
            for start in range(0, pairs, block):
                size = min(block, pairs - start)
                h, t = state[:size], shifted[:size]
                np.add(counters[:size], base + np.int32(start) * GOLDEN, out=h)
                np.right_shift(h, 15, out=t)
                np.bitwise_xor(h, t, out=h)
                np.multiply(h, MIX_1, out=h)
                np.bitwise_xor(h, second, out=h)
                np.right_shift(h, 13, out=t)
                np.bitwise_xor(h, t, out=h)
                np.multiply(h, MIX_2, out=h)
                np.right_shift(h.view(np.uint32), 16, out=t.view(np.uint32))
                np.bitwise_xor(h, t, out=h)
                draws = h.view(np.uint16)  # little-endian: low half first
                target = out[row, 2 * start : min(2 * (start + size), count)]
                if inclusive:
                    target[:] = True
                else:
                    np.less(draws[: target.size], limit, out=target)
