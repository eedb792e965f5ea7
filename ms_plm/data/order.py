"""The order of samples: a keyed bijection, so that any position of any epoch is found by arithmetic alone."""

from __future__ import annotations

import numpy as np

from ms_plm.common import rng

_ROUNDS = 6


class EpochOrder:
    """Which sample stands at which position of a run.

    Position `p` lies in epoch `p // n_samples`; within an epoch the order is a permutation of all samples that
    depends on (seed, epoch): a Feistel network over the next even power of two, walked along its cycle until it
    lands below `n_samples` (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). Nothing is stored.
    """

    def __init__(self, n_samples: int, seed: int) -> None:
        if n_samples < 1:
            raise ValueError(f"an order needs at least one sample, not {n_samples}")
        self.n_samples = int(n_samples)
        self.seed = int(seed)
        self._half = max(1, ((self.n_samples - 1).bit_length() + 1) // 2)

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Epochs and sample indices, both int64 `[n]`, of positions int64 `[n]` (0, 1, 2 ... over all epochs)."""
        positions = np.asarray(positions, dtype=np.int64)
        epochs = positions // self.n_samples
        offsets = positions - epochs * self.n_samples
        indices = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = self._permute(offsets[here], int(epoch))
        return epochs, indices

    def _permute(self, values: np.ndarray, epoch: int) -> np.ndarray:
        keys = rng.sample_keys(self.seed, epoch, np.arange(_ROUNDS), rng.ORDER)
        values = self._feistel(values, keys)
        outside = np.flatnonzero(values >= self.n_samples)
        while outside.size:
            walked = self._feistel(values[outside], keys)
            values[outside] = walked
            outside = outside[walked >= self.n_samples]
        return values

    def _feistel(self, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """One bijection of 0 .. 4^half - 1, whatever the round function is."""
        half = np.int64(self._half)
        ones = np.int64((1 << self._half) - 1)
        left, right = values >> half, values & ones
        for number, key in enumerate(keys):
            left, right = right, left ^ (rng.hash32(key, number, right).astype(np.int64) & ones)
        return (left << half) | right


def keys_of(seed: int, epochs: np.ndarray, indices: np.ndarray, purpose: int) -> np.ndarray:
    """`rng.sample_keys` for samples of several epochs: int32 `[n, 2]` from int64 `[n]`, `[n]`."""
    keys = np.empty((len(indices), 2), np.int32)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        keys[here] = rng.sample_keys(seed, int(epoch), indices[here], purpose)
    return keys
