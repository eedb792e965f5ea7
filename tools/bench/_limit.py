"""What a training step has to multiply, and how long the machine needs for that alone."""

from __future__ import annotations

from typing import Any

HEAD_SIZE = 64
REACH = 64
"""Relative positions are clipped here: `max_relative_position` of NEZHA."""


def layer_products(hidden: int) -> tuple[tuple[int, int, int], ...]:
    """Linear maps of one layer: inputs, outputs, how many of them."""
    return (hidden, hidden, 4), (hidden, 4 * hidden, 1), (4 * hidden, hidden, 1)


def step_flop(sizes: dict[str, Any], masked: int) -> dict[str, float]:
    """Floating-point operations of one step, forward and gradients; two for a multiplication and its addition.

    Only what no implementation can avoid: the masked rows alone are decoded, nothing is computed twice, and relative
    positions are products with the rows of the table that occur (not with `[S, S, D]`; the table has no gradient).
    """
    batch, length, hidden = sizes["batch"], sizes["length"], sizes["hidden"]
    tokens = batch * length
    linear = sum(inputs * outputs * count for inputs, outputs, count in layer_products(hidden))
    positions = min(2 * REACH + 1, 2 * length - 1)
    return {
        "layers": 6.0 * tokens * linear * sizes["layers"],
        "head": 6.0 * (masked * hidden * (hidden + sizes["vocabulary"]) + batch * hidden * hidden),
        "attention": tokens * hidden * (12.0 * length + 8.0 * positions) * sizes["layers"],
    }


def gemm_rates(answers: list[dict[str, float]], rows: int, hidden: int) -> dict[str, float]:
    """Best GF/s by shape, and of all products of a layer together (`layer`), from the answers of `_gemm_rate.py`."""
    rates, flop, seconds = {}, 0.0, 0.0
    for inputs, outputs, count in layer_products(hidden):
        shape = f"{inputs}x{outputs}"
        best, work = min(answer[shape] for answer in answers), 2.0 * rows * inputs * outputs
        rates[shape] = work / best / 1e9
        flop, seconds = flop + count * work, seconds + count * best
    return {**rates, "layer": flop / seconds / 1e9}
