"""The model: lengths, heads, new weights, wanted outputs."""

from __future__ import annotations

import numpy as np
import pytest
from golden_files import GOLDENS
from mindspore import Tensor, nn
from oracle import oracle
from tiny import VOCABULARY, micro_batch, tiny_config

from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import load, named_tensors
from ms_plm.models.model import Model


def _values(model: Model) -> dict[str, np.ndarray]:
    return {name: parameter.asnumpy() for name, parameter in model.parameters_and_names()}


def test_nezha_reads_more_than_512_tokens() -> None:
    model = Model(tiny_config(max_position_embeddings=16)).initialise(seed=1)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (1, 530)).astype(np.int32)
    states = model(Tensor(ids)).last_hidden_state.asnumpy()
    expected = oracle(model.config.to_huggingface(), named_tensors(model), {"input_ids": ids})
    np.testing.assert_allclose(states, expected["last_hidden_state"], rtol=0, atol=1e-5)


def test_a_text_longer_than_the_position_table_is_refused() -> None:
    model = Model(tiny_config(model_type="bert", max_position_embeddings=4))
    with pytest.raises(UserError, match=r"longer than the 4 tokens that max_position_embeddings 4.*max_length"):
        model(Tensor(np.zeros((1, 5), np.int32)))


def test_a_text_longer_than_robertas_positions_is_refused() -> None:
    model = Model(tiny_config(model_type="roberta", max_position_embeddings=6))
    with pytest.raises(UserError, match=r"length 5 is longer than the 4 tokens that max_position_embeddings 6"):
        model(Tensor(np.zeros((1, 5), np.int32)))


def test_roberta_has_no_next_sentence_head() -> None:
    with pytest.raises(UserError, match=r"RoBERTa has no next-sentence head, which 'pretraining' needs.*nsp: false"):
        Model(tiny_config(model_type="roberta"), "pretraining")


def test_robertas_classifier_drops_out_before_both_of_its_layers() -> None:
    def places(family: str, head: str) -> int:
        model = Model(tiny_config(model_type=family, classifier_dropout=0.25), head)
        return sum(site.probability == 0.25 for site, *_ in model.plan._sites)

    assert places("roberta", "sequence_classification") == 2
    assert places("roberta", "multiple_choice") == places("bert", "sequence_classification") == 1


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(
        UserError, match="head: expected one of encoder, masked_lm, pretraining, sequence_classification, .*found 'nsp'"
    ):
        Model(tiny_config(), "nsp")


def test_new_weights_are_a_function_of_seed_and_name() -> None:
    one, again, other = (Model(tiny_config(), "pretraining").initialise(seed) for seed in (5, 5, 6))
    for name, value in _values(one).items():
        np.testing.assert_array_equal(value, _values(again)[name])
        if value.ndim >= 2:
            assert (value != _values(other)[name]).any(), name
    encoder = Model(tiny_config(), "encoder").initialise(5)
    for name, value in _values(encoder).items():
        np.testing.assert_array_equal(value, _values(one)[name], err_msg=f"{name}: another head changes it")


def test_new_weights_are_normal_and_cut_at_two_deviations() -> None:
    model = Model(tiny_config(hidden_size=64, initializer_range=0.02), "pretraining").initialise(seed=1)
    drawn = []
    for name, value in _values(model).items():
        if value.ndim >= 2:
            assert np.abs(value).max() <= 0.04, name
            drawn.append(value.ravel() / 0.02)
        else:
            assert (value == (1.0 if name.endswith("norm.weight") else 0.0)).all(), name
    drawn = np.concatenate(drawn)
    assert abs(drawn.mean()) < 5 / np.sqrt(len(drawn))
    assert drawn.std() == pytest.approx(0.8796, rel=0.02)  # of a normal cut at two deviations


def test_new_weights_may_come_from_the_whole_normal_distribution() -> None:
    model = Model(tiny_config(hidden_size=64, initializer_range=0.02), "pretraining").initialise(1, truncated=False)
    drawn = np.concatenate([value.ravel() / 0.02 for value in _values(model).values() if value.ndim >= 2])
    assert drawn.std() == pytest.approx(1, rel=0.02)
    assert 0.03 < (np.abs(drawn) > 2).mean() < 0.06  # 0.0455


def test_a_new_head_on_a_pretrained_encoder_is_drawn_as_transformers_draws_it() -> None:
    made, _ = load(GOLDENS / "bert", "sequence_classification", new_head=True, labels=["a", "b", "c"], seed=3)
    new = Model(made.config, "sequence_classification").initialise(3, truncated=False)
    name = "sequence_classification.dense.weight"
    np.testing.assert_array_equal(_values(made)[name], _values(new)[name])


def test_a_model_gives_what_it_was_built_for() -> None:
    batch = micro_batch(np.arange(2))
    ids, types, mask = (Tensor(batch[name]) for name in ("input_ids", "token_type_ids", "attention_mask"))
    wants = frozenset({"hidden_states", "scores", "probabilities"})
    model = Model(tiny_config(), "pretraining", Kernels(Call(wants=wants))).initialise(seed=3)
    out = model(ids, types, mask)
    expected = oracle(model.config.to_huggingface(), named_tensors(model), batch)
    assert len(out.hidden_states) == 2
    assert len(out.attentions) == len(out.attention_scores) == 1
    for got, wanted in zip(out.hidden_states, expected["hidden_states"], strict=True):
        np.testing.assert_allclose(got.asnumpy(), wanted, rtol=0, atol=1e-5)
    probabilities = out.attentions[0].asnumpy()
    np.testing.assert_allclose(probabilities, expected["attentions"][0], rtol=0, atol=1e-6)
    scores = out.attention_scores[0].asnumpy().astype(np.float64)
    softmax = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(softmax / softmax.sum(-1, keepdims=True), probabilities, rtol=0, atol=1e-6)


@pytest.mark.parametrize("told", [(0,), (1,), (1, 2)])
def test_layers_that_give_scores_stand_beside_layers_that_give_none(told: tuple[int, ...]) -> None:
    """Their implementations differ, and so does what each makes of NEZHA's positions."""
    config = tiny_config(num_hidden_layers=3)
    ids = Tensor(np.random.default_rng(0).integers(1, VOCABULARY, (2, 9)).astype(np.int32))
    found = {}
    for of in (None, told):
        call = Call(training=True, wants=frozenset({"scores"}), wants_of=of)
        found[of] = Model(config, kernels=Kernels(call)).initialise(3)(ids)
    np.testing.assert_allclose(
        found[told].last_hidden_state.asnumpy(), found[None].last_hidden_state.asnumpy(), rtol=0, atol=1e-5
    )
    assert len(found[told].attention_scores) == len(told)
    for scores, number in zip(found[told].attention_scores, told, strict=True):
        np.testing.assert_allclose(scores.asnumpy(), found[None].attention_scores[number].asnumpy(), rtol=0, atol=1e-5)


def test_logits_can_be_asked_for_at_masked_positions_only() -> None:
    batch = micro_batch(np.arange(2))
    model = Model(tiny_config(), "masked_lm").initialise(seed=3)
    ids, types, mask, positions = (
        Tensor(batch[name]) for name in ("input_ids", "token_type_ids", "attention_mask", "masked_positions")
    )
    out = model(ids, types, mask, None, positions)
    expected = oracle(model.config.to_huggingface(), named_tensors(model), batch)["prediction_logits"]
    wanted = expected.reshape(-1, VOCABULARY)[batch["masked_positions"]]
    np.testing.assert_allclose(out.prediction_logits.asnumpy(), wanted, rtol=0, atol=1e-5)
    assert out.pooler_output is None
    assert out.hidden_states is None
    assert out.seq_relationship_logits is None


class _Logits(nn.Cell):
    """What stands inside other graphs."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, hidden, positions):
        return self.model.masked_logits(self.model.masked_rows(hidden, positions))


def test_logits_name_those_of_a_head_with_one_kind() -> None:
    batch = micro_batch(np.arange(2))
    ids, positions = Tensor(batch["input_ids"]), Tensor(batch["masked_positions"])
    model = Model(tiny_config(), "masked_lm").initialise(seed=3)
    out = model(batch["input_ids"])  # NumPy arrays are taken as they come from a tokenizer
    np.testing.assert_array_equal(out.logits.asnumpy(), out.prediction_logits.asnumpy())
    assert out.logits.shape == (*ids.shape, VOCABULARY)
    inside = _Logits(model)(out.last_hidden_state, positions).asnumpy()
    rows = out.logits.asnumpy().reshape(-1, VOCABULARY)[batch["masked_positions"]]
    np.testing.assert_allclose(inside, rows, rtol=0, atol=1e-6)
    assert Model(tiny_config(), "encoder").initialise(seed=3)(ids).logits is None
    assert Model(tiny_config(), "pretraining").initialise(seed=3)(ids).logits is None  # two kinds, each with its name


def test_masks_and_types_have_defaults() -> None:
    model = Model(tiny_config()).initialise(seed=3)
    ids = micro_batch(np.arange(2))["input_ids"]
    states = model(Tensor(ids)).last_hidden_state.asnumpy()
    expected = oracle(model.config.to_huggingface(), named_tensors(model), {"input_ids": ids})
    np.testing.assert_allclose(states, expected["last_hidden_state"], rtol=0, atol=1e-5)


def test_what_stands_behind_the_mask_does_not_matter() -> None:
    model = Model(tiny_config()).initialise(seed=3)
    batch = micro_batch(np.arange(4, 6))
    mask = batch["attention_mask"].copy()
    mask[:, -3:] = 0
    types = Tensor(batch["token_type_ids"])
    states = []
    for filler in (0, 7):
        ids = np.where(mask, batch["input_ids"], filler).astype(np.int32)
        states.append(model(Tensor(ids), types, Tensor(mask)).last_hidden_state.asnumpy())
    np.testing.assert_allclose(states[0][mask == 1], states[1][mask == 1], rtol=0, atol=1e-6)
