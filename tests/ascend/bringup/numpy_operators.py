"""A device made of NumPy: the flash operators as documented, row by row, and with what may be wrong with them."""

from __future__ import annotations

import numpy as np

from ms_plm_ascend.bringup.oracle import Result


class NumpyOperators:
    """As `AscendOperators`.

    Args:
        chip: what it says it is.
        defects: names of what is wrong: `shift after scaling`, `negative tokens swapped`, `mask ignored`,
            `all masked is nan`, `all masked leaks`, `big endian`, `gradient redraws`, `no dropout scale`, `width 80`,
            `callbacks late`.
    """

    dtype = "fp16"

    def __init__(self, chip: str = "910B3", *defects: str) -> None:
        self.chip, self.defects = chip, defects
        self._late = 0

    def _row(self, options, vectors, b, n, i, redraw=False):
        """Scores, seen and factors of one row."""
        query, key = (x[b, :, n].astype(np.float64) for x in vectors[:2])
        length = len(key)
        shift = 0.0 if vectors.shift is None else vectors.shift[b, n, i].astype(np.float64)
        products = key @ query[i]
        if "shift after scaling" in self.defects:
            scores = options.scale * products + shift
        else:
            scores = options.scale * (products + shift)
        distance = np.arange(length) - i
        before, after = options.before, options.after
        if "negative tokens swapped" in self.defects and min(before, after) < 0:
            before, after = after, before
        seen = (distance >= -before) & (distance <= after)
        if vectors.hidden is not None and "mask ignored" not in self.defects:
            seen &= vectors.hidden[b, 0, i] == 0
        factors = np.ones(length)
        if vectors.bits is not None:
            order = "big" if "big endian" in self.defects else "little"
            kept = np.unpackbits(vectors.bits[b, n, i], bitorder=order)
            if redraw and "gradient redraws" in self.defects:
                kept = np.roll(kept, 1)
            factors = kept / (1.0 if "no dropout scale" in self.defects else options.keep)
        return scores, seen, factors

    def forward(self, options, vectors) -> Result:
        batch, length, heads, width = vectors.query.shape
        largest, total = np.zeros((batch, heads, length)), np.zeros((batch, heads, length))
        out = np.zeros(vectors.query.shape)
        for b in range(batch):
            for n in range(heads):
                for i in range(length):
                    scores, seen, factors = self._row(options, vectors, b, n, i)
                    if not seen.any():
                        self._empty(out, vectors, b, n, i)
                        continue
                    largest[b, n, i] = scores[seen].max()
                    exponentials = np.where(seen, np.exp(np.minimum(scores - largest[b, n, i], 0)), 0)
                    total[b, n, i] = exponentials.sum()
                    out[b, i, n] = (exponentials / total[b, n, i] * factors) @ vectors.value[b, :, n]
        if width == 80 and "width 80" in self.defects:
            out = out[..., ::-1].copy()
        return Result(largest, total, out)

    def _empty(self, out, vectors, b, n, i) -> None:
        if "all masked is nan" in self.defects:
            out[b, i, n] = np.nan
        elif "all masked leaks" in self.defects:
            out[0, i, n] += 1
        else:
            out[b, i, n] = vectors.value[b, :, n].mean(0)

    def gradients(self, options, vectors, result, cotangent):
        found = [np.zeros(vectors.query.shape) for _ in range(3)]
        query, key, value = (x.astype(np.float64) for x in vectors[:3])
        batch, length, heads, _ = query.shape
        for b in range(batch):
            for n in range(heads):
                for i in range(length):
                    scores, seen, factors = self._row(options, vectors, b, n, i, redraw=True)
                    weights = np.where(seen, np.exp(np.minimum(scores - result.largest[b, n, i], 50)), 0)
                    weights = weights / max(result.total[b, n, i], 1e-300)
                    dout = cotangent[b, i, n].astype(np.float64)
                    row = weights * (factors * (value[b, :, n] @ dout) - dout @ result.out[b, i, n]) * options.scale
                    found[0][b, i, n] += row @ key[b, :, n]
                    found[1][b, :, n] += np.outer(row, query[b, i, n])
                    found[2][b, :, n] += np.outer(weights * factors, dout)
        return tuple(found)

    def draw(self, keep, shape):
        kept = np.random.default_rng(5).random(shape) < keep
        return np.packbits(kept, axis=-1, bitorder="little")

    def callback(self, x, rounds):
        self._late += 1
        for number in range(rounds):
            late = "callbacks late" in self.defects and self._late % 3 == 0 and number == 7
            x = x * 2 + 1 if late else (x + 1) * 2
        return x
