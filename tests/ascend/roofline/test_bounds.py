"""A kind of operation takes as long as the slowest part of the chip needs for it."""

from __future__ import annotations

import pytest

from ms_plm.config.chips import CHIPS
from ms_plm_ascend.roofline.bounds import bound, bounds, rates
from ms_plm_ascend.roofline.counts import Work


@pytest.mark.parametrize(
    ("work", "part", "seconds"),
    [
        (Work("a", "gemm", products=295e12, vector=1, bytes=1.6e12 / 2), "matrix", 1.0),
        (Work("b", "x", products=1, vector=1, bytes=3.2e12), "memory", 2.0),
        (Work("c", "x", vector=9.2e12, bytes=1), "vector", 2.0),
        (Work("d", "exchange", bytes=1, link=200e9), "link", 2.0),
    ],
)
def test_the_slowest_part_sets_the_time(work: Work, part: str, seconds: float) -> None:
    found = bound(work, CHIPS["910B3"])
    assert found.part == part
    assert found.seconds == pytest.approx(seconds, rel=0.01)


@pytest.mark.parametrize(
    ("chip", "units", "clock"), [("910A", 32, 1.0), ("910B1", 48, 1.85), ("910B3", 40, 1.8), ("910B4", 40, 1.5)]
)
def test_vector_rates_follow_from_units_and_clock(chip: str, units: int, clock: float) -> None:
    assert rates(CHIPS[chip])["vector"] == pytest.approx(units * 64 * clock * 1e9, rel=0.01)


def test_works_of_one_name_do_not_hide_behind_each_other() -> None:
    """One second of products and one second of memory are two, though their sum would be bound by either for one."""
    large, small = Work("MatMul", "gemm", products=295e12), Work("MatMul", "gemm", bytes=1.6e12 * 0.9)
    (both,) = bounds([large, small], CHIPS["910B3"])
    assert both.seconds == pytest.approx(1.9, rel=0.01)
    assert (both.part, both.work.products, both.work.bytes) == ("matrix", 295e12, 1.6e12 * 0.9)


def test_the_longest_comes_first() -> None:
    works = [Work("short", "x", bytes=1e9), Work("long", "x", bytes=2e9)]
    assert [item.work.name for item in bounds(works, CHIPS["910A"])] == ["long", "short"]
