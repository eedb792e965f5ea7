"""Every occurrence but the first is marked, whatever the memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.data import deduplicate
from ms_plm.data.deduplicate import mark_repeated


def expected(numbers: np.ndarray) -> np.ndarray:
    seen: set[int] = set()
    return np.array([number in seen or seen.add(number) is not None for number in numbers.tolist()], bool)


def hashes_of(numbers: np.ndarray) -> np.ndarray:
    """Spread numbers over the range of hashes; equal numbers get equal hashes, and halves alone may be equal."""
    with np.errstate(over="ignore"):
        first = (numbers // 2).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return np.stack([first, numbers.astype(np.uint64)], axis=1)


def write(folder, parts):
    paths = []
    for number, part in enumerate(parts):
        paths.append(folder / f"{number}.npy")
        np.save(paths[-1], hashes_of(part))
    return paths


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=40), min_size=1, max_size=4))
def test_marks_are_those_of_one_pass_over_the_documents(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("hashes")
    (folder / "scratch").mkdir()
    arrays = [np.array(part, np.int64) for part in parts]
    flags = mark_repeated(write(folder, arrays), folder / "scratch", 1 << 20)
    np.testing.assert_array_equal(flags, expected(np.concatenate(arrays)))


@pytest.mark.parametrize("memory", [1 << 17, 1 << 20, 1 << 30])
@pytest.mark.parametrize("different", [1, 500, 100_000])
def test_memory_changes_nothing(tmp_path, memory, different):
    generator = np.random.default_rng(different)
    parts = [generator.integers(0, different, size) for size in (10_000, 0, 30_000)]
    (tmp_path / "scratch").mkdir()
    flags = mark_repeated(write(tmp_path, parts), tmp_path / "scratch", memory)
    np.testing.assert_array_equal(flags, expected(np.concatenate(parts)))
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["repeated.npy"]


def test_little_memory_means_small_arrays(tmp_path, monkeypatch):
    sizes = []
    original = deduplicate._first_ones
    monkeypatch.setattr(
        deduplicate, "_first_ones", lambda entries, flags: sizes.append(len(entries)) or original(entries, flags)
    )
    (tmp_path / "scratch").mkdir()
    mark_repeated(write(tmp_path, [np.arange(60_000)]), tmp_path / "scratch", 1 << 19)
    assert len(sizes) > 10
    assert max(sizes) * deduplicate._ENTRY.itemsize * deduplicate._SORT_FACTOR < 2 << 19
