"""What is no text is removed and counted."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ms_plm.data.cleaning import Removed, clean_line


@pytest.mark.parametrize(
    ("line", "expected", "control", "surrogates"),
    [
        ("今天\x00天\u200b气\ufeff", "今天天气", 3, 0),
        ("a\ud800b\udfff", "ab", 0, 2),
        ("bad \ufffd character", "bad character", 1, 0),
        ("  two   spaces\tand\u3000wide ones ", "two spaces and wide ones", 0, 0),
        ("nothing to do", "nothing to do", 0, 0),
        ("\x07", "", 1, 0),
    ],
)
def test_control_characters_and_surrogates_are_removed_and_counted(line, expected, control, surrogates):
    removed = Removed()
    assert clean_line(line, removed) == expected
    assert (removed.control_characters, removed.surrogates) == (control, surrogates)


@given(st.text())
def test_a_cleaned_line_is_clean_and_stays(line):
    cleaned = clean_line(line, Removed())
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in cleaned)
    assert cleaned == cleaned.strip()
    assert clean_line(cleaned, removed := Removed()) == cleaned
    assert removed == Removed()


@given(st.text())
def test_every_character_is_kept_counted_or_white_space(line):
    removed = Removed()
    kept = clean_line(line, removed)
    letters = sum(not character.isspace() for character in kept)
    spaces = sum(
        (character.isspace() and unicodedata.category(character) != "Cc") or character in "\t\n\r" for character in line
    )
    assert letters + spaces + removed.control_characters + removed.surrogates == len(line)
