"""Adding the gradient of looked-up rows to that of their table, on arrays."""

from __future__ import annotations

import numpy as np
import pytest
from symbols import normal, relative_error, run, threads

pytestmark = pytest.mark.usefixtures("native")


def _ids(*shape: int, entries: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, entries, shape).astype(np.int32)


@pytest.mark.parametrize(("shape", "entries", "width"), [((3, 50), 20, 200), ((1,), 1, 1), ((7,), 5, 65), ((0,), 3, 4)])
def test_rows_are_added_where_they_were_looked_up(shape, entries, width):
    table, rows, ids = normal(entries, width), normal(*shape, width), _ids(*shape, entries=entries)
    wanted = table.astype(np.float64)
    np.add.at(wanted, ids.reshape(-1), rows.reshape(-1, width).astype(np.float64))
    run("add_rows", table, rows, ids, outputs=[(1,)])
    assert relative_error(table, wanted) < 1e-6


def test_ids_outside_the_table_are_left_out():
    table, rows = normal(4, 8), normal(3, 8)
    wanted = table.copy()
    wanted[2] += rows[1]
    run("add_rows", table, rows, np.array([-1, 2, 4], np.int32), outputs=[(1,)])
    np.testing.assert_array_equal(table, wanted)


def test_the_sum_does_not_depend_on_threads():
    given = normal(30, 300), normal(400, 300), _ids(400, entries=30)
    sums = []
    for number in (1, 2, 4):
        table = given[0].copy()
        with threads(number):
            run("add_rows", table, *given[1:], outputs=[(1,)])
        sums.append(table)
    np.testing.assert_array_equal(sums[0], sums[1])
    np.testing.assert_array_equal(sums[0], sums[2])
