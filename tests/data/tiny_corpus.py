"""A prepared corpus over the vocabulary of the golden models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ms_plm.config.recipe import TextSection
from ms_plm.data.corpus import Corpus
from ms_plm.data.prepare import prepare
from ms_plm.tokenization import Tokenizer


def make_corpus(folder: Path, vocabulary: Path, holdout: float = 0.3, lower_case: bool | None = None) -> Corpus:
    """60 documents of random words, `holdout` of them held out."""
    tokenizer = Tokenizer.load(vocabulary, lower_case)
    words = [word for word in tokenizer.vocabulary if word.isalpha() and len(word) == 1]
    random = np.random.default_rng(0)
    documents = [
        "\n".join(" ".join(random.choice(words, random.integers(4, 12))) + "." for _ in range(3)) for _ in range(60)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    text.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    section = TextSection(files=(str(text),), holdout=holdout, segmenter="none")
    return prepare(section, tokenizer, folder / "corpus")
