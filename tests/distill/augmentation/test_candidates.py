"""Candidates of the masked language model: those of one forward a word, whatever shares the batch."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_run
from golden_files import GOLDENS
from mindspore import Tensor
from task_models import tiny_model

from ms_plm.common.errors import UserError
from ms_plm.distill.augmentation.candidates import TOKENS, Asked, MaskedCandidates
from ms_plm.distill.augmentation.words import Word, read_texts
from ms_plm.evaluation.metrics import log_softmax
from ms_plm.tokenization import Segmenter, Tokenizer

NONE = Segmenter("none", None)
UNUSED = SimpleNamespace(has_masked_lm=True, limit=None)
"""In a model's place where nothing is computed."""
TEXTS = ["ba da fe", "Gi . lo ru", "pe pi po sa su"]
STOP_WORDS = {"be", "do", "me", "no", "re", "so", "to"}
CHINESE = Tokenizer([*tiny_run.SPECIAL, "the", *"电影视台好看不错的", "##影", "影片"])
DICTIONARY = {"电影", "电视", "电台", "好看", "不错"}


def cut(text: str) -> list[str]:
    return [text] if text in DICTIONARY else list(text)


def one_by_one(texts: list[str], tokenizer: Tokenizer) -> list[tuple[str, Word, Asked]]:
    """Every word by itself, with its text."""
    reads = read_texts(texts, tokenizer, NONE)
    return [(read.text, word, Asked(read.ids, (word,))) for read in reads for word in read.words]


def masked_text(text: str, word: Word) -> str:
    return f"{text[: word.begin]}[MASK]{text[word.end :]}"


def test_candidates_in_batches_are_those_of_one_forward_a_word():
    model, tokenizer = tiny_model("masked_lm"), tiny_run.tokenizer()
    model.set_train(False)
    reads, shares = read_texts(TEXTS, tokenizer, NONE), []
    find = MaskedCandidates(model, tokenizer, NONE, most=6)
    found = find([Asked(read.ids, read.words) for read in reads], shares.append)
    assert [len(of) for of in found] == [3, 3, 5]
    assert shares == [1.0]
    words = [(text, word) for text, word, _ in one_by_one(TEXTS, tokenizer)]
    for (text, word), candidates in zip(words, itertools.chain(*found), strict=True):
        batch = tokenizer([masked_text(text, word)], [text])
        width = 16 - batch.input_ids.shape[1]
        arrays = (batch.input_ids, batch.token_type_ids, batch.attention_mask)
        logits = model(*(Tensor(np.pad(values, ((0, 0), (0, width)))) for values in arrays)).prediction_logits
        place = batch.input_ids[0].tolist().index(tokenizer.mask_id)
        order = [tokenizer.vocabulary[number] for number in np.argsort(-logits.asnumpy()[0, place])]
        itself = text[word.begin : word.end].lower()
        assert candidates == [token for token in order if token.isalpha() and token not in {*STOP_WORDS, itself}][:6]


@pytest.mark.parametrize("beside_original", [True, False])
def test_rows_are_what_the_tokenizer_makes_of_masked_texts(beside_original):
    tokenizer = tiny_run.tokenizer()
    words = one_by_one(TEXTS, tokenizer)
    find = MaskedCandidates(UNUSED, tokenizer, NONE, beside_original=beside_original)
    arrays, places = find.rows([one for _, _, one in words], 16, 12)
    texts = [text for text, _, _ in words]
    batch = tokenizer([masked_text(text, word) for text, word, _ in words], texts if beside_original else None)
    for found, expected in zip(arrays, (batch.input_ids, batch.token_type_ids, batch.attention_mask), strict=True):
        assert found.shape == (12, 16)
        np.testing.assert_array_equal(found[:11, : expected.shape[1]], expected)
        assert not found[11:].any()
    np.testing.assert_array_equal(places, np.nonzero(batch.input_ids == tokenizer.mask_id))


@pytest.mark.parametrize("beside_original", [True, False])
def test_a_long_sentence_is_cut_around_the_word(beside_original):
    tokenizer = tiny_run.tokenizer()
    names = [word for word in tiny_run.WORDS if word not in STOP_WORDS]
    words = one_by_one([" ".join(names)], tokenizer)
    find = MaskedCandidates(UNUSED, tokenizer, NONE, length=32, beside_original=beside_original)
    room = 14 if beside_original else 30
    for number, (_, _, one) in enumerate(words):
        assert find.row_length(one.ids) == 32
        (ids, types, mask), (rows, columns) = find.rows([one], 32, 1)
        assert mask.sum() == (2 * room + 3 if beside_original else room + 2)
        shown = tokenizer.tokens(ids[0, 1 : room + 1])
        assert (rows.tolist(), shown.index("[MASK]")) == ([0], columns[0] - 1)
        shown[columns[0] - 1] = names[number]
        assert shown in [names[start : start + room] for start in range(len(names))]
        if beside_original:
            assert tokenizer.tokens(ids[0, room + 2 : 2 * room + 2]) == shown
            assert types[0, room + 2 : 2 * room + 3].all()


def test_words_masked_together_are_as_far_apart_as_possible():
    tokenizer = tiny_run.tokenizer()
    (read,) = read_texts(["ba da fe gi lo ru pe"], tokenizer, NONE)
    asked = Asked(read.ids, read.words)
    split = {n: list(MaskedCandidates(UNUSED, tokenizer, NONE, together=n).split(asked)) for n in (1, 3, 7)}
    assert split == {1: [(n,) for n in range(7)], 3: [(0, 3, 6), (1, 4), (2, 5)], 7: [tuple(range(7))]}
    (ids, _, _), (_, columns) = MaskedCandidates(UNUSED, tokenizer, NONE).rows([read_part(asked, split[3][0])], 24, 1)
    assert tokenizer.tokens(ids[0, :9]) == ["[CLS]", "[MASK]", "da", "fe", "[MASK]", "lo", "ru", "[MASK]", "[SEP]"]
    assert tokenizer.tokens(ids[0, 9:17]) == [*read.text.split(), "[SEP]"]
    assert columns.tolist() == [1, 4, 7]


def read_part(asked: Asked, places: tuple[int, ...]) -> Asked:
    return Asked(asked.ids, tuple(asked.words[place] for place in places))


def test_words_masked_together_in_a_long_sentence_all_have_text_on_both_sides():
    tokenizer = tiny_run.tokenizer()
    (read,) = read_texts([" ".join(["ba", "."] * 40)], tokenizer, NONE)
    asked = Asked(read.ids, read.words)
    find = MaskedCandidates(UNUSED, tokenizer, NONE, length=32, together=2)
    split = list(find.split(asked))
    assert sorted(itertools.chain(*split)) == list(range(40))
    assert max(map(len, split)) == 2
    for places in split:
        _, (_, columns) = find.rows([read_part(asked, places)], 32, 1)
        middle = places[0] - 4 > 0 and places[-1] + 4 < 40
        assert not middle or (columns.min() >= 4 and columns.max() <= 11)


def test_absolute_positions_bound_the_rows():
    find = MaskedCandidates(SimpleNamespace(has_masked_lm=True, limit=44), tiny_run.tokenizer(), NONE)
    assert find.lengths == (16, 24, 32, 40, 44)


def test_a_row_is_padded_by_its_own_length_alone_and_batches_hold_few_tokens():
    tokenizer = tiny_run.tokenizer()
    texts = [" ".join(["ba"] * count) for count in range(1, 30)]
    words = [one for _, _, one in one_by_one(texts, tokenizer)]
    find = MaskedCandidates(UNUSED, tokenizer, NONE)
    rows, seen = [(number, (0,)) for number in range(len(words))], []
    for part, length in find._batches(words, rows):
        assert len(part) * length <= TOKENS
        assert {find.row_length(words[number].ids) for number, _ in part} == {length}
        seen += part
    assert sorted(seen) == rows


def scores(tokenizer: Tokenizer, **values: float) -> np.ndarray:
    """Logits `[1, V]`: what is not named is improbable."""
    row = np.full((1, tokenizer.vocab_size), -20.0, np.float32)
    for token, value in values.items():
        row[0, tokenizer.token_id(token)] = value
    return row


def test_improbable_candidates_are_left_out():
    tokenizer = tiny_run.tokenizer()
    ((_, word, one),) = one_by_one(["ba"], tokenizer)
    logits = scores(tokenizer, ba=3.0, da=2.0, fe=1.0, gi=0.0, no=5.0)
    shares = np.exp(log_softmax(logits[0]))
    best = list(MaskedCandidates(UNUSED, tokenizer, NONE).best(logits, np.zeros(1, bool)))
    between = float(shares[tokenizer.token_id("fe")] * 0.99)
    assert MaskedCandidates(UNUSED, tokenizer, NONE, least=between).choose(one.ids, word, best) == ["da", "fe"]
    assert MaskedCandidates(UNUSED, tokenizer, NONE, most=3).choose(one.ids, word, best) == ["da", "fe", "gi"]


def chosen(word: str, places: list[dict[str, float]], segmenter: Segmenter, **settings: float) -> list[str]:
    find = MaskedCandidates(UNUSED, CHINESE, segmenter, **settings)
    ids = CHINESE.pieces([word])[0].ids.astype(np.int32)
    logits = np.concatenate([scores(CHINESE, **place) for place in places])
    best = list(find.best(logits, np.ones(len(word), bool)))
    return find.choose(ids, Word(0, len(word), 0, len(word), True), best)


PLACES = [{"电": 3.0, "好": 2.0, "不": 1.0, "the": 9.0}, {"影": 3.0, "视": 2.5, "看": 2.0, "##影": 9.0}]


def test_chinese_candidates_are_words_of_as_many_characters():
    assert chosen("电影", PLACES, Segmenter("list", cut), most=3) == ["电视", "好看", "电台"]


def test_without_a_segmenter_the_best_combinations_are_taken():
    sums = {
        a + b: x + y for (a, x), (b, y) in itertools.product(*(place.items() for place in PLACES)) if len(a + b) == 2
    }
    expected = sorted(sums, key=sums.get, reverse=True)[1:5]
    assert chosen("电影", PLACES, NONE, most=4) == expected


def test_improbable_chinese_words_are_left_out_by_their_mean_character():
    values = [log_softmax(scores(CHINESE, **place)[0]) for place in PLACES]
    mean = np.exp(sum(value[CHINESE.token_id(c)] for value, c in zip(values, "好看", strict=True)) / 2)
    assert chosen("电影", PLACES, Segmenter("list", cut), least=float(mean) * 0.99) == ["电视", "好看"]


def test_chinese_stop_words_are_no_candidates():
    assert chosen("好", [{"不": 5.0, "的": 4.0, "看": 3.0, "好": 2.0}], NONE, most=1) == ["看"]


def test_a_model_without_a_masked_lm_head_is_refused():
    model = SimpleNamespace(has_masked_lm=False, head="encoder", limit=None)
    with pytest.raises(UserError, match="masked-LM head"):
        MaskedCandidates(model, CHINESE, NONE)


def test_a_byte_level_bpe_is_refused():
    model = SimpleNamespace(has_masked_lm=True, limit=None)
    with pytest.raises(UserError, match="augment: .*take a BERT or NEZHA model"):
        MaskedCandidates(model, Tokenizer.load(GOLDENS / "roberta"), NONE)
