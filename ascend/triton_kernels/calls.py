"""How the kernels are called: sizes, outputs and the order of launches, for any kind of tensor.

A runner knows the tensors and how a kernel is started: the device's (`ms_plm_ascend.ops.triton`), Triton's interpreter
(`interpreter.py`), or the lowered code on the CPU (`execute.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

NOTHING_DROPPED = 65536
"""The threshold of 16-bit draws that keeps all."""
PARTS = 48
"""Programs of `norm_backward`, whose sums are added in this order: as many as the largest Ascend has vector cores, and
the same everywhere, so that a gradient does not depend on the chip."""

LARGEST_HEAD, LARGEST_TOKEN = 112, 5120
"""Sizes of heads and of tokens, for normalization, that fit a vector core's memory by the estimate of `memory.py`."""
BLOCK = 3072
"""Numbers of a block of normalization: what is live at once takes half of a vector core's memory (`memory.py`)."""


class Runner(Protocol):
    """What starts kernels."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A tensor whose numbers a kernel is to write; the dtype is that of another tensor."""

    def programs(self, tasks: int, multiplies: bool) -> int:
        """Programs to start for so many tiles; at least 1. `multiplies`: the kernel has products of matrices."""

    def run(self, kernel: str, programs: int, arguments: dict[str, Any], constants: dict[str, Any]) -> None:
        """Start a kernel with arguments and compile-time constants by name."""


@dataclass(frozen=True)
class Dropout:
    """A place of dropout, see `DropoutSite`; without arguments: nothing is dropped.

    Attributes:
        base: int32, what the hash adds for this place.
        threshold: 16-bit draws below it are kept.
    """

    base: int = 0
    threshold: int = NOTHING_DROPPED

    @property
    def drops(self) -> bool:
        return self.threshold < NOTHING_DROPPED

    @property
    def arguments(self) -> dict[str, float]:
        """Of kernels that may drop."""
        return {
            "base": self.base,
            "threshold": float(self.threshold),
            "amplify": NOTHING_DROPPED / self.threshold,
        }


@dataclass(frozen=True)
class Attention:
    """`relative_attention` of one configuration; tensors as in `attention.py`.

    Attributes:
        heads, size, reach: N, D, K.
        dropout: of the probabilities.
        queries, keys: rows of a tile. By the estimate of `memory.py` these fit one vector core, so that they fit where
            the compiler does not share a tile between the two beside a cube unit, and leave room where it does.
    """

    heads: int
    size: int
    reach: int
    dropout: Dropout = Dropout()
    queries: int = 32
    keys: int = 64

    def forward(self, runner: Runner, query, key, value, mask, keys, phi, cosines, sines, outer, swap):
        """out `[B, S, N, D]` and logsum fp32 `[B, N, S]`."""
        batch, length = query.shape[:2]
        out, logsum = runner.empty(query.shape, query.dtype), runner.empty((batch, self.heads, length), mask.dtype)
        given = {"query": query, "key": key, "value": value, "mask": mask, "keys": keys, "phi": phi}
        given |= {"cosines": cosines, "sines": sines, "outer": outer, "swap": swap, "out": out, "logsum": logsum}
        self._run(runner, "attention_forward", given, query, self.queries)
        return out, logsum

    def backward(
        self, runner: Runner, query, key, value, mask, keys, phi, cosines, sines, outer, swap, out, logsum, dout
    ):
        """Gradients of query, key and value."""
        batch, length = query.shape[:2]
        query_turned, dout_turned, dquery, dkey, dvalue = (runner.empty(query.shape, query.dtype) for _ in range(5))
        rows = runner.empty((batch, self.heads, 5, length), mask.dtype)
        turning = {"cosines": cosines, "sines": sines, "outer": outer, "swap": swap}
        given = {"query": query, "out": out, "dout": dout, "rows": rows}
        given |= {"query_turned": query_turned, "dout_turned": dout_turned}
        self._run(runner, "attention_rows", given | turning, query, self.queries)
        given = {"query": query, "key": key, "value": value, "mask": mask, "keys": keys, "phi": phi, "dout": dout}
        given |= {"logsum": logsum, "query_turned": query_turned, "dout_turned": dout_turned, "rows": rows}
        self._run(runner, "attention_dquery", given | turning | {"dquery": dquery}, query, self.queries)
        self._run(runner, "attention_dkey_dvalue", given | {"dkey": dkey, "dvalue": dvalue}, query, self.keys)
        return dquery, dkey, dvalue

    def constants(self, kernel: str) -> dict[str, int]:
        """Compile-time constants of a kernel."""
        if kernel == "attention_rows":
            return {"D": self.size, "QUERIES": self.queries}
        tiles = {"QUERIES": self.queries, "KEYS": self.keys}
        return {"D": self.size, "K": self.reach, **tiles, "DROPOUT": self.dropout.drops}

    def _run(self, runner: Runner, kernel: str, tensors: dict[str, Any], query, tile: int) -> None:
        batch, length = query.shape[:2]
        arguments = {**tensors, "batch": batch, "length": length, "heads": self.heads}
        if kernel != "attention_rows":
            arguments |= {"scale": 1.0 / math.sqrt(self.size), **self.dropout.arguments}
        programs = runner.programs(batch * self.heads * math.ceil(length / tile), multiplies=True)
        runner.run(kernel, programs, arguments, self.constants(kernel))


@dataclass(frozen=True)
class Norm:
    """`dropout_add_layer_norm` of one configuration; tensors as in `normalization.py`.

    Attributes:
        size: H.
        epsilon: added to the variance.
        dropout: of x.
        rows: tokens of a block; None: about `BLOCK` numbers of each tensor.
    """

    size: int
    epsilon: float
    dropout: Dropout = Dropout()
    rows: int | None = None

    @property
    def block(self) -> int:
        """Tokens of a block."""
        return self.rows or max(1, BLOCK // self.size)

    def forward(self, runner: Runner, x, residual, weight, bias, keys):
        """y `[B, S, H]`, mean and inverse `[B, S]`, fp32."""
        y = runner.empty(x.shape, residual.dtype)
        mean, inverse = (runner.empty(x.shape[:2], residual.dtype) for _ in range(2))
        given = {"x": x, "residual": residual, "weight": weight, "bias": bias, "keys": keys}
        given |= {"y": y, "mean": mean, "inverse": inverse, "epsilon": self.epsilon}
        blocks = x.shape[0] * math.ceil(x.shape[1] / self.block)
        self._run(runner, "norm_forward", runner.programs(blocks, multiplies=False), given, x)
        return y, mean, inverse

    def backward(self, runner: Runner, x, residual, weight, keys, mean, inverse, dy):
        """Gradients of x and residual `[B, S, H]`, and parts of those of weight and bias to add up: `[PARTS, 2, H]`."""
        dx, dresidual = runner.empty(x.shape, x.dtype), runner.empty(x.shape, residual.dtype)
        partial = runner.empty((PARTS, 2, self.size), residual.dtype)
        given = {"x": x, "residual": residual, "weight": weight, "keys": keys, "mean": mean, "inverse": inverse}
        given |= {"dy": dy, "dx": dx, "dresidual": dresidual, "partial": partial}
        self._run(runner, "norm_backward", PARTS, given, x)
        return dx, dresidual, partial

    def constants(self, kernel: str) -> dict[str, int]:
        """Compile-time constants of a kernel."""
        return {"ROWS": self.block, "COLUMNS": self.size, "DROPOUT": self.dropout.drops}

    def _run(self, runner: Runner, kernel: str, programs: int, given: dict[str, Any], x) -> None:
        sizes = {"batch": x.shape[0], "length": x.shape[1], "size": self.size}
        runner.run(kernel, programs, {**given, **sizes, **self.dropout.arguments}, self.constants(kernel))
