"""Writing pretraining samples as MindRecord with the ecosystem's static columns.

MindRecord checks nothing: rows of a wrong type vanish while writing, and there is no checksum. So every row is checked
before it is written, rows are counted after the commit, and a `manifest.json` beside the files holds their hashes.
MindSpore is imported only inside the function that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ms_plm.common import rng
from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.common.files import read_json, replacing_folder, sha256_file, write_json
from ms_plm.data.masking import Masking
from ms_plm.data.mindrecord_columns import COLUMNS, check_rows, row_shapes
from ms_plm.data.order import EpochOrder, keys_of
from ms_plm.data.samples import SampleSource

_BLOCK = 1024
_NAME_OF_FORMAT = "ms_plm MindRecord"


def write_mindrecord(
    folder: str | Path,
    source: SampleSource,
    masking: Masking,
    seed: int,
    epochs: int = 1,
    rows_per_file: int = 500_000,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the samples of `epochs` epochs, masked and in their shuffled order, as a folder of MindRecord files.

    Args:
        folder: is made; it holds `part-00000.mr`, its index `part-00000.mr.db`, ..., `manifest.json` and `tokenizer/`.
        source, masking, seed: what a loader with this seed would see.
        epochs: how often each sample is written, each time masked anew.
        rows_per_file: a file is at least 50 MB, whatever it holds.
        overwrite: replace a folder that this function made.

    Returns:
        The manifest: options, rows and SHA-256 of each file.

    Raises:
        UserError: the folder is not new (see `check_target`), or the disk is full.
        DamagedFileError: a row is not of its column's type or shape, or rows were lost.
    """
    folder = Path(folder)
    check_target(folder, overwrite)
    tokenizer = source.tokenizer
    manifest: dict[str, Any] = {
        "format": _NAME_OF_FORMAT,
        "max_length": source.max_length,
        "max_predictions": masking.largest_count(source.max_length),
        "nsp": source.nsp,
        "seed": seed,
        "epochs": epochs,
        "tokenizer": tokenizer.fingerprint if tokenizer else None,
        "files": {},
    }
    order = EpochOrder(len(source), seed)
    with replacing_folder(folder) as temporary:
        for number, start in enumerate(range(0, epochs * len(source), rows_per_file)):
            stop = min(start + rows_per_file, epochs * len(source))
            path = temporary / f"part-{number:05d}.mr"
            blocks = (
                _columns(source, masking, seed, *order(np.arange(first, min(first + _BLOCK, stop))))
                for first in range(start, stop, _BLOCK)
            )
            _write_file(path, blocks, row_shapes(source.max_length, manifest["max_predictions"]))
            facts = {name: sha256_file(temporary / name) for name in (path.name, f"{path.name}.db")}
            manifest["files"][path.name] = {"rows": stop - start, "sha256": facts}
        if tokenizer:
            tokenizer.save(temporary / "tokenizer")
        write_json(temporary / "manifest.json", manifest)
    return manifest


def check_target(folder: str | Path, overwrite: bool) -> None:
    """Refuse a folder that exists, unless it may be replaced: an empty one, or with `overwrite` one made by us.

    Raises:
        UserError: it may not.
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    manifest = folder / "manifest.json"
    ours = manifest.is_file() and read_json(manifest).get("format") == _NAME_OF_FORMAT
    if not ours:
        raise UserError(f"{folder}: something else than MindRecord files of ours is there. Choose a new folder.")
    if not overwrite:
        raise UserError(f"{folder} exists already. Replace it with --overwrite, or choose another folder.")


def _columns(
    source: SampleSource, masking: Masking, seed: int, epochs: np.ndarray, indices: np.ndarray
) -> dict[str, np.ndarray]:
    """The static columns of some samples."""
    batch = source.batch(epochs, indices)
    masked = masking(batch, keys_of(seed, epochs, indices, rng.MASKING))
    labels = batch.next_sentence_labels
    return {
        "input_ids": masked.input_ids,
        "input_mask": batch.attention_mask,
        "segment_ids": batch.token_type_ids,
        "masked_lm_positions": masked.positions,
        "masked_lm_ids": masked.labels,
        "masked_lm_weights": masked.weights,
        "next_sentence_labels": (np.zeros(len(indices), np.int32) if labels is None else labels).reshape(-1, 1),
    }


def _write_file(path: Path, blocks: Iterator[dict[str, np.ndarray]], shapes: dict[str, tuple[int, ...]]) -> None:
    from mindspore.mindrecord import FileReader, FileWriter

    written = 0
    try:
        writer = FileWriter(str(path), 1)
        kinds = {name: np.dtype(kind).name for name, kind in COLUMNS.items()}
        schema = {name: {"type": kinds[name], "shape": list(shape)} for name, shape in shapes.items()}
        writer.add_schema(schema, "BERT pretraining")
        for columns in blocks:
            check_rows(columns, shapes, Path(path.name), written)
            count = len(columns["input_ids"])
            writer.write_raw_data([{name: columns[name][row] for name in COLUMNS} for row in range(count)])
            written += count
        writer.commit()
        reader = FileReader(str(path))
        kept = reader.len()
        reader.close()
    except RuntimeError as error:
        raise UserError(
            f"{path.parent.parent}: MindSpore could not write MindRecord ({str(error)[:300]}). "
            "Nothing was left behind. Is there room on the disk? A file takes at least 50 MB."
        ) from error
    if kept != written:
        raise DamagedFileError(f"{path}: {written} rows were written but the file holds {kept}.")
