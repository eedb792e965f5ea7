"""`tied_lookup(table [V, H], ids int32 [...]) -> rows [..., H], table [V, H]`: rows of a table that is used once more.

    rows, table = kernels.build("tied_lookup")(embedding, input_ids)

The second result is the table for its other use (the product with the word embeddings in a masked-LM head). Its
gradient arrives before that of the rows, which can then be added to it: one dense gradient instead of two and a sum.
A caller must use both results, in such a way that the table's gradient is computed anew at every step.
"""

from __future__ import annotations

from mindspore import nn, ops

from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation


class TiedLookup(nn.Cell):
    """The framework's own gradients, added by it."""

    def __init__(self, call: Call) -> None:
        super().__init__()

    def construct(self, table, ids):
        return ops.gather(table, ids, 0), table


IMPLEMENTATIONS = (Implementation("tied_lookup", "reference", ALL_DEVICES, TiedLookup),)
