"""Looking up rows of a table that is used once more, and adding gradients of rows, against float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from measured import Measured, largest_error, need
from mindspore import Parameter, Tensor, nn, ops

from ms_plm.kernels import Call, Kernels


class _Tied(Measured):
    """Rows, and a product with the same table."""

    def outputs(self, table, factor, ids):
        rows, again = self.kernel(table, ids)
        return rows, ops.matmul(again, factor)


@pytest.mark.parametrize("form", ["reference", "native"])
def test_both_uses_of_a_table_add_to_its_gradient(form: str) -> None:
    need(form)
    draw = np.random.default_rng(7)
    table, factor = (draw.standard_normal(shape).astype(np.float32) for shape in ((6, 70), (70, 4)))
    ids = draw.integers(0, 6, (3, 5)).astype(np.int32)
    cotangents = [draw.standard_normal(shape).astype(np.float32) for shape in ((3, 5, 70), (6, 4))]
    tied = _Tied(Kernels(Call(training=True), {"tied_lookup": form}).build("tied_lookup"), cotangents, 2)
    expected = cotangents[1].astype(np.float64) @ factor.T
    np.add.at(expected, ids, cotangents[0])
    for _ in range(3):  # what is added in place must not be there at the next step
        (rows, product), (dtable, dfactor) = tied.measure(table, factor, Tensor(ids))
        np.testing.assert_array_equal(rows, table[ids])
        assert largest_error(product, table.astype(np.float64) @ factor) < 1e-6
        assert largest_error(dtable, expected) < 1e-6
        assert largest_error(dfactor, table.T.astype(np.float64) @ cotangents[1]) < 1e-6


class _Sum(nn.Cell):
    """Rows added to a sum of its own, which a graph before it has changed."""

    def __init__(self, form: str, start: np.ndarray) -> None:
        super().__init__()
        self.total = Parameter(Tensor(start), name="total")
        self.add_rows = Kernels(Call(training=True), {"add_rows": form}).build("add_rows")

    def construct(self, rows, ids):
        return self.add_rows(self.total, rows, ids)


@pytest.mark.parametrize("form", ["reference", "native"])
def test_rows_are_added_to_a_sum_where_it_lies(form: str) -> None:
    need(form)
    draw = np.random.default_rng(8)
    start = draw.standard_normal((6, 70)).astype(np.float32)
    cell, expected = _Sum(form, start), start.astype(np.float64)
    for _ in range(3):
        rows = draw.standard_normal((3, 5, 70)).astype(np.float32)
        ids = draw.integers(0, 5, (3, 5)).astype(np.int32)
        assert cell(Tensor(rows), Tensor(ids)).shape == (1,)
        np.add.at(expected, ids, rows)
        assert largest_error(cell.total.asnumpy(), expected) < 1e-6
    np.testing.assert_array_equal(cell.total.asnumpy()[5], start[5])
