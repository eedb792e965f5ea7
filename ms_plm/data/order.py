"""The order of samples: a keyed bijection, so that any position of any epoch is found by arithmetic alone."""

from __future__ import annotations

import math

import numpy as np

from ms_plm.common import rng

_ROUNDS = 6


class EpochOrder:
    """Which sample stands at which position of a run.

    Position `p` lies in epoch `p // n_samples`; within an epoch the order is a permutation of all samples that
    depends on (seed, epoch). It is a Feistel network over pairs of 0..a-1 and 0..b-1, where a * b is n_samples or
    hardly more, walked along its cycle from the few values that lie outside back into the range (Black and Rogaway,
    "Ciphers with Arbitrary Finite Domains", 2002, section 5; over a power of two, up to three quarters would lie
    outside). Nothing is stored.
    """

    def __init__(self, n_samples: int, seed: int) -> None:
        if n_samples < 1:
            raise ValueError(f"an order needs at least one sample, not {n_samples}")
        self.n_samples = int(n_samples)
        self.seed = int(seed)
        self._a = math.isqrt(self.n_samples - 1) + 1
        self._b = -(-self.n_samples // self._a)

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
        """One bijection of 0 .. a * b - 1: each round adds to one half a hash of the other, modulo the half's size."""
        right, left = np.divmod(values, self._a)
        for number, key in enumerate(keys):
            if number % 2:
                right = _add(right, rng.hash32(key, number, left), self._b)
            else:
                left = _add(left, rng.hash32(key, number, right), self._a)
        return right * self._a + left


def _add(values: np.ndarray, hashes: np.ndarray, size: int) -> np.ndarray:
    """`values` + a number in 0 .. size - 1 made from int32 hashes, modulo `size`."""
    drawn = (hashes.view(np.uint32).astype(np.uint64) * np.uint64(size)) >> np.uint64(32)
    return (values + drawn.astype(np.int64)) % size


def keys_of(seed: int, epochs: np.ndarray, indices: np.ndarray, purpose: int) -> np.ndarray:
    """`rng.sample_keys` for samples of several epochs: int32 `[n, 2]` from int64 `[n]`, `[n]`."""
    different = np.unique(epochs)
    if len(different) == 1:
        return rng.sample_keys(seed, int(different[0]), indices, purpose)
    keys = np.empty((len(indices), 2), np.int32)
    for epoch in different:
        here = epochs == epoch
        keys[here] = rng.sample_keys(seed, int(epoch), indices[here], purpose)
    return keys
