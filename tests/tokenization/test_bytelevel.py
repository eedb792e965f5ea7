"""Byte-level BPE: ids, offsets and words are those of transformers' RobertaTokenizerFast; folders are read alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from golden_files import GOLDENS

from ms_plm.common.errors import UserError
from ms_plm.tokenization import Tokenizer
from ms_plm.tokenization.bytelevel import ByteLevelOptions

CASES = json.loads((GOLDENS / "roberta_tokens.json").read_text(encoding="utf-8"))["cases"]
ROBERTA = Tokenizer.load(GOLDENS / "roberta")
PREFIXED = Tokenizer(ROBERTA.vocabulary, ByteLevelOptions(ROBERTA.options.merges, add_prefix_space=True))
TEXTS = [case for case in CASES if "texts" in case]


@pytest.mark.parametrize("case", TEXTS, ids=lambda c: f"{c['add_prefix_space']}-{bool(c['pairs'])}-{c['max_length']}")
def test_a_batch_is_that_of_transformers(case):
    tokenizer = PREFIXED if case["add_prefix_space"] else ROBERTA
    batch = tokenizer(case["texts"], case["pairs"], case["max_length"])
    assert batch.input_ids.tolist() == case["input_ids"]
    assert batch.attention_mask.tolist() == case["attention_mask"]
    assert [[list(place) for place in row] for row in batch.offsets] == case["offsets"]
    assert batch.word_ids == case["word_ids"]
    assert not batch.token_type_ids.any()
    assert [tokenizer.decode(row) for row in batch.input_ids] == case["decoded"]


def test_pieces_have_the_offsets_of_transformers_and_a_special_token_among_them_is_text():
    case = next(case for case in TEXTS if not (case["pairs"] or case["max_length"] or case["add_prefix_space"]))
    for text, ids, places, pieces in zip(
        case["texts"], case["input_ids"], case["offsets"], ROBERTA.pieces(case["texts"]), strict=True
    ):
        if "<" in text:
            assert not set(ROBERTA.special_ids) & set(pieces.ids.tolist())
            continue
        count = len(pieces.ids)
        assert pieces.ids.tolist() == ids[1 : count + 1]
        assert pieces.offsets.tolist() == places[1 : count + 1]
        assert set(ids[count + 2 :]) <= {ROBERTA.pad_id}


@pytest.mark.parametrize("case", [case for case in CASES if "words" in case], ids=lambda case: case["words"][0])
def test_words_of_a_sentence_have_a_space_before_them(case):
    pieces = ROBERTA.pieces(case["words"], inside=True)
    layout = ROBERTA.layout
    assert [*layout.begin, *np.concatenate([one.ids for one in pieces]), *layout.end] == case["input_ids"]
    owners = [number for number, one in enumerate(pieces) for _ in one.ids]
    assert [None, *owners, None] == case["word_ids"]


def test_blocks_lay_sentences_end_to_end_as_running_text():
    sentences = ["The moon 😀", "was bright.", "明"]
    block = ROBERTA.encode_block(sentences)
    assert ROBERTA.decode(block.ids) == " The moon 😀 was bright. 明"
    assert block.ids.dtype == np.uint32
    assert np.diff(block.text_ends, prepend=0).tolist() == [len(one.ids) for one in ROBERTA.pieces(sentences, True)]
    starts = np.flatnonzero(~ROBERTA.continuation[block.ids])
    joined = "\n".join(sentences)
    assert [joined[block.begins[place]] for place in starts] == ["T", "m", "😀", "w", "b", "明"]


def test_entries_read_as_text():
    entries = dict(zip(ROBERTA.vocabulary, ROBERTA.readable, strict=True))
    assert entries["Ġthe"] == " the"
    assert entries["<mask>"] == "<mask>"
    assert entries["ð"] == "\ufffd"


def test_a_folder_is_written_as_it_was_read(tmp_path: Path):
    PREFIXED.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert (again.vocabulary, again.options) == (PREFIXED.vocabulary, PREFIXED.options)
    assert again.fingerprint == PREFIXED.fingerprint != ROBERTA.fingerprint
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (config["tokenizer_class"], config["add_prefix_space"]) == ("RobertaTokenizer", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json",
    ]  # fmt: skip


@pytest.mark.parametrize("files", [("tokenizer.json",), ("vocab.json", "merges.txt")])
def test_either_form_of_the_files_is_enough(tmp_path: Path, files):
    for name in files:
        shutil.copyfile(GOLDENS / "roberta" / name, tmp_path / name)
    assert Tokenizer.load(tmp_path).fingerprint == ROBERTA.fingerprint
    assert Tokenizer.load(tmp_path / files[0]).fingerprint == ROBERTA.fingerprint


def test_special_tokens_may_have_other_names_which_either_file_tells(tmp_path: Path):
    entries = {{"<mask>": "[M]", "<pad>": "[P]"}.get(entry, entry): i for i, entry in enumerate(ROBERTA.vocabulary)}
    shutil.copyfile(GOLDENS / "roberta" / "merges.txt", tmp_path / "merges.txt")
    (tmp_path / "vocab.json").write_text(json.dumps(entries), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"mask_token": {"content": "[M]", "lstrip": True}}))
    with pytest.raises(UserError, match="none of them is <pad>"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[P]", "add_prefix_space": True}))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.pad_id, tokenizer.mask_id, tokenizer.options.add_prefix_space) == (1, 4, True)
    assert tokenizer("a [M]").input_ids[0, -2] == 4


def damaged(tmp_path: Path, name: str, change) -> Path:
    for file in ("vocab.json", "merges.txt", "tokenizer.json"):
        shutil.copyfile(GOLDENS / "roberta" / file, tmp_path / file)
    path = tmp_path / name
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    return path if name == "tokenizer.json" else tmp_path


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("merges.txt", lambda text: text + "a b c\n", r"merges\.txt: merge \d+: expected two entries, found 'a b c'"),
        ("merges.txt", lambda text: text + "zzz q\n", r"merges .* do not fit its vocabulary: .*zzz.* belong together"),
        ("vocab.json", lambda text: text.replace('"<s>":0', '"<s>":999'), r"ids of the vocabulary are not 0 to 359"),
        ("tokenizer.json", lambda text: text.replace("RobertaProcessing", "Bert"), "post_processor is 'Bert'"),
        ("tokenizer.json", lambda text: text.replace('"ByteLevel"', '"Whitespace"'), "pre_tokenizer is 'Whitespace'"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name, change, expected):
    with pytest.raises(UserError, match=expected):
        Tokenizer.load(damaged(tmp_path, name, change))


def test_a_vocabulary_without_merges_is_refused(tmp_path: Path):
    shutil.copyfile(GOLDENS / "roberta" / "vocab.json", tmp_path / "vocab.json")
    with pytest.raises(UserError, match=r"merges\.txt is not beside it"):
        Tokenizer.load(tmp_path)


def test_lower_case_is_refused():
    with pytest.raises(UserError, match="lower_case: a byte-level BPE tells upper case"):
        Tokenizer.load(GOLDENS / "roberta", lower_case=True)
    assert not Tokenizer.load(GOLDENS / "roberta", lower_case=False).lower_case


def test_room_for_the_special_tokens_of_a_pair_is_needed():
    with pytest.raises(UserError, match="at least 4, the special tokens"):
        ROBERTA("a", "b", max_length=3)
