"""Filling in masks."""

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from golden_files import GOLDENS, padded_folder
from mindspore import Tensor

from ms_plm.common.errors import UserError
from ms_plm.evaluation.metrics import log_softmax
from ms_plm.models.folder import load
from ms_plm.tasks.fill_mask import MaskFiller, fill_masks
from ms_plm.tokenization import Tokenizer


@pytest.fixture(scope="module")
def nezha():
    ms.set_device("CPU")
    ms.set_context(mode=0)
    return load(GOLDENS / "nezha_k8", head="masked_lm")


@pytest.fixture(scope="module")
def bert():
    return load(GOLDENS / "bert", head="masked_lm")


def _words(tokenizer, count: int) -> list[str]:
    """Entries that are one token each when written with spaces."""
    return [entry for entry in tokenizer.vocabulary if tokenizer.pieces([entry])[0].ids.size == 1][:count]


def test_probabilities_are_the_softmax_of_the_models_logits_at_each_mask(nezha):
    model, tokenizer = nezha
    words = _words(tokenizer, 6)
    text = " ".join([words[0], "[MASK]", words[1], words[2], "[MASK]"])
    (filled,) = fill_masks(model, tokenizer, [text], top_k=4)
    batch = tokenizer([text])
    logits = model(Tensor(batch.input_ids)).prediction_logits.asnumpy()[0]
    places = np.flatnonzero(batch.input_ids[0] == tokenizer.mask_id)
    assert [mask["position"] for mask in filled["masks"]] == places.tolist()
    for mask, place in zip(filled["masks"], places, strict=True):
        expected = np.exp(log_softmax(logits[place]))
        order = np.argsort(-expected)[:4]
        assert [candidate["id"] for candidate in mask["candidates"]] == order.tolist()
        assert [candidate["token"] for candidate in mask["candidates"]] == [tokenizer.vocabulary[i] for i in order]
        assert [c["probability"] for c in mask["candidates"]] == pytest.approx(expected[order], abs=1e-5)


def test_a_text_is_filled_alike_alone_and_among_others(nezha):
    model, tokenizer = nezha
    words = _words(tokenizer, 40)
    texts = [" ".join([*words[:n], "[MASK]"]) for n in range(1, 19)]
    fill = MaskFiller(model, tokenizer)
    together = fill(texts)
    assert [item["text"] for item in together] == texts
    for number in (0, 16, 17):
        (alone,) = fill([texts[number]])
        ours, other = alone["masks"][0]["candidates"], together[number]["masks"][0]["candidates"]
        assert [c["id"] for c in ours] == [c["id"] for c in other]
        assert [c["probability"] for c in ours] == pytest.approx([c["probability"] for c in other], abs=1e-6)


def test_the_filled_text_has_the_best_candidates_in_place(nezha):
    model, tokenizer = nezha
    (filled,) = fill_masks(model, tokenizer, ["[MASK], then [MASK]."])
    first, second = (mask["candidates"][0]["token"].removeprefix("##") for mask in filled["masks"])
    assert filled["filled"] == f"{first}, then {second}."


def test_a_text_without_a_mask_is_named(nezha):
    with pytest.raises(UserError, match=r"text 2: expected \[MASK\] at least once, found 'no mask'"):
        fill_masks(*nezha, ["a [MASK]", "no mask"])


def test_a_text_longer_than_the_absolute_positions_is_named(bert):
    model, tokenizer = bert
    word = _words(tokenizer, 1)[0]
    text = " ".join([word] * model.limit) + " [MASK]"
    with pytest.raises(UserError, match=rf"text 2: {model.limit + 3} tokens .* {model.limit} absolute positions"):
        fill_masks(model, tokenizer, ["[MASK]", text])


def test_relative_positions_take_any_length(nezha):
    model, tokenizer = nezha
    word = _words(tokenizer, 1)[0]
    (filled,) = fill_masks(model, tokenizer, [" ".join([word] * 700) + " [MASK]"])
    assert filled["masks"][0]["position"] == 701


def test_a_model_without_a_masked_lm_head_is_refused():
    model, tokenizer = load(GOLDENS / "nezha_base_model")
    with pytest.raises(UserError, match="masked-LM head"):
        fill_masks(model, tokenizer, ["[MASK]"])


def test_rows_of_a_padded_embedding_table_are_no_candidates(nezha, tmp_path):
    model, tokenizer = load(padded_folder(tmp_path / "padded"), head="masked_lm")
    text = "a [MASK] b"
    assert model(Tensor(tokenizer([text]).input_ids)).logits.asnumpy()[0, 2].argmax() >= tokenizer.vocab_size
    (mask,) = fill_masks(model, tokenizer, [text], top_k=1000)[0]["masks"]
    (expected,) = fill_masks(*nezha, [text], top_k=1000)[0]["masks"]
    assert [c["id"] for c in mask["candidates"]] == [c["id"] for c in expected["candidates"]]
    assert sum(c["probability"] for c in mask["candidates"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "filled"),
    [("It <mask> on.", "It was on."), ("It<mask>", "It was"), ("[MASK] it", "was it"), ("no\n<mask>.", "no\nwas.")],
)
def test_a_space_that_a_candidate_brings_along_is_not_doubled(text, filled):
    tokenizer = Tokenizer.load(GOLDENS / "roberta")
    filler = SimpleNamespace(tokenizer=tokenizer)
    assert MaskFiller._filled(filler, text, [{"candidates": [{"token": " was"}]}]) == filled
