"""The lint of lowered kernels, on texts written for it."""

from __future__ import annotations

import pytest

from ms_plm_ascend.triton_kernels.lint import counts, findings, mix_mode

SOUND = """
module {
  func.func @kernel(%arg0: memref<?xf16>, %arg1: i32) attributes {mix_mode = "mix", parallel_mode = "simd"} {
    %0 = arith.cmpi slt, %1, %2 : index
    %3 = memref.load %4[%c0] : memref<1xi32, strided<[1], offset: ?>>
    %5 = linalg.matmul ins(%6, %7 : tensor<8x8xf16>, tensor<8x8xf16>) outs(%8 : tensor<8x8xf32>) -> tensor<8x8xf32>
    %9 = arith.cmpf ole, %5, %8 : tensor<64x64xf32>
    %10 = arith.extsi %arg1 : i32 to i64
  }
}
"""


def test_a_sound_kernel_passes() -> None:
    assert mix_mode(SOUND) == "mix"
    assert counts(SOUND)["linalg.matmul"] == 1
    assert findings(SOUND, "mix", 1) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%11 = arith.cmpi sge, %9, %3 : tensor<64x64xi32>", "compares no integers"),
        ("scf.yield {DiscreteMemAccess} %inserted : tensor<64x64xf16>", "one by one"),
        ("scf.for %i = %a to %b step %c {} {ExtractedLoadOrStore}", "one by one"),
        ("%2 = arith.extsi %1 : tensor<64xi32> to tensor<64xi64>", "64-bit"),
        ("%alloc = memref.alloc() : memref<8xi64>", "64-bit"),
    ],
)
def test_a_fault_is_named_with_its_line(line: str, words: str) -> None:
    faulty = SOUND.replace("  }\n}", f"    {line}\n    {line}\n  }}\n}}")
    (found,) = findings(faulty, "mix", 1)
    assert words in found
    assert found.startswith("line 9 (and 1 more lines)")
    assert line in found


def test_wrong_units_and_lost_products_are_named() -> None:
    assert findings(SOUND, "aiv", 1) == ["mix_mode: expected aiv, found mix"]
    assert findings(SOUND, "mix", 2) == ["linalg.matmul: expected 2, found 1"]
    assert findings("", "aiv", 0) == ["mix_mode: expected aiv, found None"]
