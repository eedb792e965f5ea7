"""Figures of answers against the published definitions, written another way, and by hand."""

import itertools
import math
import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.data.windows import Answer, Candidate
from ms_plm.evaluation.answers import (
    answer_threshold,
    best_threshold,
    cmrc_em,
    cmrc_f1,
    cmrc_segments,
    squad_em,
    squad_f1,
    squad_has_answer_f1,
    squad_no_answer_accuracy,
    treebank_words,
)

words = st.lists(st.sampled_from(["the", "A", "cat", "Cat.", "sat,", "U.S.", "theory", "—", "an"]), max_size=5).map(
    " ".join
)


def squad_words(text):
    """Rajpurkar et al. (2016): lower case, no punctuation, no articles, one blank between words."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.findall(r"\S+", re.sub(r"\b(?:the|an|a)\b", " ", kept))


def squad_by_hand(guess, accepted):
    """EM and F1 with multisets matched one word after the other."""
    texts = [squad_words(text) for text in accepted]
    texts = [text for text in texts if text] or [[]]
    scores = []
    for text in texts:
        rest, hits = list(text), 0
        for word in squad_words(guess):
            if word in rest:
                rest.remove(word)
                hits += 1
        if not text or not squad_words(guess):
            scores.append(float(text == squad_words(guess)))
        elif hits:
            precision, recall = hits / len(squad_words(guess)), hits / len(text)
            scores.append(2 * precision * recall / (precision + recall))
        else:
            scores.append(0.0)
    return float(squad_words(guess) in texts), max(scores)


@settings(deadline=None)
@given(st.lists(st.tuples(words, st.lists(words, max_size=3)), min_size=1, max_size=6))
def test_squad_figures_follow_the_published_definition(pairs):
    predictions, labels = zip(*pairs, strict=True)
    expected = np.mean([squad_by_hand(*pair) for pair in pairs], axis=0)
    assert (squad_em(predictions, labels), squad_f1(predictions, labels)) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("guess", "accepted", "em", "f1"),
    [
        ("The Cat!", ["cat"], 1, 1),
        ("black cat", ["the cat", "black black dog"], 0, 2 / 3),
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("a theory", ["the  theory."], 1, 1),
    ],
)
def test_squad_figures_of_single_answers(guess, accepted, em, f1):
    assert squad_em([guess], [accepted]) == em
    assert squad_f1([guess], [accepted]) == pytest.approx(f1)


def test_answerable_and_unanswerable_questions_are_also_told_apart():
    predictions, labels = ["cat", "", "dog"], [["cat"], [], []]
    assert squad_has_answer_f1(predictions, labels) == 1
    assert squad_no_answer_accuracy(predictions, labels) == 0.5
    assert math.isnan(squad_no_answer_accuracy(["cat"], [["cat"]]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 0.5, 1]), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=8))
def test_the_best_threshold_is_the_best_of_all(questions):
    answered = [0.0 if impossible else figure for figure, impossible, _ in questions]
    unanswered = [float(impossible) for _, impossible, _ in questions]
    nulls = [score for *_, score in questions]

    def mean(threshold):
        return np.mean([a if n <= threshold else u for a, u, n in zip(answered, unanswered, nulls, strict=True)])

    threshold, figure = best_threshold(answered, unanswered, nulls)
    candidates = [-math.inf, *sorted(set(nulls))]
    assert figure == pytest.approx(max(map(mean, candidates)))
    assert threshold == next(t for t in candidates if mean(t) > figure - 1e-9)


def test_answers_without_confidence_are_withheld_where_that_helps():
    found = [
        Answer("0", (Candidate("cat", 5.0, 0, 3),), 1.0),
        Answer("1", (Candidate("dog", 2.0, 0, 3),), 2.5),
        Answer("2", (Candidate("a dog", 1.0, 0, 5),), 0.9),
        Answer("3", (), 0.0),
    ]
    labels = [["cat"], [], ["dog"], []]
    threshold, figure = answer_threshold(found, labels)
    assert (threshold, figure) == (pytest.approx(-0.1), 1.0)
    assert [answer.text(threshold) for answer in found] == ["cat", "", "a dog", ""]


PUNCTUATION = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"


def cmrc_by_hand(guess, text):
    """Cui et al. (2019): F1 of the longest common run of segments, by trying all runs."""
    segments = []
    for side in (guess, text):
        kept = "".join(c for c in side.strip().lower() if c not in PUNCTUATION)
        segments.append(re.findall("[\u4e00-\u9fa5]|[a-z0-9]+|[,.]", kept))
    runs = [{tuple(side[i:j]) for i, j in itertools.combinations(range(len(side) + 1), 2)} for side in segments]
    longest = max(map(len, runs[0] & runs[1]), default=0)
    if not longest:
        return 0.0
    precision, recall = longest / len(segments[0]), longest / len(segments[1])
    return 2 * precision * recall / (precision + recall)


chinese = st.text(st.sampled_from("北京大学，。《》1 a"), max_size=9)


@settings(deadline=None)
@given(chinese, st.lists(chinese, min_size=1, max_size=3))
def test_cmrc_figures_follow_the_published_definition(guess, accepted):
    assert cmrc_f1([guess], [accepted]) == pytest.approx(max(cmrc_by_hand(guess, text) for text in accepted))


@pytest.mark.parametrize(
    ("guess", "accepted", "em", "f1"),
    [
        ("《北京》大学", ["北京大学"], 1, 1),
        ("北京的大学", ["北京大学"], 0, 2 * 2 / (5 + 4)),
        ("NEZHA base模型", ["nezha模型", "base模型"], 0, 2 * 3 / (4 + 3)),
        ("", ["北京"], 0, 0),
    ],
)
def test_cmrc_figures_of_single_answers(guess, accepted, em, f1):
    assert cmrc_em([guess], [accepted]) == em
    assert cmrc_f1([guess], [accepted]) == pytest.approx(f1)


def test_segments_are_characters_and_words():
    assert cmrc_segments("于2010年（NBA）得3,000分") == ["于", "2010", "年", "nba", "得", "3,000", "分"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it's 3,000 a.b. don't 'x' (ok) u.s. 1.5%", "it 's 3,000 a.b. do n't ' x ' ( ok ) u.s. 1.5 %"),
        ('she said "no, i cannot!" dogs\' tails', 'she said " no , i can not ! " dogs \' tails'),
        ("the end.", "the end ."),
        ("wait... 1990–1991", "wait ... 1990 – 1991"),
    ],
)
def test_words_without_chinese_are_those_of_the_penn_treebank(text, expected):
    assert treebank_words(text) == expected.split()
