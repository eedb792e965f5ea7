"""The prepared corpus: a folder of token arrays that are read by memory map."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.common.files import read_json, sha256_file
from ms_plm.data.shards import ARRAYS
from ms_plm.tokenization import Tokenizer

FORMAT = "ms_plm prepared corpus"
VERSION = 1
TRAIN, HELD_OUT, DUPLICATE = range(3)
ROLES = ("train", "held_out", "duplicate")
"""Names of the numbers in `Shard.roles`."""
UNFINISHED = "unfinished"
"""Folder within a corpus that holds the state of a `prepare` that has not ended."""
PART = "part.json"
"""What one machine's part of a corpus has instead of a manifest."""


@dataclass(frozen=True)
class Counts:
    """How much text there is."""

    documents: int
    sentences: int
    tokens: int


@dataclass(frozen=True)
class Shard:
    """Arrays of neighbouring documents, memory-mapped.

    Attributes:
        name: of its folder.
        tokens: uint16 or uint32 `[T]`, without special tokens.
        word_starts: bool `[T]`, True where a word begins.
        sentences: int64 `[n_s + 1]`, offsets into `tokens`; no sentence is empty.
        documents: int64 `[n_d + 1]`, offsets into `sentences`; no document is empty.
        roles: uint8 `[n_d]`: 0 train, 1 held out, 2 duplicate of an earlier document.
    """

    name: str
    tokens: np.ndarray
    word_starts: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    roles: np.ndarray


class Corpus:
    """A prepared corpus on disk; `Corpus.open` makes it.

    Attributes:
        folder: where it is.
        manifest: what `manifest.json` holds.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: str | os.PathLike, verify: bool = False) -> Corpus:
        """Open a folder that `ms-plm prepare` made.

        Args:
            folder: of the corpus.
            verify: compute the SHA-256 of every file.

        Raises:
            UserError: missing, not finished, or made by another version.
            DamagedFileError: a file is missing, has another size or, with `verify`, another content; it is named.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        for shard in manifest["shards"]:
            for name, facts in shard["files"].items():
                _check_file(folder / shard["name"] / name, facts, verify)
        corpus = cls(folder, manifest)
        if verify:
            corpus.tokenizer()
        return corpus

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest's content, which holds those of all arrays."""
        content = json.dumps(self.manifest, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(content.encode("utf-8")).hexdigest()

    def tokenizer(self) -> Tokenizer:
        """The tokenizer with which the corpus was made.

        Raises:
            DamagedFileError: its files are not those of the manifest.
        """
        tokenizer = Tokenizer.load(self.folder / "tokenizer")
        if tokenizer.fingerprint != self.manifest["tokenizer"]["fingerprint"]:
            raise DamagedFileError(
                f"{self.folder / 'tokenizer'}: not the tokenizer that the manifest names. "
                "The files were changed; prepare the corpus again."
            )
        return tokenizer

    def check_vocabulary(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer other than the one with which the corpus was made.

        Raises:
            UserError: naming both sizes.
        """
        own = self.manifest["tokenizer"]
        if tokenizer.fingerprint == own["fingerprint"]:
            return
        raise UserError(
            f"{self.folder}: prepared with another vocabulary: {own['vocab_size']} entries, "
            f"{_case(own['lower_case'])}; the model's has {tokenizer.vocab_size} entries, "
            f"{_case(tokenizer.lower_case)}. Prepare the text again with the model's vocabulary "
            "(`ms-plm prepare ... --vocab FOLDER`), or give the tokenizer of the corpus."
        )

    @functools.cached_property
    def shards(self) -> tuple[Shard, ...]:
        """All shards, in the order of the input."""
        return tuple(
            Shard(
                entry["name"],
                *(
                    np.load(self.folder / entry["name"] / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                    for name in ARRAYS
                ),
            )
            for entry in self.manifest["shards"]
        )

    def counts(self, role: int | str) -> Counts:
        """How much text has a role: 0 or "train", 1 or "held_out", 2 or "duplicate"."""
        name = role if isinstance(role, str) else ROLES[role]
        return Counts(**self.manifest["counts"][name])

    def document(self, shard: int, number: int) -> list[str]:
        """Sentences of a document, decoded."""
        tokenizer, arrays = self._tokenizer, self.shards[shard]
        first, last = arrays.documents[number], arrays.documents[number + 1]
        bounds = arrays.sentences[first : last + 1]
        return [tokenizer.decode(arrays.tokens[a:b]) for a, b in itertools.pairwise(bounds)]

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        return self.tokenizer()


def describe(corpus: Corpus, documents: int = 3, sentences: int = 3) -> dict[str, Any]:
    """Facts about a corpus for `ms-plm inspect`.

    Args:
        corpus: an open corpus.
        documents: how many decoded documents to show.
        sentences: how many sentences of each.

    Returns:
        The manifest's facts, and `examples`: lists of sentences whose words are separated by "/".
    """
    manifest = corpus.manifest
    examples = []
    for shard in corpus.shards[:1]:
        for number in range(min(documents, len(shard.documents) - 1)):
            first = int(shard.documents[number])
            last = min(int(shard.documents[number + 1]), first + sentences)
            examples.append([_words(corpus._tokenizer, shard, sentence) for sentence in range(first, last)])
    return {
        "folder": str(corpus.folder),
        "fingerprint": corpus.fingerprint,
        "tokenizer": manifest["tokenizer"],
        "options": manifest["options"],
        "inputs": manifest["inputs"],
        "counts": {name: asdict(corpus.counts(name)) for name in ROLES},
        "report": manifest["report"],
        "shards": len(manifest["shards"]),
        "bytes": sum(file["bytes"] for shard in manifest["shards"] for file in shard["files"].values()),
        "examples": examples,
    }


def _words(tokenizer: Tokenizer, shard: Shard, sentence: int) -> str:
    first, last = int(shard.sentences[sentence]), int(shard.sentences[sentence + 1])
    starts = np.flatnonzero(shard.word_starts[first:last])
    return "/".join(tokenizer.decode(word) for word in np.split(shard.tokens[first:last], starts[1:]))


def _case(lower_case: bool) -> str:
    return "lower-cased" if lower_case else "cased"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        if (folder / PART).is_file():
            part = read_json(folder / PART)
            raise UserError(
                f"{folder}: part {part['shard'][0]} of {part['shard'][1]} of a corpus, not a whole one. Join all "
                "parts: `ms-plm prepare --join PART PART ... --output FOLDER`."
            )
        if (folder / UNFINISHED).is_dir():
            raise UserError(
                f"{folder}: preparing this corpus was cut short. Run the same `ms-plm prepare` again: it continues."
            )
        raise UserError(
            f"{folder}: no prepared corpus here (no manifest.json). Make one with `ms-plm prepare FILES... "
            "--vocab VOCAB --output FOLDER`."
        )
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path}: not the manifest of a prepared corpus.")
    if manifest.get("version") != VERSION:
        raise UserError(
            f"{path}: version {manifest.get('version')} of the format; this program reads version {VERSION}. "
            "Prepare the corpus again."
        )
    return manifest


def _check_file(path: Path, facts: dict[str, Any], verify: bool) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path}: missing. Copy the whole corpus again, or prepare it again.") from error
    if size != facts["bytes"]:
        raise DamagedFileError(
            f"{path}: {size} bytes, but the manifest says {facts['bytes']}: the file was cut or changed. "
            "Copy the corpus again, or prepare it again."
        )
    if verify and sha256_file(path) != facts["sha256"]:
        raise DamagedFileError(
            f"{path}: its content is not what was written (SHA-256 differs from the manifest's). "
            "Copy the corpus again, or prepare it again."
        )
