"""Metrics against their definitions."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax as scipy_log_softmax

from ms_plm.evaluation.metrics import (
    PretrainingSums,
    accuracy,
    content_tokens,
    log_softmax,
    masked_sums,
    next_sentence_sums,
    perplexity,
    weighted_mean,
)


def test_a_weighted_mean_ignores_values_without_weight_even_nan():
    assert weighted_mean(np.array([1.0, 4.0, np.nan]), np.array([1.0, 0.5, 0.0])) == pytest.approx(2.0)


def test_a_mean_over_nothing_is_nan():
    assert math.isnan(weighted_mean(np.array([1.0]), np.array([0.0])))


def test_accuracy_is_the_weighted_share_of_hits():
    assert accuracy(np.array([1, 2, 3]), np.array([1, 9, 3]), np.array([1.0, 1.0, 2.0])) == pytest.approx(0.75)


def test_a_uniform_guess_over_n_tokens_has_perplexity_n():
    assert perplexity(math.log(21128)) == pytest.approx(21128)
    assert perplexity(1e6) == math.inf


def test_log_softmax_is_exact_for_large_and_small_logits():
    logits = np.random.default_rng(0).normal(0, 300, (4, 50)).astype(np.float32)
    np.testing.assert_allclose(log_softmax(logits), scipy_log_softmax(logits.astype(np.float64), -1), atol=1e-12)


def test_punctuation_of_all_scripts_and_unknown_do_not_count():
    entries = ["[UNK]", "的", "，", "##。", "...", "a", "##ing", "《", "!", "don't", "1", "##", "$"]
    mask = content_tokens(entries, [0])
    assert [entry for entry, kept in zip(entries, mask, strict=True) if not kept] == [
        "[UNK]",
        "，",
        "##。",
        "...",
        "《",
        "!",
        "##",
    ]


def test_sums_of_batches_add_up_to_those_of_all():
    random = np.random.default_rng(1)
    predictions, labels = random.integers(0, 6, (2, 40))
    weights, losses = random.choice([0.0, 1.0, 0.5], 40), random.random(40)
    content = np.array([False, True, True, True, False, True])
    whole = masked_sums(predictions, labels, weights, content, losses)
    parts = PretrainingSums()
    for start in range(0, 40, 7):
        here = slice(start, start + 7)
        parts += masked_sums(predictions[here], labels[here], weights[here], content, losses[here])
    np.testing.assert_allclose(whole.as_array(), parts.as_array())
    assert whole.positions == np.count_nonzero(weights)
    assert whole.loss == pytest.approx((losses * weights).sum())
    counted = content[labels]
    hits = (predictions == labels) * weights
    assert (whole.correct, whole.content_correct) == pytest.approx((hits.sum(), hits[counted].sum()))
    assert whole.content_weight == pytest.approx(weights[counted].sum())


def test_sums_survive_the_way_through_an_array():
    sums = PretrainingSums(*range(9))
    assert PretrainingSums.from_array(sums.as_array()) == sums


def test_repeated_rows_of_the_last_batch_do_not_count_for_next_sentence():
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    sums = next_sentence_sums(logits, np.array([0, 0, 1]), np.array([1.0, 1.0, 0.0]))
    assert sums.next_correct == 1
    assert sums.next_loss == pytest.approx(math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1)))
