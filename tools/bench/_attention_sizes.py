"""The sizes that attention.py measures, and its inputs; NumPy only."""

from __future__ import annotations

import numpy as np

SIZES = {"batch": 8, "length": 128, "heads": 12, "threads": 2}
"""Options of both workers."""
HEAD_SIZE = 64
DROPOUT = 0.1
SHORT = 8
"""Length of the call before memory is looked at, which loads what libraries load late."""


def inputs(batch: int, length: int, heads: int) -> list[np.ndarray]:
    """Query, key, value and the gradient of the context: fp32 `[B, S, N*D]`."""
    draw = np.random.default_rng(0)
    return [draw.standard_normal((batch, length, heads * HEAD_SIZE), np.float32) for _ in range(4)]
