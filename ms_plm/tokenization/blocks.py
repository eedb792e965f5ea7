"""What vocabularies of every kind share: texts as arrays of pieces, and where special tokens stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ms_plm.common.errors import UserError


@dataclass(frozen=True)
class Layout:
    """Special tokens around a text, `begin text end`, and a pair of texts, `begin text between pair end`.

    Attributes:
        begin, between, end: ids.
        second_type: token_type_id of the pair's second text and of `end` behind it; all else has 0.
    """

    begin: tuple[int, ...]
    between: tuple[int, ...]
    end: tuple[int, ...]
    second_type: int

    def special(self, pair: bool) -> int:
        """Number of special tokens around a text, or around a pair."""
        return len(self.begin) + len(self.between) * pair + len(self.end)


@dataclass(frozen=True)
class BlockPieces:
    """Pieces of many texts.

    Attributes:
        ids: uint32 `[T]`.
        begins, ends: int64 `[T]`, character offsets into the joined texts.
        text_ends: int64 `[n]`, the number of pieces in the texts up to each.
        codes: uint32 `[C]`, code points of the texts joined by line feeds.
        text_starts: int64 `[n]`, where each text begins in `codes`.
    """

    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    text_ends: np.ndarray
    codes: np.ndarray
    text_starts: np.ndarray


def code_points(text: str) -> np.ndarray:
    """Code points of a text: uint32 `[len(text)]`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def encodable(text: str) -> str:
    """The text with lone surrogates, which the tokenizers library cannot take, replaced by U+FFFD."""
    if not isinstance(text, str):
        raise UserError(f"texts: expected text, found {type(text).__name__}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text
