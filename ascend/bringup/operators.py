"""The device's operators, called on NumPy arrays: what the checks ask. Tests put a stand-in in their place."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ms_plm.config.precision import DTYPES
from ms_plm_ascend.bringup.oracle import Result

EVERYWHERE = 2147483647
WHOLE_ROWS = 2


class Options(NamedTuple):
    """How the flash operators are configured; see `ms_plm_ascend.ops.flash.FlashOperator`."""

    heads: int
    scale: float
    keep: float = 1.0
    before: int = EVERYWHERE
    after: int = EVERYWHERE


class Vectors(NamedTuple):
    """Inputs of the flash operators.

    Attributes:
        query, key, value: `[B, S, N, D]`.
        hidden: uint8 `[B, 1, S, S]`, 1: not attended to; or None.
        shift: `real_shift` `[B, N, S, S]`, or None.
        bits: of dropout, uint8 `[B, N, S, S / 8]`, or None.
    """

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    hidden: np.ndarray | None = None
    shift: np.ndarray | None = None
    bits: np.ndarray | None = None


class Operators(Protocol):
    """What a device answers with.

    Attributes:
        chip: by common name.
        dtype: compute type of the checks.
    """

    chip: str | None
    dtype: str

    def forward(self, options: Options, vectors: Vectors) -> Result:
        """`FlashAttentionScore`."""

    def gradients(self, options: Options, vectors: Vectors, result: Result, cotangent: np.ndarray) -> tuple:
        """`FlashAttentionScoreGrad`: of query, key and value."""

    def draw(self, keep: float, shape: tuple[int, int, int, int]) -> np.ndarray:
        """`DropoutGenMask` with fixed seeds, in a graph that equal calls share: uint8 `[B, N, S, S / 8]`."""

    def callback(self, x: np.ndarray, rounds: int) -> np.ndarray:
        """x -> x + 1 started by a host callback and x -> 2 x by the graph, so many times in turn, in one graph."""


class AscendOperators:
    """The real ones, in graph mode."""

    def __init__(self, chip: str | None, dtype: str) -> None:
        self.chip, self.dtype = chip, dtype
        self._cells: dict[Any, Any] = {}

    def forward(self, options: Options, vectors: Vectors) -> Result:
        largest, total, out = self._cell("forward", options, vectors)(*self._tensors(vectors))
        return Result(largest.asnumpy()[..., 0], total.asnumpy()[..., 0], out.asnumpy())

    def gradients(self, options: Options, vectors: Vectors, result: Result, cotangent: np.ndarray) -> tuple:
        from mindspore import Tensor

        statistics = [Tensor(np.repeat(x[..., None].astype(np.float32), 8, -1)) for x in (result.largest, result.total)]
        out, cotangent = (self._tensor(x) for x in (result.out, cotangent))
        cell = self._cell("gradient", options, vectors)
        return tuple(x.asnumpy() for x in cell(*self._tensors(vectors), *statistics, out, cotangent))

    def draw(self, keep: float, shape: tuple[int, int, int, int]) -> np.ndarray:
        from ms_plm_ascend.bringup.cells import Draw

        key = ("draw", keep, shape)
        if key not in self._cells:
            self._cells[key] = Draw(keep, shape)
        batch, heads, length, _ = shape
        return self._cells[key]().asnumpy().reshape(batch, heads, length, length // 8)

    def callback(self, x: np.ndarray, rounds: int) -> np.ndarray:
        from mindspore import Tensor

        from ms_plm_ascend.bringup.cells import HostAndDevice

        if rounds not in self._cells:
            self._cells[rounds] = HostAndDevice(rounds)
        return self._cells[rounds](Tensor(x.astype(np.float32))).asnumpy()

    def _tensor(self, x: np.ndarray):
        import mindspore as ms
        from mindspore import Tensor

        return Tensor(x.astype(np.float32)).astype(getattr(ms, DTYPES[self.dtype]))

    def _tensors(self, vectors: Vectors) -> list:
        from mindspore import Tensor

        given = [self._tensor(x) for x in vectors[:3]]
        given.append(None if vectors.shift is None else self._tensor(vectors.shift))
        return given + [None if x is None else Tensor(x.astype(np.uint8)) for x in (vectors.bits, vectors.hidden)]

    def _cell(self, kind: str, options: Options, vectors: Vectors):
        from ms_plm_ascend.bringup.cells import FlashForward, FlashGradient

        key = (kind, options, *(None if x is None else x.shape for x in vectors))
        if key not in self._cells:
            self._cells[key] = (FlashForward if kind == "forward" else FlashGradient)(options)
        return self._cells[key]
