"""The estimate of vector memory, on texts whose live values are counted by hand."""

from __future__ import annotations

import pytest

from ms_plm_ascend.triton_kernels.lint import findings
from ms_plm_ascend.triton_kernels.memory import VECTOR_MEMORY, live_bytes

TILE = 64 * 64 * 4
"""Bytes of `T` below."""


def _kernel(*lines: str) -> str:
    body = "\n".join(lines).replace("T", "tensor<64x64xf32>").replace("HALF", "tensor<64x64xf16>")
    return f"module {{\n{body}\n}}\n"


def test_values_count_from_where_they_are_made_to_their_last_use() -> None:
    text = _kernel(
        "%0 = math.exp %given : T",
        "%1 = arith.mulf %0, %0 : T",  # over %0, which ends here
        "%2 = arith.addf %1, %1 : T",
        "%3 = arith.addf %1, %2 : T",  # %1 and %2
        "%4 = arith.addf %3, %3 : T",
        "use %4",
    )
    assert live_bytes(text) == 2 * TILE


def test_what_a_loop_reads_lives_until_its_end() -> None:
    loop = (
        "%1:2 = scf.for %i = %a to %b step %c iter_args(%arg1 = %z, %arg2 = %y) -> (T, tensor<64xf32>)  : i32 {",
        "%2 = arith.addf %arg1, %0 : T",
        "%3 = math.exp %2 : T",
        "%4 = arith.addf %2, %3 : T",
        "scf.yield %4, %arg2 : T, tensor<64xf32>",
        "}",
    )
    inside = _kernel("%0 = math.exp %given : T", *loop, "use %1#0")
    assert live_bytes(inside) == 3 * TILE + 256  # %0, %2, %3, and the row
    assert live_bytes(_kernel("%0 = math.exp %given : T", "use %0", *loop[:1], *loop[2:], "use %1#0")) == TILE + 256


@pytest.mark.parametrize(
    "line",
    [
        "%0 = linalg.fill ins(%s : f32) outs(%e : T) -> T",
        "%0 = tensor.empty() : T",
        "%0 = arith.constant dense<1.0> : T",
    ],
)
def test_spread_scalars_cost_nothing(line: str) -> None:
    assert live_bytes(_kernel(line, "%1 = math.exp %0 : T", "use %1")) == TILE


def test_what_only_products_read_is_not_in_vector_memory() -> None:
    loaded = (
        "%alloc = memref.alloc() : memref<64x64xf16>",
        "memref.copy %x, %alloc : memref<64x64xf16> to memref<64x64xf16>",
        "%0 = bufferization.to_tensor %alloc restrict writable : memref<64x64xf16>",
        "%1 = linalg.matmul ins(%0, %0 : HALF, HALF) outs(%z : T) -> T",
    )
    assert live_bytes(_kernel(*loaded, "use %1")) == TILE
    assert live_bytes(_kernel(*loaded, "%2 = arith.extf %0 : HALF to T", "use %1, %2")) == 2 * TILE


def test_comparisons_take_a_bit_and_names_of_finished_regions_are_new_values() -> None:
    assert live_bytes(_kernel("%0 = arith.cmpf ole, %a, %b : T", "use %0")) == TILE // 32
    text = _kernel("%r = math.exp %g : T", "{", "%0 = arith.addf %in, %in : f32", "}", "%0 = math.exp %r : T", "use %0")
    assert live_bytes(text) == TILE


def test_a_kernel_that_cannot_fit_is_named() -> None:
    count = VECTOR_MEMORY // TILE + 1
    made = [f"%{place} = math.exp %given : T" for place in range(count)]
    text = _kernel(
        'func.func @k() attributes {mix_mode = "aiv"} {', *made, f"use {[f'%{n}' for n in range(count)]}", "}"
    )
    (found,) = findings(text, "aiv", 0)
    assert f"about {count * TILE} bytes are live at once" in found
