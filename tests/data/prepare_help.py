"""Texts, a small vocabulary and ways to look into a prepared folder, for the tests of `prepare`."""

from __future__ import annotations

import functools
import hashlib
import random
from pathlib import Path

import numpy as np

import ms_plm.data.prepare
from ms_plm.config.recipe import TextSection
from ms_plm.data.corpus import Corpus
from ms_plm.data.inputs import plan_units
from ms_plm.tokenization import Options, Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = "我们在北京大学学习今天气很好中国人民爱自然语言处理，。！？：“”"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = list(
    dict.fromkeys(
        [*SPECIAL, *CHARACTERS, *LETTERS, *(f"##{x}" for x in LETTERS), *"0123456789.,!?-[]'", "the", "##ing"]
    )
)
TOKENIZER = Tokenizer(VOCABULARY, Options(do_lower_case=True))


def chinese_documents(count: int, seed: int = 0) -> list[list[str]]:
    """Documents of a few sentences; about every tenth repeats an earlier one."""
    generator = random.Random(seed)
    documents: list[list[str]] = []
    for _ in range(count):
        if documents and generator.random() < 0.1:
            documents.append(generator.choice(documents))
            continue
        lines = ["".join(generator.choices(CHARACTERS[:-7], k=generator.randint(4, 20))) + "。" for _ in range(4)]
        documents.append(lines[: generator.randint(1, 4)])
    return documents


def write_text(path: Path, documents: list[list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join("\n".join(document) for document in documents) + "\n", encoding="utf-8")
    return path


def section(*files: Path | str, **options: object) -> TextSection:
    return TextSection(files=tuple(map(str, files)), **{"segmenter": "none", **options})


def small_units(monkeypatch, size: int = 3000) -> None:
    """Work units of a few kilobytes, so that small texts have several."""
    limited = functools.partial(plan_units, limits=(size, 1 << 30))
    monkeypatch.setattr(ms_plm.data.prepare, "plan_units", limited)


def contents(folder: Path) -> dict[str, str]:
    """Hashes of all files below a folder, hidden ones too, by their relative names."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def texts(corpus: Corpus, role: int | None = None) -> list[list[str]]:
    """Decoded documents, of one role or of all."""
    return [
        corpus.document(number, document)
        for number, shard in enumerate(corpus.shards)
        for document in range(len(shard.roles))
        if role is None or shard.roles[document] == role
    ]


def roles(corpus: Corpus) -> list[int]:
    return np.concatenate([shard.roles for shard in corpus.shards]).tolist()


def words(corpus: Corpus) -> list[list[str]]:
    """Words of every sentence, as the corpus stores their beginnings."""
    found = []
    for shard in corpus.shards:
        for first, last in zip(shard.sentences[:-1], shard.sentences[1:], strict=True):
            starts = np.flatnonzero(shard.word_starts[first:last])
            found.append([TOKENIZER.decode(word) for word in np.split(shard.tokens[first:last], starts[1:])])
    return found
