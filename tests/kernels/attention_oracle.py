"""Attention in float64 NumPy, forward and with analytic gradients, to hold every form against; shares no code with it.

s_ij = q_i . (k_j + r_ij) / sqrt(D) + mask_ij [+ MASKED where j is ahead of i], p = softmax(s) * head_mask,
w = p * factors, o_i = sum_j w_ij (v_j + r_ij), r_ij = table[clip(j - i - offset, -K, K) + K] (none without a table).
Arrays are packed as kernels take them: `[B, S, N*D]`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

MASKED = -10000.0


@dataclass(frozen=True, eq=False)
class Attention:
    """What attention computes from.

    Attributes:
        heads: N.
        query: `[B, S_q, N*D]`.
        key, value: `[B, S_k, N*D]`.
        mask: added to the scores, `[B, 1, 1 or S_q, S_k]`.
        table: rows of relative positions `[2K+1, D]`, or None.
        head_mask: `[N]`, or None.
        factors: what dropout multiplies probabilities with, `[B, N, S_q, S_k]`, or None.
        causal: keys ahead of a query are masked.
        offset: query i stands at position i + offset.
    """

    heads: int
    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    mask: np.ndarray
    table: np.ndarray | None = None
    head_mask: np.ndarray | None = None
    factors: np.ndarray | None = None
    causal: bool = False
    offset: int = 0

    @property
    def differentiable(self) -> dict[str, np.ndarray]:
        """Inputs that have a gradient, by name."""
        names = ("query", "key", "value", "table", "head_mask")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def outputs(self) -> dict[str, np.ndarray]:
        """float64 `context` `[B, S_q, N*D]`, `scores` (masked) and `probabilities` (after head_mask, before dropout),
        both `[B, N, S_q, S_k]`."""
        return _Evaluated(self).outputs

    def gradients(self, cotangents: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Gradients of sum(output x cotangent), by the names of `differentiable`; outputs not named count nothing."""
        return _Evaluated(self).gradients(cotangents)

    def head_mask_scale(self, cotangents: dict[str, np.ndarray]) -> float:
        """Root of the sum of squares of what the gradient of head_mask adds up, the largest of the heads.

        These B * S_q * S_k terms have either sign and can cancel, their rounding errors do not.
        """
        return float(np.sqrt((_Evaluated(self).head_mask_terms(cotangents) ** 2).sum((0, 2, 3)).max()))

    def of(self, **changed) -> Attention:
        """The same with other inputs."""
        return replace(self, **changed)


def relative_error(got: np.ndarray, expected: np.ndarray, scale: float = 0.0) -> float:
    """Largest absolute difference of any entry, divided by the largest absolute entry of the whole expected array.

    Divided by `scale` where that is larger; not divided where both are 0.
    """
    assert got.shape == expected.shape
    assert np.isfinite(got).all()
    return float(np.abs(got - expected).max() / (max(np.abs(expected).max(), scale) or 1.0))


class _Evaluated:
    def __init__(self, given: Attention) -> None:
        self.given = given
        self.query, self.key, self.value = (self._split(array) for array in (given.query, given.key, given.value))
        self.scale = 1.0 / np.sqrt(self.query.shape[-1])
        distance = np.arange(self.key.shape[2])[None, :] - np.arange(self.query.shape[2])[:, None] - given.offset
        if given.table is not None:
            self.table = given.table.astype(np.float64)
            reach = (len(self.table) - 1) // 2
            self.rows = np.clip(distance, -reach, reach) + reach
        scores = (self.query @ self.key.swapaxes(2, 3) + self._with_rows(self.query)) * self.scale + given.mask
        if given.causal:
            scores = scores + MASKED * (distance > 0)
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        self.softmax = exponentials / exponentials.sum(-1, keepdims=True)
        self.head_mask = np.ones(1) if given.head_mask is None else given.head_mask.astype(np.float64)
        self.factors = np.ones(1) if given.factors is None else given.factors
        probabilities = self.softmax * self.head_mask[:, None, None]
        self.weights = probabilities * self.factors
        context = self._pack(self.weights @ self.value + self._of_rows(self.weights))
        self.outputs = {"context": context, "scores": scores, "probabilities": probabilities}

    def gradients(self, cotangents: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        context, probabilities = self._context(cotangents), self._probabilities(cotangents)
        softmax = probabilities * self.head_mask[:, None, None]
        scores = self.softmax * (softmax - (softmax * self.softmax).sum(-1, keepdims=True))
        scores = (scores + cotangents.get("scores", 0.0)) * self.scale
        gradients = {
            "query": self._pack(scores @ self.key + self._of_rows(scores)),
            "key": self._pack(scores.swapaxes(2, 3) @ self.query),
            "value": self._pack(self.weights.swapaxes(2, 3) @ context),
            "head_mask": self.head_mask_terms(cotangents).sum((0, 2, 3)),
        }
        if self.given.table is not None:
            by_row = np.einsum("bnir,bnid->rd", self._sums(scores), self.query, optimize=True)
            gradients["table"] = by_row + np.einsum("bnir,bnid->rd", self._sums(self.weights), context, optimize=True)
        return {name: gradients[name] for name in self.given.differentiable}

    def head_mask_terms(self, cotangents: dict[str, np.ndarray]) -> np.ndarray:
        return self._probabilities(cotangents) * self.softmax

    def _context(self, cotangents: dict[str, np.ndarray]) -> np.ndarray:
        return self._split(cotangents.get("context", np.zeros_like(self.outputs["context"])))

    def _probabilities(self, cotangents: dict[str, np.ndarray]) -> np.ndarray:
        context = self._context(cotangents)
        weights = context @ self.value.swapaxes(2, 3) + self._with_rows(context)
        return weights * self.factors + cotangents.get("probabilities", 0.0)

    def _split(self, x: np.ndarray) -> np.ndarray:
        batch, length, _ = x.shape
        return x.astype(np.float64).reshape(batch, length, self.given.heads, -1).transpose(0, 2, 1, 3)

    def _pack(self, x: np.ndarray) -> np.ndarray:
        return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)

    def _with_rows(self, x: np.ndarray) -> np.ndarray:
        """x_i . r_ij."""
        if self.given.table is None:
            return np.zeros(1)
        products = x @ self.table.T
        return np.take_along_axis(products, np.broadcast_to(self.rows, (*x.shape[:2], *self.rows.shape)), axis=3)

    def _of_rows(self, x: np.ndarray) -> np.ndarray:
        """sum_j x_ij r_ij."""
        return np.zeros(1) if self.given.table is None else self._sums(x) @ self.table

    def _sums(self, x: np.ndarray) -> np.ndarray:
        """x `[B, N, S_q, S_k]` added up over the keys with the same row of the table: `[B, N, S_q, 2K+1]`."""
        batch, heads, length, _ = x.shape
        width = len(self.table)
        row = np.arange(batch * heads * length).reshape(batch, heads, length, 1)
        flat = np.bincount((row * width + self.rows).ravel(), x.ravel(), batch * heads * length * width)
        return flat.reshape(batch, heads, length, width)
