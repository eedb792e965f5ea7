"""Holds every operator, run on the twin, against float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ms_plm.kernels.attention import MASKED, sinusoid_table
from ms_plm_ascend.ascendc.library import CORES, UB_BYTES, Library
from ms_plm_ascend.ascendc.operators import ATTENTION, ATTENTION_GRAD, LAYER_NORM, LAYER_NORM_GRAD, MOST_PARTS

KEEP = 0.9
EPSILON = 1e-12


@dataclass(frozen=True)
class Rows:
    """A call of dropout-add-LayerNorm."""

    rows: int
    width: int
    dtype: type = np.float16
    drops: bool = True
    cores: int = CORES

    def __str__(self) -> str:
        dropout = "dropout" if self.drops else "no dropout"
        return f"{self.rows} x {self.width}, {np.dtype(self.dtype).name}, {dropout}, {self.cores} cores"


@dataclass(frozen=True)
class Heads:
    """A call of relative attention."""

    batch: int
    heads: int
    length: int
    size: int
    reach: int = 64
    drops: bool = True
    square: bool = False
    cores: int = CORES

    def __str__(self) -> str:
        dropout, mask = "dropout" if self.drops else "no dropout", "S x S mask" if self.square else "padding mask"
        shape = f"{self.batch} x {self.heads} x {self.length} x {self.size}, reach {self.reach}"
        return f"{shape}, {dropout}, {mask}, {self.cores} cores"


@dataclass
class Found:
    """What a run on the twin gave.

    Attributes:
        errors: largest absolute difference from float64 by output, divided by the largest number there or 1.
        peaks: bytes of UB by operator.
    """

    errors: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def compare(self, **pairs: tuple[np.ndarray, np.ndarray]) -> None:
        for name, (got, expected) in pairs.items():
            assert got.shape == expected.shape, (name, got.shape, expected.shape)
            scale = max(1.0, float(np.abs(expected).max()))
            self.errors[name] = float(np.abs(got.astype(np.float64) - expected).max()) / scale


def pack(kept: np.ndarray | None) -> np.ndarray:
    """Bits along the last axis, uint8, as kernels take them; one number where nothing is dropped."""
    return np.zeros(1, np.uint8) if kept is None else np.packbits(kept, axis=-1, bitorder="little")


def by_distance(table: np.ndarray, length: int) -> np.ndarray:
    """Rows of a table `[2K+1, D]` for distances -(S-1) .. S-1: `[2S-1, D]`."""
    reach = len(table) // 2
    return np.ascontiguousarray(table[np.clip(np.arange(1 - length, length), -reach, reach) + reach])


def empty(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """An output that shows what is not written: NaN."""
    return np.full(shape, np.nan, dtype)


def layer_norm(twin: Library, case: Rows, seed: int = 0) -> Found:
    """Forward and backward kernel."""
    draw, shape = np.random.default_rng(seed), (case.rows, case.width)
    x, residual, dy = draw.standard_normal(shape).astype(case.dtype), *draw.standard_normal((2, *shape), np.float32)
    weight, bias = draw.standard_normal((2, case.width), np.float32)
    kept = draw.random(shape) < KEEP if case.drops else None
    keep, constants = pack(kept), np.array([EPSILON, 1 / KEEP], np.float32)
    y, mean, rstd = empty(*shape), empty(case.rows), empty(case.rows)
    found = Found()
    found.peaks["forward"] = twin(
        LAYER_NORM, x, residual, weight, bias, keep, constants, y, mean, rstd, cores=case.cores
    )

    factor = 1.0 if kept is None else kept / KEEP
    summed = x.astype(np.float64) * factor + residual
    centre = summed.mean(1, keepdims=True)
    scale = 1 / np.sqrt(summed.var(1, keepdims=True) + EPSILON)
    normal = (summed - centre) * scale
    found.compare(y=(y, normal * weight + bias), mean=(mean, centre[:, 0]), rstd=(rstd, scale[:, 0]))

    parts = min(case.rows, MOST_PARTS)
    dx, dresidual = empty(*shape, dtype=case.dtype), empty(*shape)
    dweight, dbias = empty(parts, case.width), empty(parts, case.width)
    given = (dy, x, residual, weight, keep, constants, mean, rstd)
    found.peaks["gradient"] = twin(LAYER_NORM_GRAD, *given, dx, dresidual, dweight, dbias, cores=case.cores)
    g = dy.astype(np.float64) * weight
    expected = scale * (g - g.mean(1, keepdims=True) - normal * (g * normal).mean(1, keepdims=True))
    found.compare(
        dx=(dx, expected * factor),
        dresidual=(dresidual, expected),
        dweight=(dweight.sum(0), (dy * normal).sum(0)),
        dbias=(dbias.sum(0), dy.sum(0, dtype=np.float64)),
    )
    return found


def attention(twin: Library, case: Heads, seed: int = 0) -> Found:
    """Forward and backward kernel."""
    draw = np.random.default_rng(seed)
    hidden, rows = (case.batch, case.length, case.heads * case.size), (case.batch, case.heads, case.length)
    query, key, value, dout = draw.standard_normal((4, *hidden)).astype(np.float16)
    table = sinusoid_table(case.reach, case.size).astype(np.float16)
    mask = np.zeros((case.batch, 1, case.length if case.square else 1, case.length), np.float32)
    mask[-1, ..., -(case.length // 8 + 1) :] = MASKED
    kept = draw.random((*rows, case.length)) < KEEP if case.drops else None
    scale = 1 / np.sqrt(case.size)
    given = (query, key, value, by_distance(table, case.length), mask, pack(kept))
    given = (*given, np.array([scale, 1 / KEEP], np.float32))
    out, largest, total = empty(*hidden, dtype=np.float16), empty(*rows), empty(*rows)
    found = Found()
    found.peaks["forward"] = twin(ATTENTION, *given, out, largest, total, cores=case.cores)
    dquery, dkey, dvalue = (empty(*hidden, dtype=np.float16) for _ in range(3))
    found.peaks["gradient"] = twin(ATTENTION_GRAD, dout, *given, largest, total, dquery, dkey, dvalue, cores=case.cores)

    def split(x):
        return x.astype(np.float64).reshape(case.batch, case.length, case.heads, case.size).transpose(0, 2, 1, 3)

    def joined(x):
        return x.transpose(0, 2, 1, 3).reshape(hidden)

    q, k, v, do = (split(x) for x in (query, key, value, dout))
    steps = np.arange(case.length)
    r = table.astype(np.float64)[np.clip(steps - steps[:, None], -case.reach, case.reach) + case.reach]
    factor = 1.0 if kept is None else kept / KEEP
    scores = (q @ k.swapaxes(2, 3) + np.einsum("bnid,ijd->bnij", q, r)) * scale + mask
    top = scores.max(-1, keepdims=True)
    p = np.exp(scores - top)
    whole = p.sum(-1, keepdims=True)
    p /= whole
    dp = (do @ v.swapaxes(2, 3) + np.einsum("bnid,ijd->bnij", do, r)) * factor
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * scale
    w = p * factor
    found.compare(
        out=(out, joined(w @ v + np.einsum("bnij,ijd->bnid", w, r))),
        largest=(largest, top[..., 0]),
        total=(total, whole[..., 0]),
        dquery=(dquery, joined(ds @ k + np.einsum("bnij,ijd->bnid", ds, r))),
        dkey=(dkey, joined(ds.swapaxes(2, 3) @ q)),
        dvalue=(dvalue, joined(w.swapaxes(2, 3) @ do)),
    )
    return found


CASES = (
    Rows(37, 256, cores=8),
    Rows(64, 312, cores=3),
    Rows(500, 768),
    Rows(9, 1024, np.float32, drops=False, cores=2),
    Rows(3, 4096, np.float32, cores=2),
    Heads(2, 2, 16, 32),
    Heads(1, 2, 37, 64, drops=False, cores=3),
    Heads(1, 2, 128, 64),
    Heads(1, 1, 333, 32, drops=False, square=True, cores=5),
    Heads(1, 2, 512, 64),
)


def limit(name: str) -> float:
    """Largest error that is expected of an output: fp32 of sums, or fp16 of what is rounded to it."""
    return 2e-6 if name in ("y", "mean", "rstd", "dresidual", "dweight", "dbias", "largest", "total") else 1e-3


def check(twin: Library, say: Callable[[str], None] = print) -> bool:
    """Run all cases and print what they gave; whether all is well. A `Fault` of a kernel is not caught."""
    good = True
    for case in CASES:
        found = layer_norm(twin, case) if isinstance(case, Rows) else attention(twin, case)
        wrong = [name for name, error in found.errors.items() if not error <= limit(name)]
        good = good and not wrong
        say(f"{'dropout-add-LayerNorm' if isinstance(case, Rows) else 'relative attention'}, {case}")
        say("  errors: " + ", ".join(f"{name} {error:.1e}" for name, error in found.errors.items()))
        say("  UB: " + ", ".join(f"{name} {peak} of {UB_BYTES} bytes" for name, peak in found.peaks.items()))
        if wrong:
            say(f"  TOO FAR from float64: {', '.join(wrong)}")
    return good
