"""The sample table of a prepared corpus: where each sample's tokens lie, for one length and one pairing.

It is independent of the epoch, built in one pass over sentence and document boundaries, written once and memory
mapped. The tokens themselves are not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, replacing_folder, write_json

if TYPE_CHECKING:
    from ms_plm.data.corpus import Corpus, Shard

logger = logging.getLogger(__name__)

ROLES = {"train": 0, "held_out": 1}
_FORMAT = 1
_BLOCK = 1 << 21  # sentences handled at once

PAIRS = {  # one row a chunk of sentences
    "start": np.int64,  # first token, counted over all shards
    "length": np.int32,  # tokens
    "inner_first": np.int64,  # first sentence boundary inside the chunk, counted over the shards' sentence arrays
    "inner_count": np.int32,  # sentence boundaries inside it
    "document": np.int32,  # its document, counted over those of the split
}
PAIR_DOCUMENTS = {"document_end": np.int64, "document_chunks": np.int32}  # one row a document
PACKED = {"document_start": np.int64, "document_length": np.int64}  # one row a document; first token, tokens


class SampleTable:
    """Memory-mapped columns of a sample table, by name (see `PAIRS`, `PAIR_DOCUMENTS`, `PACKED`)."""

    def __init__(self, folder: Path, columns: dict[str, np.ndarray]) -> None:
        self.folder = folder
        self.columns = columns

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    @classmethod
    def open_or_build(
        cls, corpus: Corpus, cache: Path, split: str, max_length: int, pairs: bool, special: int = 3
    ) -> SampleTable:
        """Open the table from `cache`, or build it there first; of several processes one builds, the others wait.

        Of pairs `max_length` tokens count, `special` of which stand around them (which the corpus's tokenizer decides).

        Raises:
            UserError: the split has no documents, or the disk is full.
        """
        options = {"format": _FORMAT, "corpus": corpus.fingerprint, "split": split, "pairs": pairs}
        if pairs:
            options["max_length"] = max_length  # a packed table does not depend on it
        name = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:24]
        folder = Path(cache) / "samples" / f"{split}-{max_length if pairs else 'packed'}-{name}"
        schema = {**PAIRS, **PAIR_DOCUMENTS} if pairs else PACKED
        if table := cls._open(folder, schema, options):
            return table
        with building(folder):
            if not (table := cls._open(folder, schema, options)):
                logger.info("building the sample table %s", folder)
                blocks = _pair_blocks(corpus, split, max_length - special) if pairs else _packed_blocks(corpus, split)
                with replacing_folder(folder) as temporary:
                    rows = _write_columns(temporary, schema, blocks)
                    _refuse_empty(corpus, split, rows["document_end" if pairs else "document_start"])
                    write_json(temporary / "table.json", {**options, "rows": rows})
        return table or cls._open(folder, schema, options)

    @classmethod
    def _open(cls, folder: Path, schema: dict[str, type], options: dict[str, Any]) -> SampleTable | None:
        """The table, or None if it is not there or not whole (a cache is then simply made again)."""
        if not (folder / "table.json").is_file():
            return None
        try:
            manifest = read_json(folder / "table.json")
            rows = manifest.pop("rows")
            columns = {key: map_array(folder / f"{key}.npy") for key in schema}
            whole = manifest == options and all(len(columns[key]) == rows[key] for key in schema)
        except (OSError, ValueError, KeyError) as error:
            logger.warning("%s is damaged (%s): it is made again", folder, error)
            return None
        return cls(folder, columns) if whole else None


def _write_columns(folder: Path, schema: dict[str, type], blocks: Iterator[dict[str, np.ndarray]]) -> dict[str, int]:
    """Write blocks of columns one after the other; the number of rows of each column."""
    with contextlib.ExitStack() as stack:
        files = {key: stack.enter_context(ColumnFile(folder / f"{key}.npy", kind)) for key, kind in schema.items()}
        for block in blocks:
            for key, values in block.items():
                files[key].append(values)
        return {key: file.rows for key, file in files.items()}


def map_array(path: Path) -> np.ndarray:
    """A memory-mapped array as a plain ndarray, whose indexing is faster than that of np.memmap."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _refuse_empty(corpus: Corpus, split: str, documents: int) -> None:
    if documents:
        return
    if split == "held_out":
        raise UserError(
            f"{corpus.folder}: the corpus has no held-out documents. Prepare it again with a larger share, such as "
            "--holdout 0.01 (data.text.holdout in a recipe), or name another corpus in evaluate.corpus."
        )
    raise UserError(
        f"{corpus.folder}: the corpus has no documents to train on. Check what `ms-plm inspect` counts in it: "
        "all may be empty, held out (--holdout) or duplicates (--dedup)."
    )


class ColumnFile:
    """A .npy file that grows while it is written: rows of single values, or of `width` values each."""

    def __init__(self, path: Path, dtype: type, width: int | None = None) -> None:
        self.dtype = np.dtype(dtype)
        self.rows = 0
        self._width = () if width is None else (width,)
        self._path = path

    def __enter__(self) -> ColumnFile:
        self._file = open(self._path, "wb")
        self._header()
        return self

    def append(self, values: np.ndarray) -> None:
        """Write rows `[n]` or `[n, width]`."""
        if values.shape[1:] != self._width:
            raise ValueError(f"{self._path}: rows of shape {values.shape[1:]}, expected {self._width}")
        self._file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.rows += len(values)

    def _header(self) -> None:
        """Always 128 bytes, so that it can be written again when the number of rows is known."""
        self._file.seek(0)
        fields = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self._width)}
        text = repr(fields).ljust(117) + "\n"
        self._file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin-1"))

    def __exit__(self, *exception: object) -> None:
        try:
            self._header()
        finally:
            self._file.close()


@contextlib.contextmanager
def building(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from building the same cache folder; they wait.

    Where the file system has no locks all of them build, and the last one's result, equal to the others', stays.

    Raises:
        UserError: the cache cannot be written.
    """
    import fcntl

    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(folder.with_name(f".{folder.name}.lock"), "w"))
        except OSError as error:
            raise UserError(
                f"{folder.parent}: cannot be written ({error.strerror}). Name a folder that can be with data.cache."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            logger.debug("no lock for %s: %s", folder, error)
        yield


def _document_blocks(shard: Shard, role: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """First and end sentence, int64 `[d]` each, of the documents of a role, some at a time; empty ones left out."""
    first, end = shard.documents[:-1], shard.documents[1:]
    wanted = np.flatnonzero((np.asarray(shard.roles) == role) & (end > first))
    if not wanted.size:
        return
    first, end = np.asarray(first[wanted], np.int64), np.asarray(end[wanted], np.int64)
    total = np.cumsum(end - first)
    cuts = np.unique(np.searchsorted(total, np.arange(_BLOCK, total[-1], _BLOCK), side="left") + 1)
    for a, b in zip([0, *cuts], [*cuts, len(first)], strict=True):
        if b > a:
            yield first[a:b], end[a:b]


def ragged_range(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`first[0] .. first[0]+counts[0]-1, first[1] ..` in one int64 array."""
    ends = np.cumsum(counts)
    return np.repeat(first - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)


def _packed_blocks(corpus: Corpus, split: str) -> Iterator[dict[str, np.ndarray]]:
    base = 0
    for shard in corpus.shards:
        for first, end in _document_blocks(shard, ROLES[split]):
            start = shard.sentences[first]
            yield {"document_start": base + start, "document_length": shard.sentences[end] - start}
        base += len(shard.tokens)


def _pair_blocks(corpus: Corpus, split: str, budget: int) -> Iterator[dict[str, np.ndarray]]:
    """Chunks: as many sentences of one document, in order, as fit `budget` tokens; longer sentences are cut."""
    token_base = sentence_base = documents = 0
    for shard in corpus.shards:
        for first, end in _document_blocks(shard, ROLES[split]):
            block = _chunks(shard.sentences, first, end, budget)
            block["start"] += token_base
            block["inner_first"] += sentence_base
            block["document_end"] += token_base
            block["document"] += documents
            documents += len(first)
            yield block
        token_base += len(shard.tokens)
        sentence_base += len(shard.sentences)


def _chunks(sentences: np.ndarray, first: np.ndarray, end: np.ndarray, budget: int) -> dict[str, np.ndarray]:
    """The chunks of documents `[d]` given by their sentences, without a loop over sentences.

    A unit is a sentence or, of one longer than `budget`, a piece. `following[u]` is the first unit that no longer
    fits a chunk beginning at `u`; chunks begin at the units that can be reached from the documents' first ones,
    which are found in steps of 1, 2, 4 ... chunks.
    """
    counts = end - first
    index = ragged_range(first, counts)
    start = np.asarray(sentences[index], np.int64)
    length = np.asarray(sentences[index + 1], np.int64) - start
    pieces = np.maximum(1, -(-length // budget))
    if pieces.max() > 1:
        piece = ragged_range(np.zeros(len(pieces), np.int64), pieces)
        index, start = np.repeat(index, pieces), np.repeat(start, pieces) + piece * budget
        length = np.minimum(budget, np.repeat(length, pieces) - piece * budget)
    units = np.add.reduceat(pieces, np.cumsum(counts) - counts)  # of each document
    unit_end = np.cumsum(units)
    tokens = np.concatenate(([0], np.cumsum(length)))
    fitting = np.searchsorted(tokens, tokens[:-1] + budget, side="right") - 1
    following = np.minimum(fitting, np.repeat(unit_end, units))

    reached = np.zeros(len(length) + 1, bool)
    reached[unit_end - units] = True
    jump = np.append(following, len(length))
    known = 0
    while (now := np.count_nonzero(reached)) > known:
        known = now
        reached[jump[reached]] = True
        jump = jump[jump]
    chunk = np.flatnonzero(reached[:-1])
    after = following[chunk]
    document = np.repeat(np.arange(len(first)), units)[chunk]
    return {
        "start": start[chunk],
        "length": tokens[after] - tokens[chunk],
        "inner_first": index[chunk] + 1,
        "inner_count": after - chunk - 1,
        "document": document,
        "document_end": np.asarray(sentences[end], np.int64),
        "document_chunks": np.bincount(document, minlength=len(first)),
    }
