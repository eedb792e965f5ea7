"""A prepared corpus says what it holds, and what is wrong with it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from prepare_help import TOKENIZER, VOCABULARY, chinese_documents, section, small_units, write_text

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.data.corpus import Corpus, describe
from ms_plm.data.prepare import prepare
from ms_plm.tokenization import Options, Tokenizer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    path = write_text(folder / "a.txt", chinese_documents(200))
    with pytest.MonkeyPatch.context() as patch:
        small_units(patch)
        prepare(section(path, dedup=True, holdout=0.1), TOKENIZER, folder / "made")
    return folder / "made"


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_arrays_have_the_types_and_sizes_that_are_promised(made):
    corpus = Corpus.open(made, verify=True)
    assert len(corpus.shards) > 2
    for shard in corpus.shards:
        assert [array.dtype for array in (shard.tokens, shard.word_starts, shard.roles)] == [np.uint16, bool, np.uint8]
        assert shard.sentences.dtype == shard.documents.dtype == np.int64
        assert shard.sentences[0] == shard.documents[0] == 0
        assert shard.sentences[-1] == len(shard.tokens) == len(shard.word_starts)
        assert shard.documents[-1] == len(shard.sentences) - 1
        assert len(shard.roles) == len(shard.documents) - 1
        assert np.diff(shard.sentences).min() > 0
        assert np.diff(shard.documents).min() > 0
        assert isinstance(shard.tokens, np.memmap)
        assert not np.isin(shard.tokens, [0, 2, 3, 4]).any(), "special tokens are not stored"


def test_counts_add_up(made):
    corpus = Corpus.open(made)
    roles = np.concatenate([shard.roles for shard in corpus.shards])
    for number, name in enumerate(("train", "held_out", "duplicate")):
        assert corpus.counts(number) == corpus.counts(name)
        assert corpus.counts(number).documents == np.count_nonzero(roles == number) > 0
    tokens = sum(corpus.counts(role).tokens for role in range(3))
    assert tokens == sum(len(shard.tokens) for shard in corpus.shards)


def test_a_large_vocabulary_gets_wide_ids(tmp_path):
    wide = Tokenizer([*VOCABULARY, *(f"x{number}" for number in range(66_000))])
    path = write_text(tmp_path / "a.txt", [["我们。"]])
    assert prepare(section(path), wide, tmp_path / "out").shards[0].tokens.dtype == np.uint32


def test_the_tokenizer_travels_with_the_corpus(made):
    corpus = Corpus.open(made)
    assert corpus.tokenizer().fingerprint == TOKENIZER.fingerprint
    corpus.check_vocabulary(TOKENIZER)


@pytest.mark.parametrize(
    ("other", "sizes"),
    [
        (
            Tokenizer([*VOCABULARY, "extra"]),
            f"{len(VOCABULARY)} entries, lower-cased; the model's has {len(VOCABULARY) + 1} ",
        ),
        (
            Tokenizer(VOCABULARY, Options(do_lower_case=False)),
            f"lower-cased; the model's has {len(VOCABULARY)} entries, cased",
        ),
    ],
)
def test_another_vocabulary_is_refused_with_both_sizes(made, other, sizes):
    with pytest.raises(UserError, match=sizes):
        Corpus.open(made).check_vocabulary(other)


@pytest.mark.parametrize("name", ["tokens", "word_starts", "sentences", "documents", "roles"])
def test_a_flipped_bit_is_found_and_the_file_named(copy, name):
    path = copy / "shard-00001" / f"{name}.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    Corpus.open(copy)
    with pytest.raises(DamagedFileError, match=rf"shard-00001/{name}.npy: its content is not what was written"):
        Corpus.open(copy, verify=True)


def test_a_cut_and_a_missing_file_are_named_at_once(copy):
    path = copy / "shard-00000" / "tokens.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=r"shard-00000/tokens.npy: \d+ bytes, but the manifest says \d+"):
        Corpus.open(copy)
    path.unlink()
    with pytest.raises(DamagedFileError, match=r"shard-00000/tokens.npy: missing"):
        Corpus.open(copy)


def test_a_changed_vocabulary_is_found(copy):
    path = copy / "tokenizer" / "vocab.txt"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[7], lines[8] = lines[8], lines[7]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DamagedFileError, match="not the tokenizer that the manifest names"):
        Corpus.open(copy, verify=True)


def test_folders_that_are_no_corpus_are_named(tmp_path, copy):
    with pytest.raises(UserError, match="no prepared corpus here"):
        Corpus.open(tmp_path / "nothing")
    manifest = copy / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(UserError, match="version 99"):
        Corpus.open(copy)
    manifest.write_text(json.dumps({"shards": []}))
    with pytest.raises(UserError, match="not the manifest of a prepared corpus"):
        Corpus.open(copy)
    manifest.write_text("{")
    with pytest.raises(DamagedFileError, match="not a JSON file"):
        Corpus.open(copy)


def test_the_fingerprint_follows_the_content(made, tmp_path):
    path = write_text(tmp_path / "a.txt", chinese_documents(200)[:-1])
    other = prepare(section(path, dedup=True, holdout=0.1), TOKENIZER, tmp_path / "other")
    assert other.fingerprint != Corpus.open(made).fingerprint == Corpus.open(made).fingerprint


def test_describe_shows_counts_and_words(made):
    facts = describe(Corpus.open(made), documents=2)
    assert facts["counts"]["train"]["documents"] > 100
    assert facts["shards"] > 2
    assert facts["bytes"] == sum(path.stat().st_size for path in made.glob("shard-*/*"))
    assert len(facts["examples"]) == 2
    assert facts["examples"][0][0].replace("/", "") == chinese_documents(1)[0][0]
    json.dumps(facts)
