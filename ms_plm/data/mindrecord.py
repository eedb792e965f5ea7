"""MindRecord with the ecosystem's static columns as a source of samples; masks are fixed in such files.

MindRecord checks nothing: there is no checksum, a missing file is not noticed. So hashes are compared where a
`manifest.json` has them, and every row is checked. Files are copied once into plain arrays in the cache, after which
order, ranks and resuming are those of any other source. MindSpore is imported only inside the functions that need it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.common.files import read_json, replacing_folder, sha256_file, write_json
from ms_plm.data.batches import MaskedBatch, SampleBatch
from ms_plm.data.masking import Masking
from ms_plm.data.mindrecord_columns import COLUMNS, check_rows, row_shapes
from ms_plm.data.table import ColumnFile, building, map_array

if TYPE_CHECKING:
    from ms_plm.tokenization import Tokenizer

logger = logging.getLogger(__name__)

_BLOCK = 1024
_NAME = re.compile(r".+\.(mr|mindrecord)\d*")
_FORMAT = 1


class FixedMasking:
    """The strategy of data whose masks are in the files: hands them on.

    Samples without masks of their own (held-out documents of a corpus) get those of `otherwise`.
    """

    def __init__(self, count: int, otherwise: Masking | None = None) -> None:
        self.count, self.otherwise = count, otherwise

    def largest_count(self, max_length: int) -> int:
        """Slots of a sample in the files; `max_length` is theirs."""
        return self.count

    def __call__(self, batch: SampleBatch, keys: np.ndarray) -> MaskedBatch:
        """The masks that came with `batch`, without using `keys` int32 `[n, 2]`."""
        if batch.masked is not None:
            return batch.masked
        if self.otherwise is None:
            raise ValueError("these samples carry no masks of their own")
        return self.otherwise(batch, keys)


class MindRecordSamples:
    """MindRecord files with static columns as a source for loaders; use `masking()` with it.

    Attributes:
        max_length: of the samples in the files.
        nsp: whether `next_sentence_labels` are meant; what the manifest says, else True.
        tokenizer: handed in, to decode previews.
        fingerprint: of the content of the files.
    """

    def __init__(
        self, path: str | Path, *, cache: str | Path, tokenizer: Tokenizer | None = None, nsp: bool | None = None
    ) -> None:
        """Open a file, or all files of a folder in the order of their names; copied into `cache` the first time.

        Args:
            path: file or folder. A file is read under the name with which it was written; MindRecord has it so.
            cache: takes the columns as plain arrays, about as large as the files.
            tokenizer: the model's; ids beyond its size are refused.
            nsp: whether `next_sentence_labels` are meant; default: what the manifest says, else True.

        Raises:
            UserError: no such file, a file without its index, another vocabulary, or `nsp` for files without pairs.
            DamagedFileError: a row, column or hash that is not as it must be.
        """
        path = Path(path)
        files, manifest = _find(path)
        if tokenizer and manifest.get("tokenizer") not in (None, tokenizer.fingerprint):
            raise UserError(
                f"{path}: written with another vocabulary than the model's (of {tokenizer.vocab_size} entries). "
                "Write the MindRecord files again with the model's vocabulary, or name the one they were made with."
            )
        self.tokenizer = tokenizer
        if nsp and not manifest.get("nsp", True):
            raise UserError(
                f"{path}: written without sentence pairs, so there are no next-sentence labels to learn. "
                "Set data.nsp=false."
            )
        self.nsp = nsp if nsp is not None else bool(manifest.get("nsp", True))
        self.fingerprint, self._columns = _open_copy(files, manifest, Path(cache))
        self.max_length = self._columns["input_ids"].shape[1]
        if tokenizer:
            self._check_vocabulary(path, tokenizer)

    def masking(self, otherwise: Masking | None = None) -> FixedMasking:
        """The masks of the files, as a strategy; `otherwise` masks samples of other sources."""
        return FixedMasking(self._columns["masked_lm_positions"].shape[1], otherwise)

    def __len__(self) -> int:
        return len(self._columns["input_ids"])

    def batch(self, epochs: np.ndarray, indices: np.ndarray) -> SampleBatch:
        """Rows `indices` int64 `[n]`; they are the same in all `epochs`. Where words begin is not in the files."""
        rows = {name: column[indices] for name, column in self._columns.items()}
        length = rows["input_ids"].shape
        maskable = np.zeros(length, bool)
        real, slots = np.nonzero(rows["masked_lm_weights"])
        maskable[real, rows["masked_lm_positions"][real, slots]] = True
        return SampleBatch(
            rows["input_ids"],
            rows["segment_ids"],
            rows["input_mask"],
            np.zeros(length, bool),
            maskable,
            rows["next_sentence_labels"][:, 0] if self.nsp else None,
            MaskedBatch(
                rows["input_ids"], rows["masked_lm_positions"], rows["masked_lm_ids"], rows["masked_lm_weights"]
            ),
        )

    def _check_vocabulary(self, path: Path, tokenizer: Tokenizer) -> None:
        for name in ("input_ids", "masked_lm_ids"):
            column = self._columns[name]
            largest = max(int(column[start : start + 65536].max()) for start in range(0, len(column), 65536))
            if largest >= tokenizer.vocab_size:
                raise UserError(
                    f"{path}: column {name} holds the id {largest}, but the vocabulary has {tokenizer.vocab_size} "
                    "entries. Name the vocabulary with which the files were written."
                )


def _find(path: Path) -> tuple[list[Path], dict[str, Any]]:
    """The MindRecord files of a path, and our manifest or {}; every file has its index."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder. data.mindrecord names MindRecord files.")
    manifest: dict[str, Any] = {}
    if path.is_dir():
        if (path / "manifest.json").is_file():
            manifest = read_json(path / "manifest.json")
            files = [path / name for name in sorted(manifest.get("files", {}))]
        else:
            names = {file.name for file in path.iterdir()}
            files = sorted(path / name for name in names if _NAME.fullmatch(name) or f"{name}.db" in names)
            lonely = sorted(name for name in names if name.endswith(".db") and name[:-3] not in names)
            if lonely:
                raise UserError(f"{path / lonely[0]}: an index without its file: a part of the data is missing.")
    else:
        files = [path]
    if not files:
        raise UserError(f"{path}: no MindRecord files here (names ending in .mr or .mindrecord, each with a .db).")
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: missing. Copy all files of the folder again, or write them again.")
        if not file.with_name(f"{file.name}.db").is_file():
            raise UserError(
                f"{file}: its index {file.name}.db is missing. MindRecord cannot be read without it: copy it from "
                "where the file was written, or write the file again (its writing may have been cut short)."
            )
    return files, manifest


def _open_copy(files: list[Path], manifest: dict[str, Any], cache: Path) -> tuple[str, dict[str, np.ndarray]]:
    """A hash of the files and their columns as memory-mapped arrays, copied into `cache` if they are not there yet."""
    hashes = [[sha256_file(file), sha256_file(file.with_name(f"{file.name}.db"))] for file in files]
    for file, (data, index) in zip(files, hashes, strict=True):
        facts = manifest.get("files", {}).get(file.name)
        if facts and facts["sha256"] != {file.name: data, f"{file.name}.db": index}:
            raise DamagedFileError(
                f"{file}: its content, or that of its index, is not what was written (SHA-256 differs from the "
                "manifest's). Copy the folder again, or write it again."
            )
    identity = hashlib.sha256(json.dumps([_FORMAT, hashes]).encode()).hexdigest()
    folder = cache / "mindrecord" / identity[:24]
    with building(folder):
        if not (folder / "columns.json").is_file():
            logger.info("copying %d MindRecord file(s) to %s", len(files), folder)
            with replacing_folder(folder) as temporary:
                rows = _copy(files, manifest, temporary)
                write_json(temporary / "columns.json", {"rows": rows, "files": hashes})
    columns = {name: map_array(folder / f"{name}.npy") for name in COLUMNS}
    if {len(column) for column in columns.values()} != {read_json(folder / "columns.json")["rows"]}:
        raise DamagedFileError(f"{folder}: the copied columns are not whole. Remove this folder; it is made again.")
    return identity, columns


def _copy(files: list[Path], manifest: dict[str, Any], folder: Path) -> int:
    shapes = _shapes(files[0])
    total = 0
    with contextlib.ExitStack() as stack:
        outputs = {
            name: stack.enter_context(ColumnFile(folder / f"{name}.npy", COLUMNS[name], *shapes[name]))
            for name in COLUMNS
        }
        for file in files:
            count = 0
            for columns in _read_blocks(file, shapes):
                check_rows(columns, shapes, file, count)
                for name, output in outputs.items():
                    output.append(columns[name])
                count += len(columns["input_ids"])
            expected = manifest.get("files", {}).get(file.name, {}).get("rows", count)
            if count != expected:
                raise DamagedFileError(f"{file}: {count} rows; the manifest says {expected}.")
            total += count
    if not total:
        raise UserError(f"{files[0]}: the MindRecord files hold no rows.")
    return total


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[Any]:
    """A MindRecord reader whose failures name the file."""
    from mindspore.mindrecord import FileReader

    reader = None
    try:
        reader = FileReader(str(file), num_consumer=1)
        yield reader
    except RuntimeError as error:
        reason = " ".join(line for line in str(error).splitlines() if line.startswith("[ERROR]")) or str(error)
        raise DamagedFileError(
            f"{file}: MindSpore cannot read it ({reason[:300]}). It must have the name with which it was written, and "
            "its index must be the one made with it; copy both again, or write them again."
        ) from error
    finally:
        if reader is not None:
            reader.close()


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a row by column, from the first row of a file."""
    with _reading(file) as reader:
        row = next(iter(reader.get_next()), None)
    if row is None:
        raise UserError(f"{file}: the MindRecord file holds no rows.")
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise UserError(
            f"{file}: no column {', '.join(missing)}; it has {', '.join(sorted(row))}. Pretraining needs the static "
            f"columns {', '.join(COLUMNS)}."
        )
    sizes = {name: np.asarray(row[name]).size for name in COLUMNS}
    length, predictions = sizes["input_ids"], sizes["masked_lm_positions"]
    shapes = row_shapes(length, predictions)
    if {name: (size,) for name, size in sizes.items()} != shapes:
        raise DamagedFileError(
            f"{file}: lengths of the columns do not belong together: "
            + ", ".join(f"{name} {size}" for name, size in sizes.items())
        )
    return shapes


def _read_blocks(file: Path, shapes: dict[str, tuple[int, ...]]) -> Iterator[dict[str, np.ndarray]]:
    """The rows of a file in order, stacked by column and as the types of `COLUMNS`."""
    with _reading(file) as reader:
        expected, found = reader.len(), 0
        rows: list[dict[str, np.ndarray]] = []
        for row in reader.get_next():
            rows.append({name: _value(row, name, shapes[name], file, found) for name in COLUMNS})
            found += 1
            if len(rows) == _BLOCK:
                yield {name: np.stack([row[name] for row in rows]) for name in COLUMNS}
                rows = []
        if found != expected:
            raise DamagedFileError(f"{file}: only {found} of {expected} rows can be read: the file is cut or damaged.")
        if rows:
            yield {name: np.stack([row[name] for row in rows]) for name in COLUMNS}


def _value(row: dict[str, Any], name: str, shape: tuple[int, ...], file: Path, number: int) -> np.ndarray:
    """One value of a row as its column's type; int64 and float64 files of the ecosystem are accepted."""
    value = np.asarray(row[name])
    kind = np.dtype(COLUMNS[name])
    if value.size != shape[0] or value.dtype.kind != kind.kind:
        raise DamagedFileError(
            f"{file}, row {number}, column {name}: expected {shape[0]} values of {kind}, found {value.dtype} "
            f"{list(value.shape)}. All rows must have one length."
        )
    result = value.reshape(shape).astype(kind)
    if kind.kind == "i" and not np.array_equal(result, value.reshape(shape)):
        raise DamagedFileError(f"{file}, row {number}, column {name}: numbers too large for {kind}.")
    return result
