"""Entities as runs of tags.

A run may be written in BIO, BIOES or IOB1, and broken runs count as the CoNLL script reads them: an entity begins at B
or S, behind O, E or S, and where the type changes; everything else goes on with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_ENTITY_TAG = re.compile(r"O|[BIMES](-.*)?")


def are_entities(tags: Iterable[str]) -> bool:
    """Whether tags mark entities, such as O, B-PER and I-PER; parts of speech do not."""
    return all(_ENTITY_TAG.fullmatch(tag) for tag in tags)


def entities(tags: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """`(type, first, one after the last)` of each entity of one sentence."""
    begin, kind, before = 0, "", "O"
    for place, tag in enumerate([*tags, "O"]):
        mark, new_kind = tag[:1], tag[1:].removeprefix("-")
        starts = mark != "O" and (mark in "BS" or before in "OES" or new_kind != kind)
        if before != "O" and (starts or mark == "O"):
            yield kind, begin, place
        if starts:
            begin = place
        before, kind = mark, new_kind
