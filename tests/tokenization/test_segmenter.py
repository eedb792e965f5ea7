"""Chinese words come from rjieba where it is installed, and its absence is said."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.common.errors import UserError
from ms_plm.tokenization import load_segmenter
from ms_plm.tokenization.segmenter import _say_once


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_words_joined_are_the_sentence(text):
    pytest.importorskip("rjieba")
    assert "".join(load_segmenter("rjieba").cut(text)) == text


def test_words_are_found():
    pytest.importorskip("rjieba")
    segmenter = load_segmenter("auto")
    assert segmenter.cut("我们在北京大学") == ["我们", "在", "北京大学"]
    assert segmenter.name.startswith("rjieba ")


def test_none_cuts_nothing():
    assert load_segmenter("none").cut is None


def test_an_explicit_choice_without_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(UserError, match=r"pip install 'ms-plm\[zh\]'"):
        load_segmenter("rjieba")


def test_auto_without_the_package_says_so_once(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    _say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert load_segmenter("auto").cut is None
        assert load_segmenter("auto").name == "none"
    assert caplog.text.count("every Chinese character counts as a word") == 1
    _say_once.cache_clear()


def test_an_unknown_choice_is_refused():
    with pytest.raises(UserError, match="auto, none or rjieba"):
        load_segmenter("jieba")
