"""`tied_lookup(table [V, H], ids int32 [...]) -> rows [..., H], table [V, H]`: rows of a table that is used once more.

    rows, table = kernels.build("tied_lookup")(embedding, input_ids)

The second result is the table for its other use (the product with the word embeddings in a masked-LM head). Its
gradient arrives before that of the rows, which can then be added to it: one dense gradient instead of two and a sum.
A caller must use both results, in such a way that the table's gradient is computed anew at every step.

`add_rows(total [V, H], rows [..., H], ids int32 [...]) -> fp32 [1]`: adds rows to those of a sum that the ids name,
where it lies; `total` is a parameter. What it returns says that this is done, and must be waited for.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation


class TiedLookup(nn.Cell):
    """The framework's own gradients, added by it."""

    def __init__(self, call: Call) -> None:
        super().__init__()

    def construct(self, table, ids):
        return ops.gather(table, ids, 0), table


class AddRows(nn.Cell):
    """The framework's `scatter_add`."""

    def __init__(self, call: Call) -> None:
        super().__init__()

    def construct(self, total, rows, ids):
        return ops.depend(ops.zeros((1,), ms.float32), ops.scatter_add(total, ids, rows))


IMPLEMENTATIONS = (
    Implementation("tied_lookup", "reference", ALL_DEVICES, TiedLookup),
    Implementation("add_rows", "reference", ALL_DEVICES, AddRows),
)
