"""A corpus in memory, of the shape of `ms_plm.data.corpus.Corpus`, for tests that need no text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ms_plm.data.updates import Update
from ms_plm.tokenization import Layout

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FIRST_REAL = 20  # below: the special tokens and [unused..] places


class FakeTokenizer:
    """The vocabulary's side of a tokenizer; entries from `FIRST_REAL` on are real tokens."""

    def __init__(self, vocab_size: int) -> None:
        unused = [f"[unused{i}]" for i in range(FIRST_REAL - len(SPECIAL))]
        self.vocabulary = [*SPECIAL, *unused, *(f"t{i}" for i in range(FIRST_REAL, vocab_size))]
        self.vocab_size = vocab_size
        self.special_ids = tuple(range(len(SPECIAL)))
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self.special_ids
        self.layout = Layout((self.cls_id,), (self.sep_id,), (self.sep_id,), second_type=1)
        self.fingerprint = f"fake-{vocab_size}"

    def tokens(self, ids: list[int]) -> list[str]:
        return [self.vocabulary[i] for i in ids]

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(self.vocabulary) + "\n")


@dataclass
class FakeShard:
    tokens: np.ndarray
    word_starts: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    roles: np.ndarray


@dataclass
class FakeCorpus:
    shards: tuple[FakeShard, ...]
    vocab_size: int = 1000
    fingerprint: str = "fake"
    folder: Path = field(default_factory=lambda: Path("fake-corpus"))

    def tokenizer(self) -> FakeTokenizer:
        return FakeTokenizer(self.vocab_size)


def offsets(lengths: list[int] | np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def shard_of(
    documents: list[list[int]], roles: list[int] | None = None, seed: int = 0, vocab_size: int = 1000
) -> FakeShard:
    """A shard whose documents are lists of sentence lengths; tokens and words are random."""
    lengths = [length for document in documents for length in document]
    random = np.random.default_rng(seed)
    sentences = offsets(lengths)
    tokens = random.integers(FIRST_REAL, vocab_size, sentences[-1]).astype(np.uint16)
    word_starts = random.random(len(tokens)) < 0.6
    word_starts[sentences[:-1]] = True
    roles = np.asarray(roles if roles is not None else [0] * len(documents), np.uint8)
    return FakeShard(tokens, word_starts, sentences, offsets([len(document) for document in documents]), roles)


def random_corpus(
    documents: int = 60, shards: int = 2, seed: int = 0, longest: int = 40, sentences: int = 12
) -> FakeCorpus:
    """Documents of random sentences; about one in ten is held out, one in ten a duplicate."""
    random = np.random.default_rng(seed)
    parts = []
    for number in range(shards):
        shapes = [random.integers(1, longest, random.integers(1, sentences)).tolist() for _ in range(documents)]
        roles = random.choice([0, 1, 2], documents, p=[0.8, 0.1, 0.1]).tolist()
        parts.append(shard_of(shapes, roles, seed + number))
    return FakeCorpus(tuple(parts), fingerprint=f"fake-{documents}-{shards}-{seed}-{longest}-{sentences}")


def rows_of(updates: list[Update]) -> dict[str, np.ndarray]:
    """The arrays of updates laid end to end, with masked positions `[n, P]` inside their rows."""
    micro_batches = [arrays for update in updates for arrays in update.micro_batches]
    result: dict[str, np.ndarray] = {}
    for key in micro_batches[0]:
        parts = []
        for arrays in micro_batches:
            rows, length = arrays["input_ids"].shape
            value = arrays[key].reshape(rows, -1)
            if key == "masked_positions":
                value = value - np.arange(rows)[:, None] * length
            parts.append(value)
        result[key] = np.concatenate(parts)
    return result
