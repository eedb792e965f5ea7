"""Lines are cut at sentence ends, and nothing of them is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ms_plm.data.sentences import MAX_CHARACTERS, sentences


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("我来了。他走了！真的？是；", ["我来了。", "他走了！", "真的？", "是；"]),
        ("他说：“你好！”然后走了……没人知道。", ["他说：“你好！”", "然后走了……", "没人知道。"]),
        ("真的？！不会吧", ["真的？！", "不会吧"]),
        ("他走了!真好", ["他走了!", "真好"]),
        ("It costs 3.14 dollars. Really! Who?", ["It costs 3.14 dollars.", "Really!", "Who?"]),
        ('Mr. Smith met J. Doe. "Yes." He left.', ["Mr. Smith met J. Doe.", '"Yes."', "He left."]),
        ("see a.b!c and example.com", ["see a.b!c and example.com"]),
        ("没有标点", ["没有标点"]),
        ("", []),
        ("   ", []),
    ],
)
def test_sentence_ends(line, expected):
    assert list(sentences(line)) == expected


def test_a_sentence_without_end_is_cut_at_a_pause():
    line = "甲" * 300 + "，" + "乙" * 400
    assert list(sentences(line)) == ["甲" * 300 + "，", "乙" * 400]
    assert [len(part) for part in sentences("甲" * 1100)] == [500, 500, 100]


@given(st.text("甲乙a. 。！？!?”，\u3000", max_size=1500))
def test_nothing_but_spaces_is_lost_and_nothing_is_too_long(line):
    parts = list(sentences(line))
    assert all(part and part == part.strip() and len(part) <= MAX_CHARACTERS for part in parts)
    assert "".join("".join(parts).split()) == "".join(line.split())
