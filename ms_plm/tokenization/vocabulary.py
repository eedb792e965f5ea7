"""Reading and checking a vocab.txt, and the options that say how text becomes its pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import tokenizers

from ms_plm.common.errors import UserError

MAX_CHARACTERS_PER_WORD = 100
"""Longer words become the unknown token (BERT's WordpieceTokenizer)."""


@dataclass(frozen=True)
class Options:
    """What decides ids besides the vocabulary; names of the fields in Hugging Face's tokenizer_config.json."""

    do_lower_case: bool = True
    strip_accents: bool | None = None
    """None: accents go where upper case goes."""
    tokenize_chinese_chars: bool = True
    pad_token: str = "[PAD]"
    unk_token: str = "[UNK]"
    cls_token: str = "[CLS]"
    sep_token: str = "[SEP]"
    mask_token: str = "[MASK]"

    @property
    def special_tokens(self) -> dict[str, str]:
        """Special tokens by role: `{"pad_token": "[PAD]", ...}`."""
        return {name: value for name, value in asdict(self).items() if name.endswith("_token")}

    @property
    def added_tokens(self) -> list[tokenizers.AddedToken]:
        """Special tokens as they are found in a text."""
        return [tokenizers.AddedToken(token, special=True, normalized=False) for token in self.special_tokens.values()]


def read_vocabulary(path: Path) -> list[str]:
    """Entries of a vocab.txt, one a line, in the order of their ids.

    Raises:
        UserError: the file is missing, not UTF-8, has an empty or a repeated line (named).
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such vocabulary. Expected a vocab.txt with one entry a line.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: a vocabulary must be UTF-8, but byte {error.start} is not. "
            "Is this the vocab.txt of the model? Convert it, for example with `iconv -t UTF-8`."
        ) from error
    lines = text.removesuffix("\n").split("\n")
    entries = [line.removesuffix("\r") for line in lines]
    if entries == [""]:
        raise UserError(f"{path}: the vocabulary is empty. Expected one entry a line.")
    check_entries(entries, path)
    return entries


def check_entries(entries: Sequence[str], path: Path) -> None:
    """Refuse empty and repeated entries: with them ids and entries no longer match one to one."""
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        if entry == "":
            raise UserError(f"{path}, line {number}: an empty line in the vocabulary. Remove it or restore the entry.")
        if entry in seen:
            raise UserError(
                f"{path}, line {number}: {entry!r} is already in line {seen[entry]}. "
                "A vocabulary has every entry once; restore the original file."
            )
        seen[entry] = number


class SpecialTokens(Protocol):
    """Options of any kind."""

    special_tokens: dict[str, str]


def check_special_tokens(entries: Sequence[str], options: SpecialTokens, path: Path) -> None:
    """Refuse a vocabulary without its special tokens."""
    wanted = list(dict.fromkeys(options.special_tokens.values()))
    missing = sorted(set(wanted) - set(entries))
    if missing:
        raise UserError(
            f"{path}: the vocabulary has {len(entries)} entries, but none of them is {' or '.join(missing)} "
            f"(the first is {entries[0]!r}). Expected a vocabulary with {', '.join(wanted)}; other names belong into "
            "tokenizer_config.json beside it."
        )


def looks_cased(entries: Sequence[str]) -> bool:
    """Whether a vocabulary holds upper-case letters beyond a few special entries."""
    return sum(entry != entry.lower() and entry[0] not in "[<" for entry in entries) > len(entries) // 100
