"""FLOPs of a training step against a count by hand."""

from __future__ import annotations

import pytest

from ms_plm.config.model import ModelConfig
from ms_plm.training.throughput import training_flops


def config(**changes) -> ModelConfig:
    values = {
        "vocab_size": 100,
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "position_embedding_type": "absolute",
    }
    return ModelConfig(**{**values, **changes})


def by_hand(length: int, share: float, relative: bool) -> float:
    """Multiply-adds of each matrix product of a whole sample, counted one by one."""
    width, inner, vocabulary, layers = 8, 20, 100, 3
    projections = 4 * length * width * width  # query, key, value, output
    scores_and_values = 2 * length * length * width  # q k^T and p v, all heads together
    if relative:
        scores_and_values += 2 * length * length * width  # q r^T and p r
    feed_forward = 2 * length * width * inner
    head = share * length * (width * width + width * vocabulary)
    multiply_adds = layers * (projections + scores_and_values + feed_forward) + head
    forward = 2 * multiply_adds
    return 3 * forward / length  # the backward pass has two products for each of the forward's; per token


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("length", "share"), [(16, 0.25), (128, 20 / 128)])
def test_flops_are_those_of_all_matrix_products(length: int, share: float, relative: bool) -> None:
    kind = "functional_relative" if relative else "absolute"
    found = training_flops(config(position_embedding_type=kind), length, share)
    assert found == pytest.approx(by_hand(length, share, relative), rel=1e-12)


def test_bert_base_needs_about_six_flops_a_weight_and_token() -> None:
    base = ModelConfig(vocab_size=30522, position_embedding_type="absolute")
    weights = 12 * (4 * 768**2 + 2 * 768 * 3072)
    assert 6 * weights < training_flops(base, 128, 0.15) < 1.1 * 6 * weights


def test_layers_of_different_sizes_count_as_they_are() -> None:
    cut = config(head_size=4, layer_heads=[2, 1, 1], layer_intermediate=[20, 10, 5])
    one = training_flops(config(num_hidden_layers=1), 16, 0.0)
    assert one < training_flops(cut, 16, 0.0) < 3 * one
