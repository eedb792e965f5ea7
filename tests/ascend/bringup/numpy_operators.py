"""A device made of NumPy: the flash operators as documented, head by head, and with what may be wrong with them."""

from __future__ import annotations

import numpy as np

from ms_plm_ascend.bringup.oracle import Result


class NumpyOperators:
    """As `AscendOperators`.

    Args:
        chip: what it says it is.
        defects: names of what is wrong: `shift after scaling`, `negative tokens swapped`, `mask ignored`,
            `all masked is nan`, `all masked leaks`, `big endian`, `gradient redraws`, `no dropout scale`, `width 80`,
            `callbacks late`, `draws frozen`, `draws alike`.
    """

    dtype = "fp16"

    def __init__(self, chip: str = "910B3", *defects: str) -> None:
        self.chip, self.defects = chip, defects
        self._late = 0
        self._random = np.random.default_rng(5)

    def _head(self, options, vectors, b, n, redraw=False):
        """Scores, seen and factors `[S, S]` of one head."""
        query, key = (x[b, :, n].astype(np.float64) for x in vectors[:2])
        shift = 0.0 if vectors.shift is None else vectors.shift[b, n].astype(np.float64)
        products = query @ key.T
        if "shift after scaling" in self.defects:
            scores = options.scale * products + shift
        else:
            scores = options.scale * (products + shift)
        distance = np.subtract.outer(np.arange(len(key)), np.arange(len(key))).T
        before, after = options.before, options.after
        if "negative tokens swapped" in self.defects and min(before, after) < 0:
            before, after = after, before
        seen = (distance >= -before) & (distance <= after)
        if vectors.hidden is not None and "mask ignored" not in self.defects:
            seen = seen & (vectors.hidden[b, 0] == 0)
        factors = np.ones(scores.shape)
        if vectors.bits is not None:
            kept = np.unpackbits(
                vectors.bits[b, n], axis=-1, bitorder="big" if "big endian" in self.defects else "little"
            )
            if redraw and "gradient redraws" in self.defects:
                kept = np.roll(kept, 1, axis=-1)
            factors = kept / (1.0 if "no dropout scale" in self.defects else options.keep)
        return scores, seen, factors

    def forward(self, options, vectors) -> Result:
        batch, length, heads, width = vectors.query.shape
        largest, total = np.zeros((batch, heads, length)), np.zeros((batch, heads, length))
        out = np.zeros(vectors.query.shape)
        for b in range(batch):
            for n in range(heads):
                scores, seen, factors = self._head(options, vectors, b, n)
                some = seen.any(-1)
                largest[b, n] = np.where(some, np.where(seen, scores, -1e300).max(-1), 0.0)
                exponentials = np.where(seen, np.exp(np.minimum(scores - largest[b, n, :, None], 0)), 0)
                total[b, n] = exponentials.sum(-1)
                weights = exponentials / np.where(some, total[b, n], 1.0)[:, None]
                out[b, :, n] = (weights * factors) @ vectors.value[b, :, n]
                if not some.all():
                    self._empty(out, vectors, b, n, ~some)
        if width == 80 and "width 80" in self.defects:
            out = out[..., ::-1].copy()
        return Result(largest, total, out)

    def _empty(self, out, vectors, b, n, rows) -> None:
        if "all masked is nan" in self.defects:
            out[b, rows, n] = np.nan
        elif "all masked leaks" in self.defects:
            out[0, rows, n] += 1
        else:
            out[b, rows, n] = vectors.value[b, :, n].mean(0)

    def gradients(self, options, vectors, result, cotangent):
        found = [np.zeros(vectors.query.shape) for _ in range(3)]
        query, key, value = (x.astype(np.float64) for x in vectors[:3])
        batch, _, heads, _ = query.shape
        for b in range(batch):
            for n in range(heads):
                scores, seen, factors = self._head(options, vectors, b, n, redraw=True)
                weights = np.where(seen, np.exp(np.minimum(scores - result.largest[b, n, :, None], 50)), 0)
                weights = weights / np.maximum(result.total[b, n], 1e-300)[:, None]
                dout = cotangent[b, :, n].astype(np.float64)
                mean = (dout * result.out[b, :, n]).sum(-1, keepdims=True)
                dscores = weights * (factors * (dout @ value[b, :, n].T) - mean) * options.scale
                found[0][b, :, n] = dscores @ key[b, :, n]
                found[1][b, :, n] = dscores.T @ query[b, :, n]
                found[2][b, :, n] = (weights * factors).T @ dout
        return tuple(found)

    def draw(self, keep, shape):
        if "draws frozen" in self.defects:
            self._random = np.random.default_rng(5)
        drawn = self._random.random(shape)
        if "draws alike" in self.defects:  # one row in ten is another one
            drawn[:, :, np.arange(shape[2]) % 10 > 0] = 0.5
        kept = drawn < keep
        return np.packbits(kept, axis=-1, bitorder="little")

    def callback(self, x, rounds):
        self._late += 1
        for number in range(rounds):
            late = "callbacks late" in self.defects and self._late % 3 == 0 and number == 7
            x = x * 2 + 1 if late else (x + 1) * 2
        return x
