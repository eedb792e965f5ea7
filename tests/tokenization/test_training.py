"""A vocabulary built from text is the same every time and holds what the text needs."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys

import pytest

from ms_plm.common.errors import UserError
from ms_plm.tokenization import train_tokenizer
from ms_plm.tokenization.training import SPECIAL_TOKENS

TEXTS = [
    "今天天气很好。",
    "今天我们去公园。",
    "The weather is nice today.",
    "We walked to the park; the walk was nice.",
] * 3
_AGAIN = """
import random, sys
from ms_plm.tokenization import train_tokenizer
generator = random.Random(5)
words = ["".join(generator.choices("abcdefghij", k=generator.randint(2, 9))) for _ in range(400)]
texts = [" ".join(generator.choices(words, k=20)) for _ in range(200)]
print("\\n".join(train_tokenizer(texts, 500).vocabulary))
"""


def test_special_tokens_come_first_and_pieces_are_merged():
    tokenizer = train_tokenizer(TEXTS, 120)
    assert tokenizer.vocabulary[:5] == list(SPECIAL_TOKENS)
    assert (tokenizer.pad_id, tokenizer.mask_id) == (0, 4)
    assert "the" in tokenizer.vocabulary
    assert len(set(tokenizer.vocabulary)) == tokenizer.vocab_size <= 120


def test_its_own_text_has_no_unknown_tokens():
    tokenizer = train_tokenizer(TEXTS, 300, min_frequency=1)
    for pieces in tokenizer.pieces(TEXTS):
        assert tokenizer.unk_id not in pieces.ids


def test_chinese_characters_stand_alone():
    tokenizer = train_tokenizer(TEXTS, 300)
    assert "今" in tokenizer.vocabulary
    assert not any(any(char >= "\u4e00" for char in entry) and len(entry) > 1 for entry in tokenizer.vocabulary)


def test_the_same_text_gives_the_same_vocabulary_in_every_process():
    """The library's trainer alone does not: it numbers characters in the order of a randomly seeded table."""
    runs = [subprocess.run([sys.executable, "-c", _AGAIN], capture_output=True, check=True).stdout for _ in range(3)]
    assert len({hashlib.sha256(run).hexdigest() for run in runs}) == 1
    assert len(runs[0].split()) == 500


def test_lower_case_is_a_choice():
    assert "T" not in train_tokenizer(TEXTS, 200).vocabulary
    cased = train_tokenizer(TEXTS, 200, lower_case=False)
    assert "T" in cased.vocabulary
    assert not cased.lower_case


def test_frequent_characters_win_when_there_is_no_room(caplog):
    texts = ["甲" * 9 + "乙" * 6 + "丙" * 3]
    assert train_tokenizer(texts, 7).vocabulary == [*SPECIAL_TOKENS, "乙", "甲"]
    assert "leaves out characters" in caplog.text


def test_rare_characters_get_no_entry():
    assert "丙" not in train_tokenizer(["甲甲丙"], 100).vocabulary


def test_order_of_texts_does_not_matter():
    texts = list(TEXTS)
    random.Random(1).shuffle(texts)
    assert train_tokenizer(texts, 100).vocabulary == train_tokenizer(TEXTS, 100).vocabulary


@pytest.mark.parametrize(
    ("texts", "size", "expected"),
    [([], 100, "no text"), (["  "], 100, "no text"), (["甲乙丙"], 100, "min_frequency"), (TEXTS, 5, "more than 6")],
)
def test_bad_input_is_refused(texts, size, expected):
    with pytest.raises(UserError, match=expected):
        train_tokenizer(texts, size)


def test_an_iterator_is_refused_because_the_texts_are_read_twice():
    with pytest.raises(TypeError, match="read twice"):
        train_tokenizer(iter(TEXTS), 100)
