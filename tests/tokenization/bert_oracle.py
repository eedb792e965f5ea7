"""BERT's BasicTokenizer and WordpieceTokenizer, written from their description for comparison, one text at a time."""

from __future__ import annotations

import unicodedata

CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def _punctuation(character: str) -> bool:
    code = ord(character)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(character).startswith("P")


def words(text: str, lower_case: bool) -> list[str]:
    cleaned = ""
    for character in text:
        category = unicodedata.category(character)
        if character in " \t\n\r" or category == "Zs":
            cleaned += " "
        elif ord(character) in (0, 0xFFFD) or category.startswith("C"):
            continue
        elif any(first <= ord(character) <= last for first, last in CHINESE):
            cleaned += f" {character} "
        else:
            cleaned += character
    found = []
    for word in cleaned.split():
        if lower_case:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(character for character in word if unicodedata.category(character) != "Mn")
        part = ""
        for character in word:
            if _punctuation(character):
                found += [part, character]
                part = ""
            else:
                part += character
        found.append(part)
    return [word for word in found if word]


def word_pieces(word: str, vocabulary: dict[str, int]) -> list[str]:
    if len(word) > 100:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start = end
                break
        else:
            return ["[UNK]"]
    return pieces


def tokenize(text: str, vocabulary: dict[str, int], lower_case: bool) -> list[str]:
    return [piece for word in words(text, lower_case) for piece in word_pieces(word, vocabulary)]
