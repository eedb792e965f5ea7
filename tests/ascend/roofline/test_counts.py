"""Counts of a step against sums made by hand and by enumeration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ms_plm.config.model import ModelConfig
from ms_plm.training.throughput import parameter_count
from ms_plm_ascend.roofline.counts import ATTENTION, Step, attention, blocks, count, gemm, gemms, regions, update
from ms_plm_ascend.roofline.counts import useful_products as useful

LARGE = ModelConfig(
    vocab_size=21128, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
STEP = Step(LARGE, batch=96, length=128, masked=96 * 20)


def total(works, need: str) -> float:
    return sum(getattr(work, need) for work in works)


def test_a_product_with_its_two_gradients() -> None:
    work = gemm("x", rows=10, inputs=3, outputs=7)
    assert work.products == 3 * 2 * 10 * 3 * 7
    assert work.bytes == 3 * 2 * (30 + 21 + 70) + 21 * (4 + 2 + 2 + 4)


def test_layers_take_six_operations_a_weight_and_token() -> None:
    """Kaplan's 6 N per token: of 24 layers of 12 H^2 weights, and of the head at predicted positions alone."""
    weights, tokens = 24 * 12 * 1024**2, 96 * 128
    head = 6 * 96 * 20 * (1024**2 + 1024 * 21128) + 6 * 96 * (1024**2 + 2 * 1024)
    assert total(gemms(STEP), "products") == 6 * weights * tokens + head
    nearly_all = parameter_count(LARGE) - 21128 * 1024
    assert total(gemms(STEP)[: 4 * 24], "products") == pytest.approx(6 * nearly_all * tokens, rel=0.01)


@pytest.mark.parametrize(
    ("form", "products"),
    [
        ("naive_absolute", 4 + 8),  # q k, p v; each with two gradients
        ("naive", 8 + 12),  # and q r, p r, whose table has none
        ("flash", 4 + 10),  # the gradient makes the scores anew
    ],
)
def test_products_of_attention_in_full(form: str, products: int) -> None:
    pairs = 96 * 16 * 128**2
    assert total(attention(replace(STEP, attention=form)), "products") == 24 * products * pairs * 64


def test_what_cannot_be_avoided_is_below_every_form() -> None:
    relative = [total(count(replace(STEP, attention=form)), "products") for form in ("naive", "flash3", "fused")]
    assert all(useful(STEP) < products for products in relative)
    assert useful(STEP) == total(gemms(STEP), "products") + 24 * 12 * 96 * 128**2 * 1024


def enumerated(length: int, wanted) -> float:
    """Share of blocks with a wanted pair, pair by pair."""
    tile = min(128, length)
    hit = {(i // tile, j // tile) for i in range(length) for j in range(length) if wanted(j - i)}
    return len(hit) / (-(-length // tile)) ** 2


@pytest.mark.parametrize("length", [96, 128, 256, 512, 640])
@pytest.mark.parametrize("reach", [16, 64, 200])
def test_blocks_of_the_regions_are_those_that_hold_a_pair(length: int, reach: int) -> None:
    expected = {
        "low": enumerated(length, lambda distance: distance <= -reach),
        "high": enumerated(length, lambda distance: distance >= reach),
        "band": enumerated(length, lambda distance: abs(distance) < reach),
    }
    assert regions(length, reach) == {name: share for name, share in expected.items() if share}


def test_flash3_by_hand_at_one_block() -> None:
    """Length 128, reach 64: one block holds all three regions; 80, 80 and 128 columns, and the products that widen."""
    pairs, tokens = 100.0 * 128**2, 100.0 * 128
    work = ATTENTION["flash3"](pairs, 64, tokens, 128, 64)
    columns = 80 + 80 + 128
    assert work.products == 14 * pairs * columns + 2 * 12 * tokens * 64 * columns
    assert work.bytes > 2 * 12 * tokens * columns  # at least what the operators read and write


def test_a_fused_kernel_moves_vectors_only() -> None:
    """q, k, v, o once, and q, k, v, o, do, dq, dk, dv once; a bit of dropout a pair, both ways."""
    pairs, tokens = 50.0 * 512**2, 50.0 * 512
    work = ATTENTION["fused"](pairs, 64, tokens, 512, 64)
    assert work.bytes == 12 * 2 * tokens * 64 + 2 * pairs / 8
    band = 10 / 16  # of the blocks, in which scores, values and their gradients are two products instead of one
    assert work.products == (4 * (1 + band) + 10 + 6 * band) * pairs * 64 + 12 * tokens * 64 * 64


def test_longer_rows_leave_blocks_out() -> None:
    assert blocks(128, lambda low, high: low < 64 and high > -64) == 1.0
    assert blocks(512, lambda low, high: low < 64 and high > -64) == (4 + 6) / 16


def test_an_update_by_hand() -> None:
    """LAMB reads w, g, m, v and writes w, m, v and its direction, whose norm and that of w take two more readings."""
    weights = parameter_count(LARGE)
    once = {work.name: work for work in update(STEP)}
    assert once["lamb"].bytes == (16 + 12 + 8 + 12) * weights
    assert once["all-reduce"].link == 4 * weights
    assert once["gradients added"].bytes == 0
    assert {work.name: work for work in update(replace(STEP, forwards=8))}["gradients added"].bytes == 100 * weights
    assert "all-reduce" not in {work.name for work in update(replace(STEP, devices=1))}


def test_forwards_multiply_what_is_in_them_and_the_update_stays_one() -> None:
    one, eight = ({work.name: work for work in count(replace(STEP, forwards=n))} for n in (1, 8))
    assert eight["intermediate"].products == 8 * one["intermediate"].products
    assert eight["lamb"] == one["lamb"]
    assert one["intermediate"].products == 24 * 6 * 96 * 128 * 1024 * 4096
