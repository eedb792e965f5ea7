"""Removing what is no text: control characters and lone surrogates, counted."""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass

_KEPT = "\t\n\r"


def _ranges(codes: list[int]) -> str:
    """A regular-expression character class for sorted code points."""
    parts = []
    first = last = codes[0]
    for code in [*codes[1:], -1]:
        if code == last + 1:
            last = code
            continue
        parts.append(f"\\U{first:08x}-\\U{last:08x}")
        first = last = code
    return "".join(parts)


_CONTROL = [
    code
    for code in range(sys.maxunicode + 1)
    if code == 0xFFFD or (unicodedata.category(chr(code)) in ("Cc", "Cf") and chr(code) not in _KEPT)
]
_control = re.compile(f"[{_ranges(_CONTROL)}]")
_surrogate = re.compile("[\ud800-\udfff]")
_space = re.compile(r"\s+")


@dataclass
class Removed:
    """Counts of what was removed.

    Attributes:
        control_characters: of the Unicode categories Cc and Cf (also zero-width and direction marks), and U+FFFD.
        surrogates: lone halves of UTF-16 pairs, as `\\ud800` in JSON.
    """

    control_characters: int = 0
    surrogates: int = 0


def clean_line(line: str, removed: Removed) -> str:
    """One line without control characters and surrogates, its white space single spaces; counts go to `removed`."""
    if line.isprintable():  # printable: none of those, and no white space but spaces
        return " ".join(line.split()) if "  " in line else line.strip()
    line, count = _control.subn("", line)
    removed.control_characters += count
    line, count = _surrogate.subn("", line)
    removed.surrogates += count
    return _space.sub(" ", line).strip()
