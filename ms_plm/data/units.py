"""One work unit of `prepare`: documents are read, cleaned, cut into sentences, tokenised and written as a shard."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ms_plm.common.files import full_disk_named, read_json, replacing_file, replacing_folder, sha256_file, write_json
from ms_plm.config.recipe import TextSection
from ms_plm.data.cleaning import Removed, clean_line
from ms_plm.data.corpus import HELD_OUT, TRAIN
from ms_plm.data.inputs import InputFile, Span
from ms_plm.data.readers import Problems, documents
from ms_plm.data.sentences import sentences
from ms_plm.data.shards import ARRAYS, ShardWriter
from ms_plm.tokenization import CHINESE, Segmenter, Tokenizer

BLOCK_CHARACTERS = 1 << 20
"""Text that is tokenised at once; bounds the memory of a process."""


@dataclass(frozen=True)
class Work:
    """What a process needs to carry out units.

    Attributes:
        files: all input files.
        sources: what `InputFile.source` counts.
        units: of the whole corpus.
        tokenizer, segmenter: as loaded in this process.
        hashes: whether hashes of documents are written, for finding repeated ones.
        output: folder of the corpus.
        state: folder of the files that go when all is done.
    """

    files: list[InputFile]
    sources: list[TextSection]
    units: list[tuple[Span, ...]]
    tokenizer: Tokenizer
    segmenter: Segmenter
    hashes: bool
    output: Path
    state: Path


def shard_name(unit: int) -> str:
    """Name of a unit's shard."""
    return f"shard-{unit:05d}"


def facts_path(state: Path, unit: int) -> Path:
    """The file that says that a unit is done, and what is in its shard."""
    return state / f"{shard_name(unit)}.json"


def hashes_path(state: Path, unit: int) -> Path:
    """Hashes of a unit's documents: uint64 `[n, 2]`."""
    return state / f"{shard_name(unit)}.hashes.npy"


def carry_out(work: Work, unit: int) -> None:
    """Make the shard of a unit; what a cut-short attempt left is replaced."""
    folder = work.output / shard_name(unit)
    source = work.sources[0]
    problems, removed = Problems(source.skip_bad), Removed()
    with full_disk_named(folder), replacing_folder(folder) as temporary:
        with ShardWriter(temporary, work.tokenizer.vocab_size > 1 << 16) as writer:
            block = _Block(work.tokenizer, work.segmenter, source.holdout, writer)
            for span in work.units[unit]:
                file = work.files[span.file]
                for lines in documents(file, span, work.sources[file.source], problems):
                    block.add([s for line in lines for s in sentences(clean_line(line, removed))])
            block.flush()
        files = {
            f"{name}.npy": {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for name in ARRAYS
            for path in [temporary / f"{name}.npy"]
        }
    if work.hashes:
        with replacing_file(hashes_path(work.state, unit)) as temporary, open(temporary, "wb") as handle:
            np.save(handle, np.concatenate([np.zeros((0, 2), "<u8"), *block.hashes]), allow_pickle=False)
    facts = {
        "name": shard_name(unit),
        "documents": writer.documents,
        "sentences": writer.sentences,
        "tokens": writer.tokens,
        "files": files,
        "report": {
            "unknown_tokens": block.unknown,
            "empty_documents": block.empty,
            "bad_records": problems.count,
            **{f"removed_{name}": count for name, count in asdict(removed).items()},
        },
        "bad_examples": problems.examples,
    }
    write_json(facts_path(work.state, unit), facts)


class _Block:
    """Collects documents and tokenises many at once."""

    def __init__(self, tokenizer: Tokenizer, segmenter: Segmenter, holdout: float, writer: ShardWriter):
        self._tokenizer, self._cut, self._writer = tokenizer, segmenter.cut, writer
        self._held_out_below = np.uint64(int(holdout * 2**64))
        self.hashes: list[np.ndarray] = []
        self.unknown = self.empty = 0
        self._clear()

    def _clear(self) -> None:
        self._sentences: list[str] = []
        self._lengths: list[int] = []
        self._digests: list[bytes] = []
        self._characters = 0

    def add(self, document: list[str]) -> None:
        """Take in a document's sentences."""
        if not document:
            self.empty += 1
            return
        text = "\n".join(document)
        self._sentences += document
        self._lengths.append(len(document))
        self._digests.append(hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest())
        self._characters += len(text) + 1
        if self._characters >= BLOCK_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Tokenise what was collected and hand it to the writer."""
        if not self._sentences:
            return
        pieces = self._tokenizer.encode_block(self._sentences)
        starts = ~self._tokenizer.continuation[pieces.ids]
        if self._cut is not None:
            starts &= ~self._inside_chinese_words(pieces.codes, pieces.text_starts)[pieces.begins]
        lengths = np.diff(pieces.text_ends, prepend=0)
        kept = lengths > 0
        owner = np.repeat(np.arange(len(self._lengths)), self._lengths)
        counts = np.bincount(owner[kept], minlength=len(self._lengths))
        filled = counts > 0
        hashes = np.frombuffer(b"".join(self._digests), "<u8").reshape(-1, 2)[filled]
        roles = np.where(hashes[:, 1] < self._held_out_below, HELD_OUT, TRAIN).astype(np.uint8)
        self._writer.append(pieces.ids, starts, lengths[kept], counts[filled], roles)
        self.hashes.append(hashes)
        self.unknown += int(np.count_nonzero(pieces.ids == self._tokenizer.unk_id))
        self.empty += int(np.count_nonzero(~filled))
        self._clear()

    def _inside_chinese_words(self, codes: np.ndarray, text_starts: np.ndarray) -> np.ndarray:
        """Characters that continue a word which the segmenter found: bool `[C]`.

        Only neighbouring Chinese characters are joined: Latin words and numbers are what the tokenizer makes of them.
        """
        chinese = CHINESE[codes]
        joined = np.zeros(len(codes), bool)
        joined[1:] = chinese[1:] & chinese[:-1]
        wanted = np.flatnonzero(np.add.reduceat(joined, text_starts, dtype=np.int64))
        cut = self._cut
        word_lengths: list[int] = []
        sizes = []
        for number in wanted.tolist():
            words = cut(self._sentences[number])
            word_lengths += map(len, words)
            sizes.append(len(words))
        if not sizes:
            return joined
        ends = np.cumsum(np.array(word_lengths, np.int64))
        last = np.cumsum(np.array(sizes, np.int64))
        # ends count characters of the wanted sentences alone: move each sentence to where it stands in the block
        first_end = np.concatenate([[0], ends[last[:-1] - 1]])
        begins = np.concatenate([[0], ends[:-1]]) + np.repeat(text_starts[wanted] - first_end, sizes)
        joined[begins] = False
        return joined


def read_facts(state: Path, unit: int) -> dict[str, Any] | None:
    """What a finished unit left, None if it is not finished."""
    path = facts_path(state, unit)
    return read_json(path) if path.is_file() else None
