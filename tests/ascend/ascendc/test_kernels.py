"""The kernels, run on the twin, give what float64 gives, on any number of cores."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from ms_plm.common.errors import UserError
from ms_plm_ascend.ascendc import check, library
from ms_plm_ascend.ascendc.check import Heads, Rows
from ms_plm_ascend.ascendc.library import UB_BYTES, Fault, Library
from ms_plm_ascend.ascendc.operators import ATTENTION, LAYER_NORM

FEW = (
    Rows(37, 256, cores=8),
    Rows(11, 312, cores=3),
    Rows(250, 768),
    Rows(3, 1000, np.float32, drops=False, cores=2),
    Rows(2, 4096, np.float32, cores=2),
    Rows(1, 8, np.float16, cores=1),
    Heads(2, 2, 16, 32),
    Heads(1, 2, 37, 64, drops=False, cores=3),
    Heads(1, 1, 128, 64),
    Heads(1, 1, 333, 32, drops=False, square=True, cores=5),
    Heads(1, 1, 512, 64, cores=3),
    Heads(1, 1, 1, 16, reach=2, drops=False),
    Heads(1, 2, 24, 48, reach=3),
)
MANY = (
    *(
        Rows(rows, width, dtype, drops, cores)
        for rows in (1, 40, 97, 1024)
        for width in (256, 312, 768, 1024, 2048, 4096)
        for dtype in (np.float16, np.float32)
        for drops in (False, True)
        for cores in (1, 40)
    ),
    *(
        Heads(2, 2, length, size, reach, length % 8 == 0, square, cores)
        for length in (16, 37, 128, 333, 384, 512)
        for size in (32, 64)
        for reach in (5, 64)
        for square in (False, True)
        for cores in (1, 40)
    ),
)


def hold(twin: Library, case: Rows | Heads) -> None:
    found = check.layer_norm(twin, case) if isinstance(case, Rows) else check.attention(twin, case)
    for name, error in found.errors.items():
        assert error <= check.limit(name), f"{name}: {error}"
    assert all(peak <= UB_BYTES - 8192 for peak in found.peaks.values()), found.peaks


@pytest.mark.parametrize("case", FEW, ids=str)
def test_forward_and_gradient_are_those_of_float64(twin: Library, case: Rows | Heads) -> None:
    hold(twin, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", MANY, ids=str)
def test_forward_and_gradient_are_those_of_float64_everywhere(twin: Library, case: Rows | Heads) -> None:
    hold(twin, case)


@pytest.mark.parametrize("case", [Rows(97, 256), Heads(1, 3, 64, 32)], ids=["layer norm", "attention"])
def test_results_do_not_depend_on_the_number_of_cores(twin: Library, case: Rows | Heads) -> None:
    measure = check.layer_norm if isinstance(case, Rows) else check.attention
    errors = [measure(twin, type(case)(**{**vars(case), "cores": cores})).errors for cores in (1, 3, 40)]
    assert errors[0] == errors[1] == errors[2]


def test_large_scores_and_masked_rows_stay_finite(twin: Library) -> None:
    length, size = 24, 16
    query = np.full((1, length, size), 30.0, np.float16)
    table = np.zeros((2 * length - 1, size), np.float16)
    mask = np.full((1, 1, 1, length), -10000.0, np.float32)
    out, largest, total = (
        check.empty(1, length, size, dtype=np.float16),
        check.empty(1, 1, length),
        check.empty(1, 1, length),
    )
    constants = np.array([0.25, 1.0], np.float32)
    twin(ATTENTION, query, query, query, table, mask, check.pack(None), constants, out, largest, total)
    np.testing.assert_allclose(out, 30.0)
    np.testing.assert_allclose(total, length)


def test_shapes_that_no_tiling_serves_are_a_fault_that_says_so(twin: Library) -> None:
    wide = np.zeros((2, 5000), np.float32)
    row = np.zeros(5000, np.float32)
    with pytest.raises(Fault, match="no tiling for 2 rows of 5000"):
        twin(LAYER_NORM, wide, wide, row, row, check.pack(None), row[:2].copy(), wide.copy(), row[:2], row[:2])


def test_the_check_of_the_command_line_prints_errors_and_memory(twin: Library, capsys) -> None:
    with patch.object(check, "CASES", FEW[:1] + FEW[6:7]):
        assert check.check(twin)
    said = capsys.readouterr().out
    assert "errors: y " in said
    assert "dquery" in said
    assert f"of {UB_BYTES} bytes" in said


def test_the_check_says_which_output_is_too_far(twin: Library, capsys, monkeypatch) -> None:
    monkeypatch.setattr(check, "CASES", FEW[6:7])
    monkeypatch.setattr(check, "limit", lambda name: 1e-12 if name == "out" else 1.0)
    assert not check.check(twin)
    assert "TOO FAR from float64: out\n" in capsys.readouterr().out


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ascendc").write_text("in the way")
    monkeypatch.setattr(library, "default_cache_folder", lambda: tmp_path)
    with pytest.raises(UserError, match=f"cannot be written to {tmp_path}/ascendc"):
        library.ensure()
