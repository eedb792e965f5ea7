"""Figures of classification and regression: ids `[n]` or numbers `[n]` of predictions and labels.

Computed by scikit-learn and SciPy. A figure that is undefined, because all predictions or all labels are the same or
no example is positive, is 0, as scikit-learn has it: a model that says nothing shows no relation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Share of ids that are the label."""
    return float((np.asarray(predictions) == np.asarray(labels)).mean())


def f1(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Harmonic mean of precision and recall of class 1."""
    from sklearn.metrics import f1_score

    return float(f1_score(np.asarray(labels) == 1, np.asarray(predictions) == 1, zero_division=0))


def macro_f1(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes that occur, in labels or predictions, of each one's F1."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def matthews(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Matthews' correlation, of any number of classes."""
    from sklearn.metrics import matthews_corrcoef

    return 0.0 if _constant(predictions) or _constant(labels) else float(matthews_corrcoef(labels, predictions))


def pearson(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Correlation of numbers."""
    from scipy.stats import pearsonr

    return 0.0 if _constant(predictions) or _constant(labels) else float(pearsonr(predictions, labels).statistic)


def spearman(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Correlation of ranks; ties share their mean rank."""
    from scipy.stats import spearmanr

    return 0.0 if _constant(predictions) or _constant(labels) else float(spearmanr(predictions, labels).statistic)


def pearson_spearman(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Mean of both, STS-B's score in GLUE."""
    return (pearson(predictions, labels) + spearman(predictions, labels)) / 2


def _constant(values: ArrayLike) -> bool:
    values = np.asarray(values, np.float64)
    return len(values) < 2 or bool((values == values[0]).all())


def exact_questions(predictions: ArrayLike, labels: Sequence[tuple[Hashable, int]]) -> float:
    """MultiRC's EM: share of questions all of whose answers are judged right.

    Args:
        predictions: ids `[n]`, one per answer.
        labels: `(question, id)` per answer.
    """
    right: defaultdict[Hashable, bool] = defaultdict(lambda: True)
    for prediction, (question, label) in zip(np.asarray(predictions), labels, strict=True):
        right[question] &= bool(prediction == label)
    return float(np.mean(list(right.values())))


def gender_parity(predictions: ArrayLike, labels: Sequence[tuple[Hashable, int]]) -> float:
    """AX-g's second figure (SuperGLUE, arXiv 1905.00537, section 3.3): share of the pairs of sentences, which differ in
    the gender of a pronoun alone, whose predictions are the same, right or wrong.

    Args:
        predictions: ids `[n]`, one per sentence.
        labels: `(pair, id)` per sentence.
    """
    said: defaultdict[Hashable, set[int]] = defaultdict(set)
    for prediction, (pair, _) in zip(np.asarray(predictions).tolist(), labels, strict=True):
        said[pair].add(prediction)
    return float(np.mean([len(ids) == 1 for ids in said.values()]))
