"""Removing what is no text: control characters and lone surrogates, counted."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Unicode 14's categories Cc and Cf without tab and line ends, and U+FFFD; written out, because Python versions differ
_CONTROL = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\ufffd\U000110bd\U000110cd\U00013430-\U00013438"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
_control = re.compile(f"[{_CONTROL}]")
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
    if line.isprintable() and "\ufffd" not in line:  # none of those, and no white space but spaces
        return " ".join(line.split()) if "  " in line else line.strip()
    line, count = _control.subn("", line)
    removed.control_characters += count
    line, count = _surrogate.subn("", line)
    removed.surrogates += count
    return _space.sub(" ", line).strip()
