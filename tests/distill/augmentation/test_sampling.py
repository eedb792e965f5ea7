"""Variants of a text: drawn as they should be, and the rest of the text untouched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ms_plm.distill.augmentation.sampling import variants, with_capitals_of
from ms_plm.distill.augmentation.words import ReadText, Word


def text_of(*parts: str) -> ReadText:
    """A text of parts; every second one is a word."""
    words, at = [], 0
    for number, part in enumerate(parts):
        if number % 2:
            words.append(Word(at, at + len(part), 0, 1, False))
        at += len(part)
    return ReadText("".join(parts), np.zeros(0, np.int32), tuple(words))


TEXT = text_of('"', "film", '"\t', "good", " — ", "Déjà", " 电影\\n'")
CANDIDATES = [["movie", "story", "piece"], ["bad", "fine"], ["again"]]


def draw(count=20, probability=0.4, seed=1, row=0, side=0, read=TEXT, candidates=CANDIDATES):
    return variants(read, candidates, count, probability, seed, row, side)


def test_quotes_tabs_and_everything_else_stay_where_they_are():
    found = draw(count=12)
    possible = {
        f'"{a}"\t{b} — {c} 电影\\n\''
        for a in ["film", *CANDIDATES[0]]
        for b in ["good", *CANDIDATES[1]]
        for c in ["Déjà", "Again"]
    }
    assert set(found) < possible
    assert TEXT.text not in found
    assert len(found) == len(set(found)) == 12


def test_there_are_no_more_than_the_words_allow():
    assert len(draw(count=1000)) == 4 * 3 * 2 - 1


def test_a_word_without_candidates_stays_and_so_does_a_text_without_words():
    assert all('"film"' in text for text in draw(candidates=[[], ["bad"], ["again"]]))
    assert draw(candidates=[[], [], []]) == []
    assert draw(read=text_of("!"), candidates=[]) == []


def test_words_give_way_with_the_probability_and_candidates_are_drawn_alike():
    read, candidates = text_of("", *["word", " "] * 50), [["one", "two", "six"]] * 50
    words = [word for row in range(40) for text in draw(10, 0.4, row=row, read=read, candidates=candidates)
             for word in text.split()]  # fmt: skip
    assert len(words) == 20_000
    assert words.count("word") / len(words) == pytest.approx(0.6, abs=0.02)
    for candidate in ("one", "two", "six"):
        assert words.count(candidate) / len(words) == pytest.approx(0.4 / 3, abs=0.015)


def test_seed_row_and_side_decide_and_nothing_else():
    assert draw() == draw()
    others = [draw(seed=2), draw(row=1), draw(side=1)]
    assert all(other != draw() for other in others)
    assert draw(count=5) == draw(count=20)[:5]


@given(st.text(), st.text(min_size=1), st.text(), st.text(min_size=1))
def test_any_text_keeps_what_is_no_word(before, word, after, candidate):
    for text in draw(3, 1.0, read=text_of(before, word, after), candidates=[[candidate]]):
        assert text == before + with_capitals_of(word, candidate) + after


@pytest.mark.parametrize(
    ("word", "candidate", "expected"),
    [
        ("Film", "picture", "Picture"),
        ("FILM", "picture", "PICTURE"),
        ("film", "Paris", "Paris"),
        ("电影", "电视", "电视"),
    ],
)
def test_a_candidate_takes_the_capitals(word, candidate, expected):
    assert with_capitals_of(word, candidate) == expected
