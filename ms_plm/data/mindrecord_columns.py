"""The ecosystem's static columns of pretraining samples, and what a row of them must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ms_plm.common.errors import DamagedFileError

COLUMNS: dict[str, type] = {
    "input_ids": np.int32,
    "input_mask": np.int32,
    "segment_ids": np.int32,
    "masked_lm_positions": np.int32,
    "masked_lm_ids": np.int32,
    "masked_lm_weights": np.float32,
    "next_sentence_labels": np.int32,
}
"""Names of the ecosystem (Google's `create_pretraining_data.py`) and the types we write; shapes `[S]`, `[P]`, `[1]`."""


def row_shapes(length: int, predictions: int) -> dict[str, tuple[int, ...]]:
    """Shapes of one row for samples of `length` tokens with `predictions` slots."""
    sizes = dict.fromkeys(COLUMNS, predictions)
    sizes |= {"input_ids": length, "input_mask": length, "segment_ids": length, "next_sentence_labels": 1}
    return {name: (size,) for name, size in sizes.items()}


def check_rows(columns: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], path: Path, first: int = 0) -> None:
    """Refuse what MindRecord would drop or store wrongly without a word.

    Args:
        columns: arrays `[n, ...]` by name, all of `COLUMNS` and no other.
        shapes: of one row, by name.
        path: named in errors.
        first: number of the first row, for errors.

    Raises:
        DamagedFileError: naming file, column and row.
    """
    if columns.keys() != shapes.keys():
        raise DamagedFileError(f"{path}: columns {sorted(columns)}; expected {sorted(shapes)}.")
    count = len(columns["input_ids"])
    for name, shape in shapes.items():
        value, kind = columns[name], np.dtype(COLUMNS[name])
        if not isinstance(value, np.ndarray) or value.dtype != kind or value.shape != (count, *shape):
            found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
            raise DamagedFileError(
                f"{path}, column {name}, rows {first} to {first + count - 1}: expected {kind} {[count, *shape]}, "
                f"found {found}."
            )
    _check_values(columns, shapes["input_ids"][0], path, first)


def _check_values(columns: dict[str, np.ndarray], length: int, path: Path, first: int) -> None:
    positions, weights = columns["masked_lm_positions"], columns["masked_lm_weights"]
    wrong = {
        "input_ids": columns["input_ids"] < 0,
        "input_mask": (columns["input_mask"] != 0) & (columns["input_mask"] != 1),
        "segment_ids": columns["segment_ids"] < 0,
        "masked_lm_positions": (positions < 0) | (positions >= length),
        "masked_lm_ids": columns["masked_lm_ids"] < 0,
        "masked_lm_weights": ~(np.isfinite(weights) & (weights >= 0)),
        "next_sentence_labels": (columns["next_sentence_labels"] != 0) & (columns["next_sentence_labels"] != 1),
    }
    for name, places in wrong.items():
        if places.any():
            row, slot = np.argwhere(places)[0]
            raise DamagedFileError(
                f"{path}, row {first + row}, column {name}: {columns[name][row, slot]} at place {slot} makes no sense "
                f"in samples of length {length}. The file is damaged or holds something else."
            )
