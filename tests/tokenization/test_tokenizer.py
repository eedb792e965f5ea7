"""Ids are BERT's, offsets point into the text as given, folders are read and written as Hugging Face does."""

from __future__ import annotations

import json
import logging

import bert_oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.common.errors import UserError
from ms_plm.tokenization import Options, Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *"今天气很好𠮷，。：“”!,.?[]'-=`abcAeé1가",
    "un",
    "##aff",
    "##able",
    "##s",
    "##b",
    "##c",
    "AB",
    "##B",
    "##2",
    "##3",
]
VOCABULARY = SPECIAL + WORDS
LOWER = Tokenizer(VOCABULARY, Options(do_lower_case=True))
CASED = Tokenizer(VOCABULARY, Options(do_lower_case=False))
LETTERS = "今天气很好𠮷，。：“”!,.?[]'-=`abcunfslABCeéE\u0301\u0338123가 \t\n\u3000\u200b\ufffd\x00\x07丽≠İŒß"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(LETTERS, max_size=30), min_size=1, max_size=5), st.booleans())
def test_pieces_are_those_of_bert(texts, lower_case):
    tokenizer = LOWER if lower_case else CASED
    ids = {entry: number for number, entry in enumerate(VOCABULARY)}
    found = [tokenizer.tokens(pieces.ids) for pieces in tokenizer.pieces(texts)]
    assert found == [bert_oracle.tokenize(text, ids, lower_case) for text in texts]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), min_size=1, max_size=4))
def test_blocks_equal_the_library_on_any_text(texts):
    for tokenizer in (LOWER, CASED):
        expected = tokenizer._kind.library().encode_batch(texts, add_special_tokens=False)
        found = tokenizer.pieces(texts)
        assert [list(pieces.ids) for pieces in found] == [encoding.ids for encoding in expected]


@pytest.mark.slow
def test_blocks_equal_the_library_on_every_character():
    texts = [f"a{chr(code)}b {chr(code)}今{chr(code)}" for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for tokenizer in (LOWER, CASED):
        for start in range(0, len(texts), 50_000):
            block = texts[start : start + 50_000]
            expected = tokenizer._kind.library().encode_batch(block, add_special_tokens=False)
            for text, pieces, encoding in zip(block, tokenizer.pieces(block), expected, strict=True):
                assert list(pieces.ids) == encoding.ids, repr(text)


def test_offsets_are_characters_of_the_text_as_given():
    text = "  今天\u200b UN\u0301AFFABLE，A𠮷B 12"
    pieces = LOWER.pieces(["好好", text])[1]
    cut = [text[begin:end] for begin, end in pieces.offsets]
    assert LOWER.tokens(pieces.ids) == ["今", "天", "un", "##aff", "##able", "，", "a", "𠮷", "b", "1", "##2"]
    assert [part.strip("\u0301") for part in cut[2:3]] == ["UN"]
    assert [cut[number] for number in (0, 1, 3, 4, 5, 6, 7, 8)] == ["今", "天", "AFF", "ABLE", "，", "A", "𠮷", "B"]


def test_a_special_token_in_raw_text_is_text_and_in_a_query_is_the_token():
    assert LOWER.mask_id not in LOWER.pieces(["今[MASK]天"])[0].ids
    assert list(LOWER("今[MASK]天").input_ids[0]) == LOWER_ids("[CLS]", "今", "[MASK]", "天", "[SEP]")


def LOWER_ids(*tokens: str) -> list[int]:
    return [VOCABULARY.index(token) for token in tokens]


def test_a_batch_of_pairs_is_padded_and_typed():
    batch = LOWER(["今天", "今"], ["很好", "a"])
    assert batch.input_ids.dtype == batch.token_type_ids.dtype == batch.attention_mask.dtype == np.int32
    assert batch.input_ids.tolist() == [
        LOWER_ids("[CLS]", "今", "天", "[SEP]", "很", "好", "[SEP]"),
        LOWER_ids("[CLS]", "今", "[SEP]", "a", "[SEP]", "[PAD]", "[PAD]"),
    ]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0]]
    assert batch.attention_mask.tolist() == [[1] * 7, [1] * 5 + [0] * 2]
    assert batch.word_ids[1] == [None, 0, None, 0, None, None, None]
    assert batch.offsets[0][1:3] == [(0, 1), (1, 2)]


def test_max_length_cuts_the_longer_text_and_leaves_short_ones_alone():
    batch = LOWER(["今天气很好", "今"], ["好好", "a"], max_length=7)
    assert LOWER.tokens(batch.input_ids[0]) == ["[CLS]", "今", "天", "[SEP]", "好", "好", "[SEP]"]
    assert LOWER.tokens(batch.input_ids[1][:5]) == ["[CLS]", "今", "[SEP]", "a", "[SEP]"]
    assert LOWER(["今天气", "今"]).input_ids.shape == (2, 5), "an earlier max_length must not last"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: LOWER([]), "at least one text"),
        (lambda: LOWER(["a"], ["b", "c"]), "as many as texts"),
        (lambda: LOWER(["a"], max_length=1), "at least 2"),
        (lambda: LOWER(["a"], ["b"], max_length=2), "at least 3"),
        (lambda: LOWER([3]), "expected text, found int"),
        (lambda: LOWER.tokens([len(VOCABULARY)]), f"expected 0 to {len(VOCABULARY) - 1}"),
    ],
)
def test_wrong_calls_say_what_is_expected(call, expected):
    with pytest.raises(UserError, match=expected):
        call()


def test_lone_surrogates_are_dropped():
    assert LOWER.tokens(LOWER.pieces(["今\ud800天 a\udfffb"])[0].ids)[:2] == ["今", "天"]
    assert LOWER.tokens(LOWER("今\ud800天").input_ids[0]) == ["[CLS]", "今", "天", "[SEP]"]


def test_a_word_of_more_than_100_characters_is_unknown():
    known = Tokenizer([*SPECIAL, "a", "##a"])
    assert len(known.pieces(["a" * 100])[0].ids) == 100
    assert list(known.pieces(["a" * 101])[0].ids) == [known.unk_id]


def test_forgetting_words_changes_nothing(monkeypatch):
    monkeypatch.setattr("ms_plm.tokenization.wordpiece._WORDS_KEPT", 2)
    tokenizer = Tokenizer(VOCABULARY)
    texts = ["a b c", "unaffable as", "今 unaffables cb", "a b c"]
    for text in texts:
        assert list(tokenizer.pieces([text])[0].ids) == list(LOWER.pieces([text])[0].ids)


def test_a_saved_folder_is_read_back_with_its_settings(tmp_path):
    CASED.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.vocabulary == VOCABULARY
    assert again.fingerprint == CASED.fingerprint != LOWER.fingerprint
    assert not again.lower_case
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "BertTokenizer"
    assert config["do_lower_case"] is False
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def test_lower_casing_comes_from_the_argument_then_the_folder_then_is_on(tmp_path):
    CASED.save(tmp_path)
    assert Tokenizer.load(tmp_path, lower_case=True).lower_case
    assert not Tokenizer.load(tmp_path).lower_case
    assert Tokenizer.load(tmp_path / "vocab.txt").lower_case
    assert not Tokenizer.load(tmp_path / "vocab.txt", lower_case=False).lower_case


def test_a_cased_vocabulary_without_settings_is_pointed_out(tmp_path, caplog):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, *"ABCDEFabc"]) + "\n")
    with caplog.at_level(logging.WARNING):
        Tokenizer.load(tmp_path)
    assert "--no-lower-case" in caplog.text


def test_settings_of_other_programs_are_understood(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["<pad>", *SPECIAL[1:], "a", "é"]) + "\n", encoding="utf-8")
    config = {"do_lower_case": True, "strip_accents": False, "pad_token": {"content": "<pad>", "__type": "AddedToken"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.pad_id == 0
    assert tokenizer.tokens(tokenizer.pieces(["É"])[0].ids) == ["é"]


def test_a_tokenizer_json_alone_is_enough(tmp_path):
    (tmp_path / "tokenizer.json").write_text(CASED._kind.library().to_str(), encoding="utf-8")
    again = Tokenizer.load(tmp_path)
    assert again.vocabulary == VOCABULARY
    assert not again.lower_case


def test_a_tokenizer_json_of_another_kind_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram", "vocab": []}}))
    with pytest.raises(UserError, match="'Unigram'; expected 'WordPiece' or 'BPE'"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("\n".join([*SPECIAL, "a", "b", "a"]) + "\n", r"vocab.txt, line 8: 'a' is already in line 6"),
        ("\n".join([*SPECIAL, "a", "", "b"]) + "\n", r"line 7: an empty line"),
        ("a\nb\n[PAD]\n", r"3 entries, but none of them is \[CLS\] or \[MASK\] or \[SEP\] or \[UNK\]"),
        ("", "the vocabulary is empty"),
        (b"[PAD]\n\xb0\xa1\n", "must be UTF-8, but byte 6"),
    ],
)
def test_a_vocabulary_of_the_wrong_shape_is_refused(tmp_path, content, expected):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=expected):
        Tokenizer.load(path)


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing.txt: no such vocabulary"):
        Tokenizer.load(tmp_path / "nothing.txt")
    with pytest.raises(UserError, match=r"Expected a vocab.txt, or a folder"):
        Tokenizer.load(tmp_path)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(VOCABULARY).encode())
    assert Tokenizer.load(path).vocabulary == VOCABULARY


def test_decoding_puts_spaces_where_the_script_has_them():
    assert LOWER.decode(LOWER("今天, unaffable a b。").input_ids[0]) == "[CLS]今天, unaffable a b。[SEP]"
    assert LOWER.decode(LOWER("今[MASK]").input_ids[0], skip_special_tokens=True) == "今"


def test_ids_of_a_padded_embedding_table_are_decoded_as_unknown():
    beyond = [LOWER.token_id("今"), len(VOCABULARY), len(VOCABULARY) + 32]
    assert LOWER.decode(beyond) == "今[UNK] [UNK]"
    assert LOWER.decode(beyond, skip_special_tokens=True) == "今"
    with pytest.raises(UserError, match="id -1"):
        LOWER.decode([-1])


@pytest.mark.data
def test_published_vocabularies(shared_data):
    chinese = Tokenizer.load(shared_data / "vocab" / "nezha-cn-base")
    assert (chinese.vocab_size, chinese.pad_id, chinese.mask_id) == (21128, 0, 103)
    assert chinese.tokens(chinese.pieces(["使用language模型"])[0].ids) == ["使", "用", "language", "模", "型"]
    assert chinese.special_ids == (0, 100, 101, 102, 103)
    english = Tokenizer.load(shared_data / "vocab" / "nezha-en-base", lower_case=False)
    assert english.vocab_size == 28996
    assert english.tokens(english.pieces(["Paris, unaffable"])[0].ids) == ["Paris", ",", "un", "##af", "##fa", "##ble"]


@pytest.mark.data
def test_blocks_equal_the_library_on_real_text(shared_data):
    chinese = Tokenizer.load(shared_data / "vocab" / "nezha-cn-base")
    lines = (shared_data / "corpus" / "zh" / "cn_wiki_sample.txt").read_text(encoding="utf-8").split("\n")
    expected = chinese._kind.library().encode_batch(lines, add_special_tokens=False)
    for pieces, encoding in zip(chinese.pieces(lines), expected, strict=True):
        assert pieces.ids.tolist() == encoding.ids
        assert [tuple(offset) for offset in pieces.offsets.tolist()] == encoding.offsets
