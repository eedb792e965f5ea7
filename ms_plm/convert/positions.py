"""Relative positions that a file stores although they are computed: the reach they show, and whether they fit."""

from __future__ import annotations

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig

STORED = ".positions_encoding"
"""How the names of such buffers end; `[L, L, D]`, entry (i, j) is the vector for key j seen from query i."""


def stored_reach(stored: np.ndarray) -> int | None:
    """The distance beyond which stored positions look alike; None where the buffer is too short to show it."""
    changes = np.flatnonzero((stored[0, 1:] != stored[0, :-1]).any(axis=1))
    reach = int(changes[-1]) + 1 if len(changes) else 0
    return reach if reach < len(stored) - 1 else None


def check_stored(stored: np.ndarray, config: ModelConfig, where: str) -> None:
    """Raise a UserError where stored positions are not the ones that ms_plm will compute for this configuration.

    The first and the last query are compared; between them they see every distance.
    """
    from ms_plm.kernels.attention import sinusoid_table

    reach, length = config.max_relative_position, len(stored)
    table = sinusoid_table(reach, config.attention_head_size)
    keys = np.arange(length)
    for query in (0, length - 1):
        expected = table[np.clip(keys - query, -reach, reach) + reach]
        if stored.shape[2:] != expected.shape[1:] or not np.allclose(stored[query], expected, rtol=0, atol=1e-3):
            found = stored_reach(stored)
            raise UserError(
                f"{where}: the relative positions stored in it are not the sinusoid of max_relative_position {reach}"
                + (f"; they look alike beyond {found}" if found is not None and found != reach else "")
                + ". Use the configuration that belongs to this checkpoint (--config FILE)."
            )
