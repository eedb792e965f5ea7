"""Finding repeated documents among their hashes, on disk and in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

_ENTRY = np.dtype([("first", "<u8"), ("second", "<u8"), ("number", "<i8")])
_SORT_FACTOR = 4
"""Memory of sorting entries, in times of their size."""
_MOST_BUCKETS = 256


def mark_repeated(hashes: Sequence[Path], scratch: Path, memory: int) -> np.ndarray:
    """Mark every occurrence of a document but the first.

    Entries are dealt by their hash into files that each fit into memory, and sorted there; the mark depends on the
    order of the documents alone.

    Args:
        hashes: .npy files, uint64 `[n, 2]`, in the order of the documents.
        scratch: an empty folder for files in between.
        memory: bytes to use.

    Returns:
        bool `[N]` over all documents, a memory map in `scratch`.
    """
    arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in hashes]
    total = sum(len(array) for array in arrays)
    flags = np.lib.format.open_memmap(scratch / "repeated.npy", mode="w+", dtype=np.bool_, shape=(total,))
    wanted = -(-total * _ENTRY.itemsize * _SORT_FACTOR // memory)
    buckets = min(1 << max(wanted - 1, 0).bit_length(), _MOST_BUCKETS)
    rows = max(memory // (_ENTRY.itemsize * _SORT_FACTOR), 1024)
    paths = [scratch / f"bucket-{number:03d}" for number in range(buckets)]
    start = 0
    for array in arrays:
        for first in range(0, len(array), rows):
            entries = np.empty(min(rows, len(array) - first), _ENTRY)
            block = np.asarray(array[first : first + rows])
            entries["first"], entries["second"] = block[:, 0], block[:, 1]
            entries["number"] = np.arange(start + first, start + first + len(entries))
            # repeated entries are dropped here already, or many equal documents could fill one bucket
            _deal(_first_ones(entries, flags), paths)
        start += len(array)
    for path in paths:
        if path.exists():
            _first_ones(np.fromfile(path, _ENTRY), flags)
            path.unlink()
    return flags


def _first_ones(entries: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Entries sorted by hash, each hash once with its smallest number; the other numbers are flagged."""
    ordered = entries[np.lexsort((entries["number"], entries["second"], entries["first"]))]
    repeated = np.zeros(len(ordered), bool)
    repeated[1:] = (ordered["first"][1:] == ordered["first"][:-1]) & (ordered["second"][1:] == ordered["second"][:-1])
    flags[ordered["number"][repeated]] = True
    return ordered[~repeated]


def _deal(entries: np.ndarray, paths: Sequence[Path]) -> None:
    """Append entries, sorted by their first word, to the file of the range in which it lies."""
    shift = np.uint64(64 - (len(paths) - 1).bit_length())
    places = entries["first"] >> shift if len(paths) > 1 else np.zeros(len(entries), np.uint64)
    bounds = np.searchsorted(places, np.arange(len(paths) + 1, dtype=np.uint64))
    for path, first, last in zip(paths, bounds[:-1], bounds[1:], strict=True):
        if last > first:
            with open(path, "ab") as file:
                file.write(entries[first:last].tobytes())
