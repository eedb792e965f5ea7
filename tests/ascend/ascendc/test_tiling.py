"""How the operators cut their work: all of it, once, and never more memory than a core has."""

from __future__ import annotations

import itertools

import pytest

from ms_plm_ascend.ascendc.library import UB_BYTES, Library
from ms_plm_ascend.ascendc.operators import LONGEST, MOST_PARTS, WIDEST

FORWARD = ("rows", "width", "cores", "tile_rows", "buffers", "pitch", "keep_pitch", "drops", "bytes")
BACKWARD = ("rows", "width", "cores", "parts", "tile_rows", "buffers", "pitch", "keep_pitch", "drops", "bytes")
BLOCK = (
    *("batch", "heads", "length", "size", "rows", "blocks", "cores", "mask_rows"),
    *("drops", "pitch", "wide", "keep_pitch", "bytes"),
)
ATTENTION = ("plm_plan_attention", "plm_plan_attention_grad")
RESERVED = 8 * 1024
"""Bytes of UB that the interface may take for itself."""


def covered(twin: Library, total: int, cores: int) -> list[int]:
    return [item for core in range(cores) for item in twin.share(total, cores, core)]


@pytest.mark.parametrize(("total", "cores"), [(1, 1), (7, 7), (40, 40), (41, 40), (8192, 40), (8192, 48), (240, 48)])
def test_shares_are_everything_once_in_order_and_nearly_equal(twin: Library, total: int, cores: int) -> None:
    assert covered(twin, total, cores) == list(range(total))
    sizes = {len(twin.share(total, cores, core)) for core in range(cores)}
    assert max(sizes) - min(sizes) <= 1


ROWS = (1, 3, 39, 40, 41, 500, 8192)
WIDTHS = (8, 64, 256, 312, 768, 1024, 2056, 4096)


@pytest.mark.parametrize("cores", [1, 7, 40, 48])
def test_every_row_of_layer_norm_is_in_one_tile_and_tiles_fit(twin: Library, cores: int) -> None:
    for rows, width, drops, number in itertools.product(ROWS, WIDTHS, (0, 1), (2, 4)):
        plan = twin.plan("plm_plan_layer_norm", rows, width, drops, number, cores, UB_BYTES, fields=FORWARD)
        assert plan["bytes"] <= UB_BYTES - RESERVED, plan
        assert plan["pitch"] * number % 32 == plan["keep_pitch"] % 32 == 0
        assert width <= min(plan["pitch"], 8 * plan["keep_pitch"])
        assert 1 <= plan["cores"] <= cores
        done = []
        for core in range(plan["cores"]):
            share = twin.share(rows, plan["cores"], core)
            for first in range(share.start, share.stop, plan["tile_rows"]):
                done += range(first, min(first + plan["tile_rows"], share.stop))
        assert done == list(range(rows)), plan


@pytest.mark.parametrize("cores", [1, 7, 40, 48])
def test_parts_of_the_gradient_do_not_depend_on_the_cores_and_are_all_rows_once(twin: Library, cores: int) -> None:
    for rows, width, drops, number in itertools.product(ROWS, WIDTHS, (0, 1), (2, 4)):
        plan = twin.plan("plm_plan_layer_norm_grad", rows, width, drops, number, cores, UB_BYTES, fields=BACKWARD)
        assert plan["bytes"] <= UB_BYTES - RESERVED, plan
        assert plan["parts"] == min(rows, MOST_PARTS)
        parts = covered(twin, plan["parts"], plan["cores"])
        done = []
        for part in parts:
            range_ = twin.share(rows, plan["parts"], part)
            for first in range(range_.start, range_.stop, plan["tile_rows"]):
                done += range(first, min(first + plan["tile_rows"], range_.stop))
        assert done == list(range(rows)), plan


@pytest.mark.parametrize("symbol", ATTENTION)
@pytest.mark.parametrize("cores", [1, 7, 40, 48])
def test_every_query_is_in_one_block_and_blocks_fit(twin: Library, symbol: str, cores: int) -> None:
    lengths, sizes = (1, 2, 15, 16, 37, 64, 128, 200, 333, 384, 511, 512), (16, 32, 64, 128)
    for length, size, square, drops in itertools.product(lengths, sizes, (False, True), (0, 1)):
        drops = drops if length % 8 == 0 else 0
        mask_rows = length if square else 1
        plan = twin.plan(symbol, 3, 5, length, size, mask_rows, drops, cores, UB_BYTES, fields=BLOCK)
        assert plan["bytes"] <= UB_BYTES - RESERVED, plan
        blocks = [range(b * plan["rows"], min((b + 1) * plan["rows"], length)) for b in range(plan["blocks"])]
        assert [row for block in blocks for row in block] == list(range(length))
        units = 15 if symbol.endswith("grad") else 15 * plan["blocks"]
        assert plan["cores"] == min(cores, units)
        # a line, and zeros for the lines beside it: what makes the skewed reading right
        assert plan["wide"] >= length + plan["rows"] - 1
        assert plan["wide"] % 16 == 0
        assert max(plan["pitch"] // 8, plan["wide"] // 16) <= 255, "strides of vector instructions"


def test_what_does_not_fit_is_declined(twin: Library) -> None:
    def forward(*numbers):
        return twin.plan("plm_plan_layer_norm", *numbers, fields=FORWARD)

    assert forward(4, WIDEST, 0, 4, 40, UB_BYTES)
    assert forward(4, WIDEST + 1, 0, 4, 40, UB_BYTES) is None
    assert forward(4, 4096, 0, 4, 40, 64 * 1024) is None, "a row does not fit in so little memory"
    assert forward(4, 100, 1, 2, 40, UB_BYTES) is None, "bits of a row end inside a byte"
    for symbol in ATTENTION:
        for length, size, mask_rows, drops, good in (
            (LONGEST, 64, 1, 1, True),
            (LONGEST + 1, 64, 1, 0, False),
            (37, 64, 1, 1, False),
            (32, 40, 1, 0, False),
            (32, 64, 2, 0, False),
        ):
            plan = twin.plan(symbol, 1, 1, length, size, mask_rows, drops, 40, UB_BYTES, fields=BLOCK)
            assert (plan is not None) == good, (symbol, length, size, mask_rows, drops)
