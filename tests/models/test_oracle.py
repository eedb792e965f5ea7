"""The float64 oracle against what transformers computes: two independent references that agree."""

from __future__ import annotations

import numpy as np
import pytest
from golden_files import CASES, read_folder, read_golden
from oracle import cross_entropy, oracle, relative_table


@pytest.mark.parametrize(("name", "length"), CASES)
def test_oracle_agrees_with_transformers(name: str, length: int) -> None:
    config, tensors = read_folder(name)
    golden = read_golden(name, length)
    out = oracle(config, tensors, golden)
    rows = golden["rows"]
    tolerance = {"rtol": 0, "atol": 2e-5 if config["model_type"] == "nezha" else 5e-6}
    for number, states in enumerate(out["hidden_states"]):
        np.testing.assert_allclose(
            states.reshape(-1, states.shape[-1])[rows], golden[f"hidden_states.{number}"], **tolerance
        )
    logits = out["prediction_logits"]
    np.testing.assert_allclose(logits.reshape(-1, logits.shape[-1])[rows], golden["prediction_logits"], **tolerance)
    keys = ("pooler_output", "seq_relationship_logits", "masked_lm_loss", "next_sentence_loss", "loss")
    for key in [key for key in keys if key in golden]:
        np.testing.assert_allclose(out[key], golden[key], **tolerance)
    for number, probabilities in enumerate(out["attentions"]):
        if f"attentions.{number}" in golden:
            np.testing.assert_allclose(probabilities, golden[f"attentions.{number}"], **tolerance)


@pytest.mark.parametrize(("base", "full"), [("nezha_base_model", "nezha_k8"), ("bert_base_model", "bert")])
def test_a_base_model_without_prefix_gives_the_same_hidden_states(base: str, full: str) -> None:
    golden = read_golden(full, 16)
    out = oracle(*read_folder(base), {name: golden[name] for name in ("input_ids", "token_type_ids", "attention_mask")})
    states = out["last_hidden_state"].reshape(-1, 32)
    np.testing.assert_allclose(states, golden["hidden_states.2"], rtol=0, atol=2e-5)
    assert "prediction_logits" not in out
    assert "loss" not in out


def test_the_golden_models_feel_every_part() -> None:
    """A golden file in which some parameter has no influence would prove nothing about it."""
    for name, length in CASES:
        golden = read_golden(name, length)
        gradients = {key: value for key, value in golden.items() if key.startswith("gradient.")}
        assert len(gradients) == len(read_folder(name)[1])
        largest = {key: np.abs(value).max() for key, value in gradients.items()}
        # a constant added to every key of a row cancels in softmax
        assert all(value > 1e-4 for key, value in largest.items() if "key.bias" not in key)
        assert all(value < 1e-12 for key, value in largest.items() if "key.bias" in key)


def test_gradients_agree_with_finite_differences_of_the_oracle() -> None:
    config, tensors = read_folder("nezha_k8")
    golden = read_golden("nezha_k8", 16)
    random = np.random.RandomState(3)
    for name in random.permutation(sorted(tensors))[:12]:
        direction = random.standard_normal(tensors[name].shape)
        step = 1e-5
        above, below = (
            oracle(config, {**tensors, name: tensors[name] + sign * step * direction}, golden)["loss"]
            for sign in (1, -1)
        )
        expected = (golden[f"gradient.{name}"] * direction).sum()
        np.testing.assert_allclose((above - below) / (2 * step), expected, rtol=1e-4, atol=1e-6)


def test_relative_table_has_the_published_values() -> None:
    table = relative_table(64, 64)
    assert table.shape == (129, 64)
    np.testing.assert_allclose(table[0, :4], [0, 1, 0, 1])
    np.testing.assert_allclose(table[64, :4], [0.9200, 0.3919, -0.7639, -0.6453], atol=5e-5)
    np.testing.assert_allclose(table[65, :4], [0.8268, -0.5625, -0.9988, 0.0484], atol=5e-5)


def test_unused_slots_of_weight_zero_do_not_change_the_loss() -> None:
    logits = np.random.RandomState(0).standard_normal((5, 7))
    labels = np.array([1, 2, 3, 0, 0])
    assert cross_entropy(logits, labels, np.array([1, 1, 1, 0, 0])) == pytest.approx(
        cross_entropy(logits[:3], labels[:3])
    )
