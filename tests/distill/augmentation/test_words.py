"""Which words of a text may be replaced."""

import pytest

from ms_plm.distill.augmentation.words import read_texts
from ms_plm.tokenization import Segmenter, Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = Tokenizer(
    [
        *SPECIAL,
        '"',
        ",",
        ".",
        "'",
        "a",
        "t",
        "the",
        "film",
        "good",
        "don",
        "cafe",
        "un",
        "##real",
        "x1",
        *"电影很好看吧三",
    ]
)
WORDS = {"电影很好看吧": ["电影", "很", "好看", "吧"]}
NONE = Segmenter("none", None)
KNOWN = Segmenter("list", lambda text: WORDS.get(text, list(text)))


def found(text, segmenter=NONE):
    (read,) = read_texts([text], TOKENIZER, segmenter)
    for word in read.words:
        pieces = "".join(TOKENIZER.vocabulary[i].removeprefix("##") for i in read.ids[word.first :][: word.count])
        assert pieces == text[word.begin : word.end].lower().replace("\u0301", "").replace("é", "e")
    return [(text[word.begin : word.end], word.count, word.chinese) for word in read.words]


def test_words_of_letters_may_stop_words_numbers_signs_and_single_letters_may_not():
    text = 'The\tfilm, "Good" unreal x1 a don\'t 12 .'
    assert found(text) == [("film", 1, False), ("Good", 1, False), ("unreal", 2, False)]


def test_what_the_vocabulary_does_not_know_stays():
    assert found("film zebra") == [("film", 1, False)]


@pytest.mark.parametrize("word", ["caf\u00e9", "cafe\u0301"], ids=["composed", "decomposed"])
def test_an_accent_belongs_to_its_word(word):
    assert found(f"{word} good") == [(word, 1, False), ("good", 1, False)]


def test_chinese_words_are_the_segmenters_and_stop_words_stay():
    assert found("电影很好看吧", KNOWN) == [("电影", 2, True), ("好看", 2, True)]


def test_without_a_segmenter_every_chinese_character_is_a_word():
    assert found("电影good很三") == [("电", 1, True), ("影", 1, True), ("good", 1, False)]


def test_chinese_words_with_unknown_characters_or_more_than_four_stay():
    whole = Segmenter("whole", lambda text: [text])
    assert found("电视", whole) == []
    assert found("电影电影", whole) == [("电影电影", 4, True)]
    assert found("电影电影好", whole) == []


def test_lone_surrogates_do_no_harm():
    assert found("film \ud800 good 电影", KNOWN)[:2] == [("film", 1, False), ("good", 1, False)]
