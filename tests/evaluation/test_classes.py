"""Figures against their definitions, written out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.evaluation.classes import (
    accuracy,
    exact_questions,
    f1,
    gender_parity,
    macro_f1,
    matthews,
    pearson,
    pearson_spearman,
    spearman,
)

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


def counts(pairs, positive):
    hit = sum(p == positive and y == positive for p, y in pairs)
    return hit, sum(p == positive for p, _ in pairs), sum(y == positive for _, y in pairs)


def f1_by_hand(pairs, positive):
    hit, predicted, labelled = counts(pairs, positive)
    return 2 * hit / (predicted + labelled) if hit else 0.0


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_accuracy_and_f1_are_counts_of_hits(pairs):
    predictions, labels = zip(*pairs, strict=True)
    assert accuracy(predictions, labels) == pytest.approx(sum(p == y for p, y in pairs) / len(pairs))
    assert f1(predictions, labels) == pytest.approx(f1_by_hand(pairs, 1))
    occurring = sorted({*predictions, *labels})
    assert macro_f1(predictions, labels) == pytest.approx(np.mean([f1_by_hand(pairs, c) for c in occurring]))


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_matthews_is_the_correlation_of_indicators(pairs):
    """Gorodkin's definition: covariances of one-hot predictions and labels, summed over classes."""
    hot = np.eye(4)
    p, y = (hot[list(side)] - hot[list(side)].mean(0) for side in zip(*pairs, strict=True))
    scale = math.sqrt((p * p).sum() * (y * y).sum())
    predictions, labels = zip(*pairs, strict=True)
    assert matthews(predictions, labels) == pytest.approx((p * y).sum() / scale if scale > 1e-9 else 0.0, abs=1e-9)


def ranks(values):
    return [sum(v < x for v in values) + (1 + sum(v == x for v in values)) / 2 for x in values]


def correlation(x, y):
    x, y = np.subtract(x, np.mean(x)), np.subtract(y, np.mean(y))
    return (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())


def test_correlations_are_those_of_values_and_of_ranks_with_ties():
    random = np.random.default_rng(0)
    labels = random.integers(0, 11, 60) / 2
    predictions = np.round(labels + random.normal(0, 1.5, 60), 1)
    assert pearson(predictions, labels) == pytest.approx(correlation(predictions, labels))
    assert spearman(predictions, labels) == pytest.approx(correlation(ranks(predictions), ranks(labels)))
    assert pearson_spearman(predictions, labels) == pytest.approx(
        (correlation(predictions, labels) + correlation(ranks(predictions), ranks(labels))) / 2
    )


def test_a_model_that_always_says_the_same_shows_no_relation(recwarn):
    constant, labels = np.full(4, 2.5, np.float32), np.array([1.0, 2.0, 3.0, 4.0])
    assert [figure(constant, labels) for figure in (pearson, spearman, pearson_spearman)] == [0, 0, 0]
    assert matthews([1, 1, 1], [0, 1, 0]) == 0
    assert f1([0, 0], [0, 0]) == 0
    assert not recwarn


def test_a_question_counts_when_all_its_answers_are_judged_right():
    labels = [("a", 1), ("b", 0), ("a", 0), ("b", 0), ("c", 1)]
    assert exact_questions([1, 1, 0, 0, 1], labels) == pytest.approx(2 / 3)


def test_parity_is_the_share_of_pairs_with_one_answer_right_or_wrong():
    labels = [("a", 0), ("a", 0), ("b", 1), ("b", 1), ("c", 0), ("c", 0)]
    assert gender_parity([1, 1, 1, 1, 0, 1], labels) == pytest.approx(2 / 3)
