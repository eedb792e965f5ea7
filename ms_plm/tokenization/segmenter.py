"""Words of Chinese text, for masking and replacing whole words."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ms_plm.common.errors import UserError

logger = logging.getLogger(__name__)
_CHINESE_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""What BERT's BasicTokenizer counts as Chinese characters."""


def _chinese_table() -> np.ndarray:
    table = np.zeros(0x110000, bool)
    for first, last in _CHINESE_RANGES:
        table[first : last + 1] = True
    return table


CHINESE = _chinese_table()
"""Whether a code point is one of them: bool `[0x110000]`."""


@dataclass(frozen=True)
class Segmenter:
    """Cuts a sentence into words that, joined, are the sentence.

    Attributes:
        name: with the version, because the dictionary decides the words: "rjieba 0.2.2", or "none".
        cut: the function; None if each Chinese character is a word.
    """

    name: str
    cut: Callable[[str], list[str]] | None


NO_SEGMENTER = Segmenter("none", None)


def load_segmenter(choice: str) -> Segmenter:
    """The segmenter of a recipe's or command line's `segmenter`.

    Args:
        choice: "rjieba"; "none"; "auto", which is rjieba where it is installed.

    Raises:
        UserError: rjieba was asked for and is not installed.
    """
    if choice not in ("auto", "none", "rjieba"):
        raise UserError(f"segmenter: expected auto, none or rjieba, found {choice!r}.")
    if choice == "none":
        return NO_SEGMENTER
    try:
        import rjieba
    except ImportError as error:
        if choice == "rjieba":
            raise UserError(
                "segmenter: rjieba is not installed. Install it with `pip install 'ms-plm[zh]'`, or choose "
                "`segmenter: none`, which makes every Chinese character a word."
            ) from error
        _say_once()
        return NO_SEGMENTER
    return Segmenter(f"rjieba {importlib.metadata.version('rjieba')}", rjieba.cut)


@functools.cache
def _say_once() -> None:
    logger.warning(
        "rjieba is not installed: every Chinese character counts as a word, so whole-word masking masks, and `ms-plm "
        "augment` replaces, single characters. `pip install 'ms-plm[zh]'` installs it."
    )
