"""Baselines against brute force on tiny corpora."""

import itertools

import numpy as np
import pytest
from fake_corpus import FakeCorpus, random_corpus, shard_of

from ms_plm.common.errors import UserError
from ms_plm.evaluation.baselines import ADDED, MostFrequentBaseline, NeighbourBaseline, TokenCounts, not_neighbours

SIZE = 40


def _corpus(shards) -> FakeCorpus:
    corpus = FakeCorpus(tuple(shards), SIZE)
    corpus.manifest = {"tokenizer": {"vocab_size": SIZE}}
    return corpus


@pytest.fixture(scope="module")
def corpus() -> FakeCorpus:
    random = np.random.default_rng(5)
    shards = []
    for number in range(2):
        documents = [random.integers(1, 9, random.integers(1, 6)).tolist() for _ in range(30)]
        shards.append(shard_of(documents, random.choice([0, 1, 2], 30).tolist(), number, SIZE))
    return _corpus(shards)


def _training_documents(corpus):
    for shard in corpus.shards:
        for number, role in enumerate(shard.roles):
            if role == 0:
                first, last = shard.documents[number], shard.documents[number + 1]
                yield [int(token) for token in shard.tokens[shard.sentences[first] : shard.sentences[last]]]


def _brute_counts(corpus):
    tokens, pairs = np.zeros(SIZE, int), np.zeros((SIZE, SIZE), int)
    for document in _training_documents(corpus):
        for token in document:
            tokens[token] += 1
        for left, right in itertools.pairwise(document):
            pairs[left, right] += 1
    return tokens, pairs


@pytest.mark.parametrize("block", [1, 3, 7, 64, 1 << 20])
def test_counts_are_those_of_training_documents_whatever_the_block(corpus, block):
    counts = TokenCounts.of(corpus, block=block)
    tokens, pairs = _brute_counts(corpus)
    assert np.array_equal(counts.tokens, tokens)
    assert np.array_equal(counts.pairs.toarray(), pairs)


def test_pairs_do_not_reach_across_documents_but_across_sentences():
    shard = shard_of([[1, 1], [2]], [0, 0], vocab_size=SIZE)
    shard.tokens[:] = [20, 21, 22, 23]
    pairs = TokenCounts.of(_corpus([shard])).pairs
    assert sorted(zip(*(axis.tolist() for axis in pairs.nonzero()), strict=True)) == [(20, 21), (22, 23)]


def test_beyond_the_largest_number_of_pairs_rare_ones_are_forgotten_and_the_log_says_so(corpus, caplog):
    exact = TokenCounts.of(corpus)
    bounded = TokenCounts.of(corpus, largest=10)
    assert bounded.pairs.nnz < exact.pairs.nnz
    assert bounded.pairs.data.min() > 1
    assert np.array_equal(bounded.tokens, exact.tokens)
    assert "pairs seen once so far are forgotten" in caplog.text


def test_the_most_frequent_token_is_the_answer_to_everything(corpus):
    tokens, _ = _brute_counts(corpus)
    baseline = MostFrequentBaseline(TokenCounts.of(corpus))
    answers = baseline.predict(np.zeros((2, 8), np.int32), np.arange(5))
    assert answers.tolist() == [tokens.argmax()] * 5


def test_the_neighbours_baseline_is_the_argmax_of_its_definition(corpus):
    tokens, pairs = _brute_counts(corpus)
    tokenizer = corpus.tokenizer()
    left_out = not_neighbours(tokenizer)
    random = np.random.default_rng(0)
    ids = np.where(random.random((12, 16)) < 0.3, tokenizer.mask_id, random.integers(0, SIZE, (12, 16)))
    positions = np.arange(ids.size)
    answers = NeighbourBaseline(TokenCounts.of(corpus), left_out).predict(ids, positions)

    candidates = sorted((x for x in range(SIZE) if tokens[x]), key=lambda x: (-tokens[x], x))
    for position, answer in zip(positions, answers, strict=True):
        row, column = divmod(int(position), 16)
        left = ids[row, column - 1] if column > 0 else None
        right = ids[row, column + 1] if column < 15 else None
        left, right = (None if side in left_out else side for side in (left, right))

        def score(x, left=left, right=right):
            if left is None and right is None:
                return tokens[x]
            if right is None:
                return pairs[left, x] + ADDED
            if left is None:
                return pairs[x, right] + ADDED
            return (pairs[left, x] + ADDED) * (pairs[x, right] + ADDED) / (tokens[x] + ADDED * SIZE)

        best = max(score(x) for x in candidates)
        assert answer == next(x for x in candidates if score(x) == pytest.approx(best, rel=1e-12))


def test_many_positions_are_scored_in_blocks_of_bounded_size(corpus, monkeypatch):
    counts = TokenCounts.of(corpus)
    baseline = NeighbourBaseline(counts, (0, 2, 3, 4))
    ids = np.random.default_rng(3).integers(20, SIZE, (8, 32))
    whole = baseline.predict(ids, np.arange(ids.size))
    sizes = []
    best = baseline._best
    monkeypatch.setattr("ms_plm.evaluation.baselines._SCORES", 5 * SIZE)
    monkeypatch.setattr(baseline, "_best", lambda left, right: sizes.append(len(left)) or best(left, right))
    assert np.array_equal(baseline.predict(ids, np.arange(ids.size)), whole)
    assert len(sizes) > 10
    assert max(sizes) * SIZE <= 10 * SIZE


def test_a_corpus_without_training_documents_is_refused():
    with pytest.raises(UserError, match="no training documents"):
        TokenCounts.of(_corpus([shard_of([[3]], [1], vocab_size=SIZE)]))


def test_a_larger_corpus_is_counted_like_a_small_one():
    corpus = random_corpus(200, shards=3)
    corpus.manifest = {"tokenizer": {"vocab_size": corpus.vocab_size}}
    counts = TokenCounts.of(corpus, block=100)
    documents = list(_training_documents(corpus))
    assert counts.tokens.sum() == sum(map(len, documents))
    assert counts.pairs.sum() == sum(len(document) - 1 for document in documents)
