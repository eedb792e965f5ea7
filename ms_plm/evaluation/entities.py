"""Precision, recall and F1 over entities, as the CoNLL script counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ms_plm.common.errors import UserError
from ms_plm.data.tags import entities

Tags = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figures:
    """Counts of entities, and what follows from them; a share of nothing is 0."""

    hits: int = 0
    predicted: int = 0
    labelled: int = 0

    @property
    def precision(self) -> float:
        """Share of the predicted entities that are right."""
        return self.hits / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the labelled entities that were found."""
        return self.hits / self.labelled if self.labelled else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.hits / (self.predicted + self.labelled) if self.hits else 0.0


def entity_figures(predictions: Tags, labels: Tags) -> dict[str, Figures]:
    """Figures of every type that occurs, by name; an entity is right if its type and both ends are.

    Args:
        predictions, labels: tags of the sentences, as many for a sentence in both.

    Raises:
        UserError: another number of sentences, or of tags in one.
    """
    if len(predictions) != len(labels):
        raise UserError(f"tags: {len(predictions)} sentences predicted, {len(labels)} labelled.")
    hits: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    for number, (guess, truth) in enumerate(zip(predictions, labels, strict=True)):
        if len(guess) != len(truth):
            raise UserError(f"tags: sentence {number} has {len(guess)} predicted and {len(truth)} labelled tags.")
        found, expected = set(entities(guess)), set(entities(truth))
        predicted.update(kind for kind, _, _ in found)
        labelled.update(kind for kind, _, _ in expected)
        hits.update(kind for kind, _, _ in found & expected)
    return {
        kind: Figures(hits[kind], predicted[kind], labelled[kind])
        for kind in sorted(predicted.keys() | labelled.keys())
    }


def all_entities(predictions: Tags, labels: Tags) -> Figures:
    """Figures over the entities of all types together."""
    by_kind = entity_figures(predictions, labels).values()
    return Figures(*(sum(getattr(figures, name) for figures in by_kind) for name in ("hits", "predicted", "labelled")))


def entity_f1(predictions: Tags, labels: Tags) -> float:
    """F1 over the entities of all types together."""
    return all_entities(predictions, labels).f1


def entity_macro_f1(predictions: Tags, labels: Tags) -> float:
    """Mean of the F1 of every type that occurs (CLUENER's leaderboard)."""
    found = entity_figures(predictions, labels).values()
    return sum(figures.f1 for figures in found) / len(found) if found else 0.0


def entity_precision(predictions: Tags, labels: Tags) -> float:
    """Share of the predicted entities that are right."""
    return all_entities(predictions, labels).precision


def entity_recall(predictions: Tags, labels: Tags) -> float:
    """Share of the labelled entities that were found."""
    return all_entities(predictions, labels).recall


def token_accuracy(predictions: Tags, labels: Tags) -> float:
    """Share of words whose tag is right."""
    pairs = [
        guess == truth
        for sentence in zip(predictions, labels, strict=True)
        for guess, truth in zip(*sentence, strict=True)
    ]
    return sum(pairs) / len(pairs)
