"""Where answers stand in their texts: offsets of a file are checked, mended where the text tells how, or given up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ms_plm.data.benchmarks.examples import QuestionExample

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Located:
    """Questions whose answers stand where they say.

    Attributes:
        examples: in the order they were given, without those that lost their last answer.
        answers: how many answers were checked.
        moved: answers that stood elsewhere and now say so; those that had no offset count too.
        missing: answers that stand nowhere in their text, left out.
        questions: questions left out because no answer remained.
    """

    examples: tuple[QuestionExample, ...]
    answers: int
    moved: int
    missing: int
    questions: int


def located(examples: Sequence[QuestionExample]) -> Located:
    """Check every answer against its text; to train on, not to score with (scores go by the texts of the file).

    An answer that does not stand at its offset is moved to where it stands nearest to it, of two the first.
    """
    kept: list[QuestionExample] = []
    answers = moved = missing = 0
    for example in examples:
        found = [(text, nearest(example.context, text, start)) for text, start in example.answers]
        right = tuple((text, start) for text, start in found if start >= 0)
        answers += len(found)
        missing += len(found) - len(right)
        moved += sum(
            start >= 0 and start != given for (_, start), (_, given) in zip(found, example.answers, strict=True)
        )
        if right or not found:
            kept.append(replace(example, answers=right))
    lost = len(examples) - len(kept)
    if moved or missing:
        logger.warning(
            "Of %s answers %s did not stand where the file says and were moved, %s stand nowhere in their text and "
            "were left out, with them %s questions.",
            *(f"{count:,}" for count in (answers, moved, missing, lost)),
        )
    return Located(tuple(kept), answers, moved, missing, lost)


def nearest(context: str, text: str, start: int) -> int:
    """Where `text` begins in `context`, nearest to `start`; -1 where it does not occur.

    Args:
        context, text: what is searched, and for what.
        start: expected place; -1: the first one is wanted.
    """
    if not text:
        return -1
    before = context.rfind(text, 0, start + len(text)) if start >= 0 else -1
    after = context.find(text, max(start, 0))
    if before < 0 or after < 0:
        return max(before, after)
    return before if start - before <= after - start else after
