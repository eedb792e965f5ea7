"""The quick start's texts are sound, and its vocabulary covers them."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

import ms_plm.resources
from ms_plm.tokenization import Tokenizer, train_tokenizer

QUICKSTART = Path(ms_plm.resources.__file__).parent / "quickstart"
VOCABULARY = QUICKSTART / "vocab.txt"
LANGUAGES = ("zh", "en")


def read(language: str) -> str:
    # strict decoding: a byte that is not UTF-8 raises
    return (QUICKSTART / f"{language}.txt").read_bytes().decode("utf-8")


def documents(text: str) -> list[str]:
    return [document for document in re.split(r"\n\n+", text) if document.strip()]


def sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in re.findall(r"[^。！？.!?\n]+[。！？.!?]+[”\"]?", text)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_several_hundred_sentences_in_many_documents(language: str) -> None:
    text = read(language)
    assert len(documents(text)) >= 50
    assert len(sentences(text)) >= 350


@pytest.mark.parametrize("language", LANGUAGES)
def test_hardly_any_sentence_is_said_twice_and_no_document_is(language: str) -> None:
    text = read(language)
    said = sentences(text)
    assert len(set(said)) >= 0.95 * len(said)
    assert len(set(documents(text))) == len(documents(text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_hold_no_control_characters_and_stay_composed(language: str) -> None:
    text = read(language)
    odd = {c for c in text if c != "\n" and unicodedata.category(c)[0] == "C"}
    assert odd == set()
    assert unicodedata.is_normalized("NFC", text)
    assert all(line == line.strip() for line in text.split("\n"))


def test_the_texts_are_in_the_language_their_names_say() -> None:
    def chinese(text: str) -> float:
        return sum("\u4e00" <= c <= "\u9fff" for c in text) / len(text)

    assert chinese(read("zh")) > 0.7
    assert chinese(read("en")) == 0.0


def test_vocabulary_entries_are_unique_and_hold_every_chinese_character() -> None:
    entries = VOCABULARY.read_bytes().decode("utf-8").splitlines()
    assert len(entries) == len(set(entries))
    characters = {c for c in read("zh") if "\u4e00" <= c <= "\u9fff"}
    assert characters - set(entries) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_under_one_percent_of_the_tokens_are_unknown(language: str) -> None:
    tokenizer = Tokenizer.load(VOCABULARY)
    ids = [token for pieces in tokenizer.pieces(documents(read(language))) for token in pieces.ids.tolist()]
    assert len(ids) > 1000
    assert ids.count(tokenizer.unk_id) < 0.01 * len(ids)


def test_the_vocabulary_is_the_one_its_command_builds_from_the_texts() -> None:
    lines = [line for language in LANGUAGES for line in read(language).splitlines()]
    built = train_tokenizer(lines, vocab_size=1500, min_frequency=1)
    assert built.vocabulary == Tokenizer.load(VOCABULARY).vocabulary
