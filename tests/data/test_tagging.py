"""Tags of words survive the way over tokens and windows, whatever the words."""

import numpy as np
import pytest
from golden_files import GOLDENS
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TokensExample
from ms_plm.data.tagging import read_tags, tag_windows
from ms_plm.tokenization import Tokenizer

TOKENIZER = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"北京ab.", "##a", "##b"])
LABELS = ("O", "B-X", "I-X")
words = st.text(st.sampled_from("北京ab.\u200b 中"), min_size=1, max_size=8)
sentences = st.lists(st.tuples(words, st.sampled_from(LABELS)), max_size=12)


@settings(deadline=None)
@given(st.lists(sentences, max_size=4), st.integers(3, 12))
def test_tags_go_to_first_tokens_and_back(sentences, max_length):
    examples = [
        TokensExample(str(number), *(tuple(zip(*sentence, strict=True)) or ((), ())))
        for number, sentence in enumerate(sentences)
    ]
    windows = list(tag_windows(examples, TOKENIZER, max_length))
    predicted = []
    for window in windows:
        assert len(window.input_ids) <= max_length
        assert (window.input_ids[0], window.input_ids[-1]) == (TOKENIZER.cls_id, TOKENIZER.sep_id)
        tags = [LABELS.index(tag) for tag in examples[window.example].tags]
        labels = window.labels(tags)
        assert (labels >= 0).sum() == window.words[1] - window.words[0]
        predicted.append(np.where(labels < 0, 2, labels))  # what stands elsewhere does not matter
    assert read_tags(examples, windows, predicted, LABELS) == [list(example.tags) for example in examples]


def test_sentences_are_numbered_across_the_blocks_in_which_they_are_tokenized(monkeypatch):
    monkeypatch.setattr("ms_plm.data.tagging._BLOCK", 2)
    windows = list(tag_windows([TokensExample(str(n), tuple("北京ab."[n])) for n in range(5)], TOKENIZER, 9))
    assert [(window.example, TOKENIZER.tokens(window.input_ids)[1]) for window in windows] == list(enumerate("北京ab."))


def test_tokens_are_those_of_the_words_one_by_one():
    example = TokensExample("0", ("北京", "aab", "\u200b", "."))
    (window,) = tag_windows([example], TOKENIZER, 20)
    assert TOKENIZER.tokens(window.input_ids) == ["[CLS]", "北", "京", "a", "##a", "##b", "[UNK]", ".", "[SEP]"]
    assert window.places.tolist() == [1, 3, 6, 7]
    assert window.labels([1, 2, 0, 0], ignored=-100).tolist() == [-100, 1, -100, 2, -100, -100, 0, 0, -100]


def test_long_sentences_are_cut_between_words_and_long_words_within():
    windows = list(tag_windows([TokensExample("0", ("aab", "ab", "aaaabb"))], TOKENIZER, 6))
    assert [window.words for window in windows] == [(0, 1), (1, 2), (2, 3)]
    assert [len(window.input_ids) for window in windows] == [5, 4, 6]


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="max_length 2: expected 3"):
        list(tag_windows([], TOKENIZER, 2))
    examples = [TokensExample("0", ("北",))]
    with pytest.raises(UserError, match="1 windows, predictions for 0"):
        read_tags(examples, list(tag_windows(examples, TOKENIZER, 9)), [], LABELS)


def test_words_of_a_byte_level_bpe_stand_behind_spaces():
    roberta = Tokenizer.load(GOLDENS / "roberta")
    example = TokensExample("0", ("The", "moon", "😀", "!"))
    (window,) = tag_windows([example], roberta, 20)
    assert roberta.decode(window.input_ids) == "<s> The moon 😀 !</s>"
    assert all(roberta.readable[token].startswith(" ") for token in window.input_ids[window.places])
    assert window.labels([1, 2, 3, 4])[window.places].tolist() == [1, 2, 3, 4]
