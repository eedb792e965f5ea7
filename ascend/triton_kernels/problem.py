"""Random problems for the kernels, with results in float64 from the definitions: what a check compares with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ms_plm.common import rng
from ms_plm_ascend.triton_kernels.calls import Attention, Dropout, Norm, Runner

OPERATION = 3
"""Number of the place of dropout."""


def dropout_of(probability: float) -> Dropout:
    """The place `OPERATION`; 0: nothing is dropped."""
    if not probability:
        return Dropout()
    with np.errstate(over="ignore"):
        return Dropout(int(np.int32(OPERATION) * rng.OPERATION), rng.keep_threshold(probability))


def _factors(keys: np.ndarray, shape: tuple[int, ...], dropout: Dropout) -> np.ndarray:
    """What dropout multiplies with."""
    if not dropout.drops:
        return np.ones(shape)
    kept = np.empty((len(keys), int(np.prod(shape[1:]))), np.bool_)
    rng.keep_mask(keys, OPERATION, kept.shape[1], dropout.threshold, kept)
    return kept.reshape(shape) * (65536 / dropout.threshold)


def positions(length: int, size: int, reach: int, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """phi, cosines, sines, outer and swap of `attention.py`, for positions 0 .. length - 1 and K = reach."""
    column = np.arange(size)
    frequency, odd = np.power(10000.0, -2.0 * (column // 2) / size), column % 2

    def waves(place: np.ndarray) -> np.ndarray:
        return np.where(odd, np.cos(place[:, None] * frequency), np.sin(place[:, None] * frequency))

    turn = (np.arange(length) - reach)[:, None] * frequency
    outer, swap = waves(np.array([0, 2 * reach])), np.eye(size)[column ^ 1]
    sines = np.sin(turn) * np.where(odd, -1, 1)
    single = [array.astype(np.float32) for array in (np.cos(turn), sines, outer)]
    return waves(np.arange(length)).astype(dtype), *single, swap.astype(dtype)


@dataclass(frozen=True)
class AttentionProblem:
    """A call of `relative_attention`; `padded`: masked keys of the last sample."""

    batch: int
    length: int
    call: Attention
    padded: int = 0
    dtype: type = np.float16

    def drawn(self) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """query, key, value and the gradient of out, `[B, S, N, D]`; mask; keys."""
        draw = np.random.default_rng(self.length)
        shape = (self.batch, self.length, self.call.heads, self.call.size)
        tensors = [draw.standard_normal(shape).astype(self.dtype) for _ in range(4)]
        mask = np.zeros((self.batch, self.length), np.float32)
        mask[-1, self.length - self.padded :] = -1e4
        return tensors, mask, rng.sample_keys(1, 0, np.arange(self.batch), rng.DROPOUT)

    def run(self, runner: Runner) -> dict[str, np.ndarray]:
        """out and the gradients of query, key and value, by the kernels."""
        (query, key, value, dout), mask, keys = self.drawn()
        given = (query, key, value, mask, keys)
        given += positions(self.length, self.call.size, self.call.reach, self.dtype)
        out, logsum = self.call.forward(runner, *given)
        gradients = self.call.backward(runner, *given, out, logsum, dout)
        return dict(zip(("out", "dquery", "dkey", "dvalue"), (out, *gradients), strict=True))

    def expected(self) -> dict[str, np.ndarray]:
        """The same in float64, with the table gathered to `[S, S, D]`."""
        tensors, mask, keys = self.drawn()
        query, key, value, dout = (array.astype(np.float64).transpose(0, 2, 1, 3) for array in tensors)
        reach, size, place = self.call.reach, self.call.size, np.arange(self.length)
        rows = positions(2 * reach + 1, size, reach, np.float64)[0]
        relative = rows[np.clip(place[None, :] - place[:, None], -reach, reach) + reach]
        factors = _factors(keys, (self.batch, self.call.heads, self.length, self.length), self.call.dropout)
        scale = 1.0 / np.sqrt(size)
        scores = query @ key.swapaxes(2, 3) + np.einsum("bnid,ijd->bnij", query, relative, optimize=True)
        scores = scores * scale + mask[:, None, None]
        softmax = np.exp(scores - scores.max(-1, keepdims=True))
        softmax /= softmax.sum(-1, keepdims=True)
        weights = softmax * factors
        out = weights @ value + np.einsum("bnij,ijd->bnid", weights, relative, optimize=True)
        dweights = dout @ value.swapaxes(2, 3) + np.einsum("bnid,ijd->bnij", dout, relative, optimize=True)
        dsoftmax = dweights * factors
        dscores = softmax * (dsoftmax - (dsoftmax * softmax).sum(-1, keepdims=True)) * scale
        results = {
            "out": out,
            "dquery": dscores @ key + np.einsum("bnij,ijd->bnid", dscores, relative, optimize=True),
            "dkey": dscores.swapaxes(2, 3) @ query,
            "dvalue": weights.swapaxes(2, 3) @ dout,
        }
        return {name: array.transpose(0, 2, 1, 3) for name, array in results.items()}


@dataclass(frozen=True)
class NormProblem:
    """A call of `dropout_add_layer_norm`."""

    batch: int
    length: int
    call: Norm
    dtype: type = np.float16

    def drawn(self) -> tuple[list[np.ndarray], np.ndarray]:
        """x, residual, weight, bias and the gradient of y; keys."""
        draw = np.random.default_rng(self.length)
        shape, vector = (self.batch, self.length, self.call.size), (self.call.size,)
        arrays = [draw.standard_normal(s).astype(np.float32) + 0.5 for s in (shape, shape, vector, vector, shape)]
        return [arrays[0].astype(self.dtype), *arrays[1:]], rng.sample_keys(1, 0, np.arange(self.batch), rng.DROPOUT)

    def run(self, runner: Runner) -> dict[str, np.ndarray]:
        """y and all gradients, by the kernels."""
        (x, residual, weight, bias, dy), keys = self.drawn()
        y, mean, inverse = self.call.forward(runner, x, residual, weight, bias, keys)
        dx, dresidual, partial = self.call.backward(runner, x, residual, weight, keys, mean, inverse, dy)
        dweight, dbias = partial.sum(0)
        return {"y": y, "dx": dx, "dresidual": dresidual, "dweight": dweight, "dbias": dbias}

    def expected(self) -> dict[str, np.ndarray]:
        """The same in float64."""
        arrays, keys = self.drawn()
        x, residual, weight, bias, dy = (array.astype(np.float64) for array in arrays)
        factors = _factors(keys, x.shape, self.call.dropout)
        h = x * factors + residual
        centred = h - h.mean(-1, keepdims=True)
        inverse = 1.0 / np.sqrt((centred**2).mean(-1, keepdims=True) + self.call.epsilon)
        z, g = centred * inverse, dy * weight
        dh = inverse * (g - g.mean(-1, keepdims=True) - z * (g * z).mean(-1, keepdims=True))
        sums = {"dweight": (dy * z).sum((0, 1)), "dbias": dy.sum((0, 1))}
        return {"y": z * weight + bias, "dx": dh * factors, "dresidual": dh, **sums}


def errors(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest difference of each result, as a share of its largest expected number; infinite if any is not finite."""

    def error(numbers: np.ndarray, wanted: np.ndarray) -> float:
        if not np.isfinite(numbers).all():
            return float("inf")
        return float(np.abs(numbers - wanted).max() / np.abs(wanted).max())

    return {name: error(got[name], wanted) for name, wanted in expected.items()}
