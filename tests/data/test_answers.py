"""Answers that do not stand where their file says are moved to the nearest place, or given up and counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ms_plm.data.answers import located, nearest
from ms_plm.data.benchmarks import QuestionExample


def question(*answers, impossible=False, context="北京的北京大学"):
    return QuestionExample("Q", "问", context, answers, impossible)


@given(st.text("ab", max_size=12), st.text("ab", min_size=1, max_size=3), st.integers(-1, 14))
def test_the_nearest_place_is_the_nearest_of_all(context, text, start):
    places = [place for place in range(len(context)) if context.startswith(text, place)]
    expected = min(places, key=lambda place: (abs(place - max(start, 0)), place), default=-1)
    assert nearest(context, text, start) == expected


@pytest.mark.parametrize(
    ("answers", "expected", "counts"),
    [
        ([("北京", 3)], [("北京", 3)], (1, 0, 0, 0)),
        ([("北京", 2)], [("北京", 3)], (1, 1, 0, 0)),
        ([("北京", -1)], [("北京", 0)], (1, 1, 0, 0)),
        ([("上海", 0), ("大学", 5)], [("大学", 5)], (2, 0, 1, 0)),
        ([("上海", 0)], None, (1, 0, 1, 1)),
    ],
)
def test_answers_are_kept_moved_or_left_out_and_counted(answers, expected, counts, caplog):
    found = located([question(*answers)])
    assert [list(example.answers) for example in found.examples] == ([] if expected is None else [expected])
    assert (found.answers, found.moved, found.missing, found.questions) == counts
    assert bool(caplog.text) == (counts[1:] != (0, 0, 0))


def test_questions_without_answers_stay_as_they_are():
    examples = (question(), question(impossible=True))
    assert located(examples).examples == examples
