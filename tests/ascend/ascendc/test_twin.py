"""The twin's instructions do what Ascend C's documentation says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ms_plm_ascend.ascendc.library import TWIN, Fault, Library, compile_library


@pytest.fixture(scope="module")
def probes(twin: Library, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The kernels of probes.cpp; `twin` skips where there is no compiler."""
    path = tmp_path_factory.mktemp("probes") / "probes.so"
    compile_library([Path(__file__).with_name("probes.cpp"), TWIN / "bindings" / "runtime.cpp"], path, ["-O0"])
    return Library(path)


def run(probes: Library, name: str, given: np.ndarray, size: int) -> np.ndarray:
    out = np.full(size, np.nan, np.float32)
    probes.run(name, np.ascontiguousarray(given, np.float32), out, cores=1)
    return out


def test_brcb_fills_a_block_with_each_number(probes: Library) -> None:
    np.testing.assert_array_equal(run(probes, "spread", np.arange(16), 128), np.repeat(np.arange(16), 8))


def test_rows_are_copied_with_gaps_in_bytes_there_and_in_blocks_here_and_padded(probes: Library) -> None:
    given = np.arange(21).reshape(3, 7)
    out = run(probes, "padded_rows", given.ravel(), 48).reshape(3, 16)
    np.testing.assert_array_equal(out[:, :5], given[:, :5])
    assert (out[:, 5:8] == 9).all()
    assert (out[:, 8:] == -1).all()


def test_rows_are_stored_with_gaps_in_blocks_here_and_in_bytes_there(probes: Library) -> None:
    given = np.arange(48).reshape(3, 16)
    expected = np.zeros(24)
    for row in range(3):
        expected[1 + 7 * row : 4 + 7 * row] = given[row, :3]
    np.testing.assert_array_equal(run(probes, "rows_out", given.ravel(), 24), expected)


def test_a_stride_of_zero_repeats_a_block(probes: Library) -> None:
    rows, blocks = np.arange(48).reshape(3, 16), np.repeat([[100], [200], [300]], 8, 1)
    out = run(probes, "one_block_for_all", np.concatenate((rows.ravel(), blocks.ravel())), 48)
    np.testing.assert_array_equal(out.reshape(3, 16), rows + np.array([[100], [200], [300]]))


def test_casts_round_to_even(probes: Library) -> None:
    given = np.array([1.0, 2049, 2051, -2049, 65504, 70000, 1e-8, 0.1] * 2, np.float32)
    with np.errstate(over="ignore"):
        expected = given.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(run(probes, "to_half_and_back", given, 16), expected)


def test_bits_are_read_from_the_lowest(probes: Library) -> None:
    out = run(probes, "selected", np.arange(16), 16)
    np.testing.assert_array_equal(out, [n if n % 8 in (0, 2, 7) else -1 for n in range(16)])


def test_reductions_take_the_lanes_of_the_mask(probes: Library) -> None:
    given = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    out = run(probes, "reduced", given.ravel(), 16)
    np.testing.assert_allclose(out[:3], given[:, :5].sum(1), rtol=1e-6)
    np.testing.assert_array_equal(out[8:11], given[:, :5].max(1))
    assert not out[3:8].any()


def test_a_barrier_of_all_pipes_and_flags_from_the_scalar_unit_order_its_reads_and_writes(probes: Library) -> None:
    np.testing.assert_array_equal(run(probes, "barrier", np.arange(8), 8), np.full(8, 6))
    np.testing.assert_array_equal(run(probes, "scalar_write_with_wait", np.ones(8), 8), [5, *[1] * 7])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scalar_write_without_wait", "SetValue on S overwrites a local buffer that MTE2 wrote"),
        ("flag_set_twice", "the flag is set already"),
        ("too_many_lanes", "a mask of 65 .* allowed are 1 to 64"),
        ("indices_too", "only ORDER_ONLY_VALUE"),
    ],
)
def test_what_is_not_allowed_is_a_fault_with_its_line(probes: Library, name: str, words: str) -> None:
    with pytest.raises(Fault, match=rf"probes.cpp:\d+: .*{words}"):
        run(probes, name, np.ones(8), 8)


def test_what_the_twin_does_not_know_is_refused(twin: Library) -> None:
    with pytest.raises(Fault, match="takes 9 inputs and outputs, not 2"):
        twin.run("PlmDropoutAddLayerNorm", np.zeros(8, np.float32), np.zeros(8, np.float32))
    arrays = [np.zeros((2, 8), np.float64), *(np.zeros(8, np.float32) for _ in range(8))]
    with pytest.raises(Fault, match="no kernel takes float64"):
        twin.run("PlmDropoutAddLayerNorm", *arrays)
