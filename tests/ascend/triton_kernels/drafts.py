"""Kernels with faults that the lint must find; run as a program, it lowers them and prints what is found."""

from __future__ import annotations

import json

import triton
import triton.language as tl

from ms_plm_ascend.triton_kernels.lint import findings
from ms_plm_ascend.triton_kernels.lower import lower


@triton.jit
def compares_integers(source, target, K: tl.constexpr, D: tl.constexpr):
    """What positions add, chosen by int32 distances."""
    i, j = tl.arange(0, D)[:, None], tl.arange(0, D)[None, :]
    x = tl.load(source + i * D + j)
    tl.store(target + i * D + j, tl.where(j - i - tl.program_id(0) >= K, x, 0.0))


@triton.jit
def gathers(source, target, K: tl.constexpr, D: tl.constexpr):
    """What positions add, read from a table at clipped distances."""
    i, j = tl.arange(0, D)[:, None], tl.arange(0, D)[None, :]
    distance = tl.minimum(tl.maximum(j - i - tl.program_id(0), -K), K)
    tl.store(target + i * D + j, tl.load(source + i * (2 * K + 1) + distance + K))


@triton.jit
def counts_in_64_bits(source, target, K: tl.constexpr, D: tl.constexpr):
    """Distances in int64."""
    j = tl.arange(0, D)
    far = (j.to(tl.int64) * tl.program_id(0)).to(tl.float32)
    tl.store(target + j, tl.load(source + j) + far)


@triton.jit
def sound(source, target, K: tl.constexpr, D: tl.constexpr):
    """The first, compared in fp32."""
    i, j = tl.arange(0, D)[:, None], tl.arange(0, D)[None, :]
    distance = j.to(tl.float32) - i.to(tl.float32) - tl.program_id(0).to(tl.float32)
    x = tl.load(source + i * D + j)
    tl.store(target + i * D + j, tl.where(distance >= K, x, 0.0))


if __name__ == "__main__":
    found = {}
    for draft in (compares_integers, gathers, counts_in_64_bits, sound):
        lowered = lower(draft, {"source": "*fp32", "target": "*fp32"}, {"K": 16, "D": 32})
        found[draft.__name__] = findings(lowered.linalg, "aiv", 0)
    print(json.dumps(found))
