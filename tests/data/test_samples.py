"""Samples drawn from a prepared corpus: nothing lost, pairs as in BERT, the same whatever the batch."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from fake_corpus import SPECIAL, FakeCorpus, FakeTokenizer, random_corpus, shard_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import TextSection
from ms_plm.data import table
from ms_plm.data.batches import SampleBatch
from ms_plm.data.prepare import prepare
from ms_plm.data.samples import CorpusSamples
from ms_plm.tokenization import Layout, Tokenizer

T = FakeTokenizer(1000)


def everything(source: CorpusSamples, epoch: int = 0) -> SampleBatch:
    indices = np.arange(len(source))
    return source.batch(np.full(len(source), epoch), indices)


def segments(batch: SampleBatch, row: int) -> tuple[list[int], list[int]]:
    """A and B of a pair, checked against `[CLS] A [SEP] B [SEP] [PAD]...`."""
    ids = batch.input_ids[row].tolist()
    used = int(batch.attention_mask[row].sum())
    assert ids[0] == T.cls_id
    assert ids[used - 1] == T.sep_id
    assert set(ids[used:]) <= {T.pad_id}
    middle = ids.index(T.sep_id)
    assert batch.attention_mask[row].tolist() == [1] * used + [0] * (len(ids) - used)
    assert batch.token_type_ids[row].tolist() == [0] * (middle + 1) + [1] * (used - 1 - middle) + [0] * (
        len(ids) - used
    )
    specials = {0, middle, used - 1}
    assert batch.maskable[row].tolist() == [c < used and c not in specials for c in range(len(ids))]
    assert not (batch.word_starts[row] & ~batch.maskable[row]).any()
    return ids[1:middle], ids[middle + 1 : used - 1]


def greedy_chunks(corpus: FakeCorpus, role: int, budget: int) -> list[list[int]]:
    """Plain restatement: sentences of a document are added while they fit; longer ones are cut in pieces."""
    chunks = []
    for shard in corpus.shards:
        for d, document_role in enumerate(shard.roles):
            if document_role != role:
                continue
            chunk: list[int] = []
            for s in range(shard.documents[d], shard.documents[d + 1]):
                sentence = shard.tokens[shard.sentences[s] : shard.sentences[s + 1]].tolist()
                for start in range(0, len(sentence), budget):
                    unit = sentence[start : start + budget]
                    if len(chunk) + len(unit) > budget:
                        chunks.append(chunk)
                        chunk = []
                    chunk += unit
            if chunk:
                chunks.append(chunk)
    return chunks


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([8, 16, 33]), st.integers(2, 60), st.integers(1, 3))
def test_chunks_equal_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, seed: int, max_length: int, longest: int, shards: int
) -> None:
    corpus = random_corpus(documents=20, shards=shards, seed=seed, longest=longest)
    source = CorpusSamples(corpus, "train", max_length, cache=tmp_path_factory.mktemp("cache"))
    start, length = source._table["start"], source._table["length"]
    tokens = np.concatenate([shard.tokens for shard in corpus.shards])
    chunks = [tokens[a : a + n].tolist() for a, n in zip(start, length, strict=True)]
    assert chunks == greedy_chunks(corpus, 0, max_length - 3)


def test_blocks_of_documents_do_not_change_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = random_corpus(seed=3)
    for pairs in (True, False):
        whole = table.SampleTable.open_or_build(corpus, tmp_path / "a", "train", 32, pairs)
        monkeypatch.setattr(table, "_BLOCK", 7)
        parts = table.SampleTable.open_or_build(corpus, tmp_path / "b", "train", 32, pairs)
        monkeypatch.undo()
        for name, column in whole.columns.items():
            assert np.array_equal(column, parts[name])
            assert len(column) > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([8, 16, 128]), st.integers(2, 60), st.sampled_from(["train", "held_out"]))
def test_packed_text_holds_every_token_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, seed: int, max_length: int, longest: int, split: str
) -> None:
    corpus = random_corpus(documents=25, seed=seed, longest=longest, sentences=4)
    corpus.shards[1].roles[0], corpus.shards[0].roles[0] = 1, 0
    source = CorpusSamples(corpus, split, max_length, nsp=False, cache=tmp_path_factory.mktemp("cache"))
    batch = everything(source)
    assert batch.next_sentence_labels is None
    assert not batch.token_type_ids.any()
    documents = [
        shard.tokens[shard.sentences[shard.documents[d]] : shard.sentences[shard.documents[d + 1]]].tolist()
        for shard in corpus.shards
        for d in np.flatnonzero(shard.roles == table.ROLES[split])
    ]
    seen: list[int] = []
    for ids, mask, maskable in zip(batch.input_ids, batch.attention_mask, batch.maskable, strict=True):
        used = int(mask.sum())
        assert ids[0] == T.cls_id
        assert ids[used - 1] == T.sep_id
        inner = ids[1 : used - 1]
        assert inner[0] != T.sep_id
        assert inner[-1] != T.sep_id
        assert np.array_equal(maskable[1 : used - 1], inner != T.sep_id)
        assert not (ids[used:] != T.pad_id).any()
        seen += inner[inner != T.sep_id].tolist()
    assert seen == [token for document in documents for token in document]
    full = batch.attention_mask[:-1].sum(1)
    assert (full >= max_length - 2).all()


def test_packed_text_separates_documents(tmp_path: Path) -> None:
    corpus = FakeCorpus((shard_of([[3], [2, 1], [30]]),))
    batch = everything(CorpusSamples(corpus, "train", 12, nsp=False, cache=tmp_path))
    t = corpus.shards[0].tokens.tolist()
    assert batch.input_ids[0].tolist() == [T.cls_id, *t[:3], T.sep_id, *t[3:6], T.sep_id, *t[6:8], T.sep_id]


def test_pairs_may_have_another_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two separators between, one token type."""

    def tokenizer(corpus: FakeCorpus) -> FakeTokenizer:
        made = FakeTokenizer(corpus.vocab_size)
        made.layout = Layout((T.cls_id,), (T.sep_id, T.sep_id), (T.sep_id,), second_type=0)
        return made

    monkeypatch.setattr(FakeCorpus, "tokenizer", tokenizer)
    source = CorpusSamples(random_corpus(seed=5), "train", 32, short_sample_probability=0.0, cache=tmp_path)
    batch = everything(source)
    assert not batch.token_type_ids.any()
    assert batch.attention_mask.sum(1).max() == 32
    for ids, mask, maskable in zip(batch.input_ids, batch.attention_mask, batch.maskable, strict=True):
        used = int(mask.sum())
        places = np.flatnonzero(ids == T.sep_id).tolist()
        assert places == [places[0], places[0] + 1, used - 1]
        assert np.flatnonzero(~maskable[:used]).tolist() == [0, *places]


@pytest.mark.parametrize("longest", [6, 40, 90])
def test_pairs_are_well_formed_and_true_ones_follow_on(tmp_path: Path, longest: int) -> None:
    corpus = random_corpus(seed=5, longest=longest)
    source = CorpusSamples(corpus, "train", 32, short_sample_probability=0.0, cache=tmp_path)
    batch = everything(source, epoch=3)
    chunks = greedy_chunks(corpus, 0, 29)
    for row, chunk in enumerate(chunks):
        a, b = segments(batch, row)
        assert a
        assert b
        if batch.next_sentence_labels[row] == 0:
            assert a + b == chunk
        else:
            assert a == chunk[: len(a)]  # with room for B, A is not cut
            assert len(a) < max(len(chunk), 2)
    assert 0.4 < batch.next_sentence_labels.mean() < 0.65


def test_a_random_next_comes_from_another_document(tmp_path: Path) -> None:
    """Tokens tell the document: document d holds only token 100 + d."""
    shard = shard_of([[5, 6, 7, 30]] * 9)
    shard.tokens[:] = 100 + np.repeat(np.arange(9), 48)
    source = CorpusSamples(FakeCorpus((shard, shard)), "train", 24, cache=tmp_path)
    counts = {0: 0, 1: 0}
    partners = set()
    for epoch in range(20):
        batch = everything(source, epoch)
        for row in range(len(source)):
            a, b = segments(batch, row)
            label = int(batch.next_sentence_labels[row])
            counts[label] += 1
            assert len(set(a)) == len(set(b)) == 1
            if label == 0:
                assert a[0] == b[0]
            else:
                partners.add((a[0], b[0]))
    total = sum(counts.values())
    assert abs(counts[1] / total - 0.5) < 0.05
    assert len(partners) > 60  # of 81: the same numbers stand in both shards


def test_one_document_has_only_true_pairs(tmp_path: Path) -> None:
    source = CorpusSamples(FakeCorpus((shard_of([[1] * 5 + [40, 1]]),)), "train", 16, cache=tmp_path)
    for epoch in range(5):
        batch = everything(source, epoch)
        assert not batch.next_sentence_labels.any()
        for row in range(len(source)):
            segments(batch, row)


def test_chunks_of_one_sentence_are_split_at_words(tmp_path: Path) -> None:
    shard = shard_of([[12]] * 30)
    shard.word_starts[:] = False
    shard.word_starts[np.arange(30) * 12] = True
    shard.word_starts[np.arange(30) * 12 + 4] = True
    source = CorpusSamples(FakeCorpus((shard,)), "train", 32, True, 0.0, cache=tmp_path)
    batch = everything(source)
    for row in range(30):
        a, b = segments(batch, row)
        assert len(a) == 4
        assert len(b) == 8


def test_a_sentence_of_one_long_word_is_split_inside_it(tmp_path: Path) -> None:
    shard = shard_of([[12]] * 200)
    shard.word_starts[:] = np.arange(2400) % 12 == 0
    batch = everything(CorpusSamples(FakeCorpus((shard,)), "train", 32, True, 0.0, cache=tmp_path))
    lengths = {len(segments(batch, row)[0]) for row in range(200)}
    assert lengths == set(range(1, 12))


def test_documents_of_one_token_still_give_pairs(tmp_path: Path) -> None:
    source = CorpusSamples(FakeCorpus((shard_of([[1]] * 8),)), "train", 16, cache=tmp_path)
    batch = everything(source)
    assert (batch.next_sentence_labels == 1).all()
    for row in range(8):
        a, b = segments(batch, row)
        assert (len(a), len(b)) == (1, 1)


def test_short_samples_are_as_frequent_and_as_short_as_asked(tmp_path: Path) -> None:
    shard = shard_of([[10] * 48] * 40)
    corpus = FakeCorpus((shard,))
    lengths = []
    source = CorpusSamples(corpus, "train", 63, True, 0.3, cache=tmp_path)
    for epoch in range(20):
        batch = everything(source, epoch)
        lengths.append(batch.attention_mask[batch.next_sentence_labels == 0].sum(1) - 3)
        assert batch.attention_mask.sum(1).min() >= 5
    lengths = np.concatenate(lengths)
    assert (source._table["length"] == 60).all()
    assert (lengths < 60).mean() == pytest.approx(0.3 * 58 / 59, abs=0.02)
    assert (lengths < 31).mean() == pytest.approx(0.3 * 29 / 59, abs=0.03)  # B may be cut further, to a sentence end
    for row in range(len(source)):
        segments(batch, row)


def test_truncation_takes_from_the_longer_side_and_keeps_the_middle(tmp_path: Path) -> None:
    shard = shard_of([[20, 20]])
    source = CorpusSamples(FakeCorpus((shard,)), "train", 64, True, 1.0, cache=tmp_path)
    tokens = shard.tokens.tolist()
    seen = set()
    for epoch in range(60):
        batch = everything(source, epoch)
        a, b = segments(batch, 0)
        assert a == tokens[20 - len(a) : 20]
        assert b == tokens[20 : 20 + len(b)]
        total = len(a) + len(b)
        assert 2 <= total <= 40
        if total < 40:
            assert len(a) - len(b) in (0, 1)
        seen.add(total)
    assert len(seen) > 15


@pytest.mark.parametrize("nsp", [True, False])
def test_samples_do_not_depend_on_the_batch_around_them(tmp_path: Path, nsp: bool) -> None:
    corpus = random_corpus(seed=9, shards=3)
    source = CorpusSamples(corpus, "train", 32, nsp, cache=tmp_path, seed=4)
    n = len(source)
    whole = everything(source, epoch=2)
    mixed = np.random.default_rng(0).permutation(n)[:25]
    part = source.batch(np.where(np.arange(25) % 5 == 0, 7, 2), mixed)
    for name in ("input_ids", "token_type_ids", "attention_mask", "word_starts", "maskable", "next_sentence_labels"):
        a, b = getattr(whole, name), getattr(part, name)
        if a is not None:
            same = np.arange(25) % 5 != 0
            assert np.array_equal(a[mixed][same], b[same])
            assert type(b) is np.ndarray
    assert part.input_ids.dtype == part.token_type_ids.dtype == part.attention_mask.dtype == np.int32
    assert part.word_starts.dtype == part.maskable.dtype == bool


def test_epochs_and_seeds_draw_other_pairs(tmp_path: Path) -> None:
    corpus = random_corpus(seed=9)
    source = CorpusSamples(corpus, "train", 32, cache=tmp_path, seed=4)
    other = CorpusSamples(corpus, "train", 32, cache=tmp_path, seed=5)
    first = everything(source, 0)
    for second in (everything(source, 1), everything(other, 0)):
        assert (first.input_ids != second.input_ids).any(axis=1).mean() > 0.4
    assert np.array_equal(first.input_ids, everything(source, 0).input_ids)


def test_the_first_token_of_a_segment_begins_a_word(tmp_path: Path) -> None:
    shard = shard_of([[50], [50]])
    shard.word_starts[:] = False
    for nsp in (True, False):
        batch = everything(CorpusSamples(FakeCorpus((shard,)), "train", 16, nsp, cache=tmp_path))
        fresh = batch.maskable.copy()
        fresh[:, 1:] &= ~batch.maskable[:, :-1]
        assert np.array_equal(batch.word_starts, fresh)


@pytest.mark.parametrize(("split", "remedy"), [("held_out", "--holdout"), ("train", "ms-plm inspect")])
@pytest.mark.parametrize("nsp", [True, False])
def test_an_empty_split_is_named_with_its_remedy(tmp_path: Path, split: str, remedy: str, nsp: bool) -> None:
    corpus = FakeCorpus((shard_of([[4], [5]], [2, 2]),))
    with pytest.raises(UserError, match=f"fake-corpus.*{remedy}"):
        CorpusSamples(corpus, split, 16, nsp, cache=tmp_path)
    assert not list(tmp_path.rglob("table.json"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_table_is_built_once_and_rebuilt_when_damaged(tmp_path: Path) -> None:
    corpus = random_corpus(seed=1)
    first = CorpusSamples(corpus, "train", 32, cache=tmp_path)
    folder = first._table.folder
    written = (folder / "table.json").stat().st_mtime_ns
    before = everything(first).input_ids
    CorpusSamples(corpus, "train", 32, cache=tmp_path)
    assert (folder / "table.json").stat().st_mtime_ns == written
    (folder / "start.npy").write_bytes((folder / "start.npy").read_bytes()[:150])
    again = CorpusSamples(corpus, "train", 32, cache=tmp_path)
    assert np.array_equal(everything(again).input_ids, before)
    other = CorpusSamples(random_corpus(seed=2), "train", 32, cache=tmp_path)
    assert other._table.folder != folder


def test_lengths_that_cannot_hold_a_pair_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_length is 7"):
        CorpusSamples(random_corpus(), "train", 7, cache=tmp_path)


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be written.*data\.cache"):
        CorpusSamples(random_corpus(), "train", 32, cache=tmp_path / "file")


@pytest.mark.parametrize("nsp", [True, False])
def test_a_full_disk_leaves_no_half_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nsp: bool) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(table.ColumnFile, "append", full)
        with pytest.raises(UserError, match="the disk is full"):
            CorpusSamples(random_corpus(), "train", 32, nsp, cache=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert len(CorpusSamples(random_corpus(), "train", 32, nsp, cache=tmp_path)) > 0


def test_a_corpus_made_by_prepare_is_read(tmp_path: Path) -> None:
    """The real thing instead of the stand-in: text in, the same tokens out."""
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, *"abcdefghij", *(f"##{c}" for c in "abcdefghij"), "."]))
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(["abc", "de", "f", "ghij", "a"], 3 + i % 4)) + "." for i in range(160)]
    text = "\n\n".join("\n".join(lines[i : i + 4]) for i in range(0, 160, 4))
    (tmp_path / "text.txt").write_text(text)
    tokenizer = Tokenizer.load(tmp_path / "vocab.txt")
    section = TextSection(files=(str(tmp_path / "text.txt"),), segmenter="none", holdout=0.2)
    corpus = prepare(section, tokenizer, tmp_path / "corpus")
    assert corpus.counts("train").tokens + corpus.counts("held_out").tokens == len(tokenizer.pieces([text])[0].ids)
    for split in ("train", "held_out"):
        packed = everything(CorpusSamples(corpus, split, 16, nsp=False, cache=tmp_path / "cache"))
        assert packed.maskable.sum() == corpus.counts(split).tokens
        continuation = tokenizer.continuation[packed.input_ids]
        inner = packed.maskable.copy()
        inner[:, 1:] &= packed.maskable[:, :-1]
        inner[:, 0] = False
        assert np.array_equal(packed.word_starts[inner], ~continuation[inner])
        pairs = everything(CorpusSamples(corpus, split, 32, cache=tmp_path / "cache"))
        assert set(pairs.next_sentence_labels.tolist()) == {0, 1}
