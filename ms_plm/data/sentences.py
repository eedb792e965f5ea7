"""Cutting lines into sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_CHARACTERS = 500
"""A longer sentence is cut, at a comma or a space where there is one: a sample has room for at least one sentence."""

_CLOSING = r"[”’\"'」』）)》〉】\]]*"
_CHINESE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
# Chinese marks end a sentence wherever they stand. Those of English do before a space, the end or Chinese; a full stop
# before a space only, and not after a single letter or a common title.
# (It begins with a set of characters because the engine then skips all others fast.)
_end = re.compile(
    rf"[。！？；…!?.](?:(?<=[。！？；…])[。！？；…!?]*{_CLOSING}|(?<=[!?])[!?]*{_CLOSING}(?=\s|$|[{_CHINESE}“「『（《])|"
    rf"(?<=\.)(?<!\b[A-Za-z]\.)(?<!\bMr\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)(?<!\bvs\.)\.*{_CLOSING}(?=\s))"
)
_pause = re.compile(r"[，、：,:]|\s")


def sentences(line: str) -> Iterator[str]:
    """Sentences of a cleaned line, without surrounding spaces, none empty, none above `MAX_CHARACTERS`."""
    start = 0
    for match in _end.finditer(line):
        yield from _bounded(line[start : match.end()].strip())
        start = match.end()
    yield from _bounded(line[start:].strip())


def _bounded(sentence: str) -> Iterator[str]:
    while len(sentence) > MAX_CHARACTERS:
        cut = MAX_CHARACTERS
        for match in _pause.finditer(sentence, MAX_CHARACTERS // 2, MAX_CHARACTERS):
            cut = match.end()
        yield sentence[:cut].strip()
        sentence = sentence[cut:].strip()
    if sentence:
        yield sentence
