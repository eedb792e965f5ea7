"""Attention in float64 NumPy with its gradients, as plainly as it can be written: what the device is held against.

s_ij = scale (q_i . (k_j + r_ij)) + bias_ij, p = softmax over the keys that are seen, w = p * factors,
o_i = sum_j w_ij (v_j + r_ij). A row that sees no key gives 0. Arrays are `[B, S, N, D]`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Given(NamedTuple):
    """What attention computes from.

    Attributes:
        query, key, value: `[B, S, N, D]`.
        scale: of the scores.
        seen: bool `[B, 1 or N, S, S]`, or None.
        bias: added to scaled scores, `[B, N, S, S]`, or None.
        factors: of dropout, `[B, N, S, S]`, or None.
        relations: r `[S, S, D]`, or None.
    """

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    scale: float
    seen: np.ndarray | None = None
    bias: np.ndarray | None = None
    factors: np.ndarray | None = None
    relations: np.ndarray | None = None


class Result(NamedTuple):
    """`largest` and `total` of each row, `[B, N, S]`, and what attention gives, `[B, S, N, D]`."""

    largest: np.ndarray
    total: np.ndarray
    out: np.ndarray


def forward(given: Given) -> Result:
    """Row maxima, sums of exponentials relative to them, and the output."""
    largest, total, weights = _softmax(given)
    return Result(largest, total, _values(given, weights * _factors(given)))


def gradients(given: Given, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of query, key and value for sum(output x cotangent)."""
    _, _, weights = _softmax(given)
    factors, cotangent = _factors(given), cotangent.astype(np.float64)
    query, key, value = (x.astype(np.float64) for x in given[:3])
    dweights = np.einsum("bind,bjnd->bnij", cotangent, value, optimize=True)
    if given.relations is not None:
        dweights = dweights + np.einsum("bind,ijd->bnij", cotangent, given.relations, optimize=True)
    dweights = dweights * factors
    dscores = weights * (dweights - (weights * dweights).sum(-1, keepdims=True)) * given.scale
    dquery = np.einsum("bnij,bjnd->bind", dscores, key, optimize=True)
    if given.relations is not None:
        dquery = dquery + np.einsum("bnij,ijd->bind", dscores, given.relations, optimize=True)
    dkey = np.einsum("bnij,bind->bjnd", dscores, query, optimize=True)
    return dquery, dkey, np.einsum("bnij,bind->bjnd", weights * factors, cotangent, optimize=True)


def _softmax(given: Given) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    query, key = given.query.astype(np.float64), given.key.astype(np.float64)
    scores = np.einsum("bind,bjnd->bnij", query, key, optimize=True)
    if given.relations is not None:
        scores = scores + np.einsum("bind,ijd->bnij", query, given.relations, optimize=True)
    scores = scores * given.scale + (0.0 if given.bias is None else given.bias)
    seen = np.broadcast_to(True if given.seen is None else given.seen, scores.shape)
    largest = np.where(seen, scores, -np.inf).max(-1)
    exponentials = np.where(seen, np.exp(np.where(seen, scores - largest[..., None], 0.0)), 0.0)
    total = exponentials.sum(-1)
    return largest, total, exponentials / np.where(total == 0.0, 1.0, total)[..., None]


def _values(given: Given, weights: np.ndarray) -> np.ndarray:
    out = np.einsum("bnij,bjnd->bind", weights, given.value.astype(np.float64), optimize=True)
    if given.relations is None:
        return out
    return out + np.einsum("bnij,ijd->bind", weights, given.relations, optimize=True)


def _factors(given: Given) -> np.ndarray:
    return np.ones(1) if given.factors is None else given.factors


def relations(table: np.ndarray, length: int) -> np.ndarray:
    """r_ij of NEZHA, float64 `[S, S, D]`, from the table `[2K+1, D]`."""
    reach = (len(table) - 1) // 2
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    return table.astype(np.float64)[np.clip(distance, -reach, reach) + reach]


def error(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference as a share of the largest expected entry; infinite where one is not finite."""
    if not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - expected).max() / (np.abs(expected).max() or 1.0))


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """float32 with the values that fp16, bf16 or fp32 can hold, rounded to the nearest."""
    x = x.astype(np.float32)
    if dtype == "fp16":
        return x.astype(np.float16).astype(np.float32)
    if dtype == "bf16":
        bits = x.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).astype(np.uint32).view(np.float32)
    return x
