"""`add_rows`, and `tied_lookup` with a gradient made of it, in C++ (src/embedding.cc)."""

from __future__ import annotations

import functools

import mindspore as ms
from mindspore import nn, ops

from ms_plm.kernels.native.library import for_native, operation
from ms_plm.kernels.registry import Call, Implementation


@functools.cache
def _add_rows() -> ops.Custom:
    return operation("add_rows", lambda table, rows, ids: [1], lambda *types: ms.float32)


class NativeTiedLookup(nn.Cell):
    """Adds the gradient of the rows to that of the table where it lies: no second `[V, H]`, no sum of two."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.add_rows = _add_rows()

    def construct(self, table, ids):
        return ops.gather(table, ids, 0), table

    def bprop(self, table, ids, out, dout):
        drows, dtable = dout
        added = self.add_rows(dtable, drows, ids)
        return ops.depend(dtable, added), ops.zeros_like(ids)


class NativeAddRows(nn.Cell):
    """One token after the other: the order is fixed, whatever the number of threads."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.add_rows = _add_rows()

    def construct(self, total, rows, ids):
        return self.add_rows(total, rows, ids)


IMPLEMENTATIONS = (
    Implementation("tied_lookup", "native", ("cpu",), NativeTiedLookup, for_native, preference=30),
    Implementation("add_rows", "native", ("cpu",), NativeAddRows, for_native, preference=30),
)
