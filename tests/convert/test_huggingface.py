"""What transformers can express is written in its words; what it cannot is refused."""

from __future__ import annotations

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.convert.huggingface import huggingface_config

SIZES = {"vocab_size": 10, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}


def made(**values: object) -> dict:
    return huggingface_config(ModelConfig(**{**SIZES, **values}), "NezhaModel")


def test_extras_of_ours_are_left_out() -> None:
    values = made(provenance={"a": 1}, quantization={"bits": 2})
    assert "provenance" not in values
    assert "quantization" not in values
    assert values["model_type"] == "nezha"
    assert values["architectures"] == ["NezhaModel"]
    assert values["use_relative_position"] is True


def test_fewer_heads_are_a_pruned_model() -> None:
    values = made(num_attention_heads=4, head_size=4, layer_heads=(4, 2))
    assert values["num_attention_heads"] == 4
    assert values["pruned_heads"] == {"1": [2, 3]}
    assert "layer_heads" not in values
    assert "head_size" not in values
    narrow = made(num_attention_heads=2, head_size=4, layer_heads=(2, 2))
    assert narrow["num_attention_heads"] == 4
    assert narrow["pruned_heads"] == {"0": [2, 3], "1": [2, 3]}


def test_one_narrower_intermediate_size_is_said_directly() -> None:
    assert made(layer_intermediate=(12, 12))["intermediate_size"] == 12


def test_labels_stay() -> None:
    assert made(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})["label2id"] == {"no": 0, "yes": 1}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"layer_intermediate": (12, 24)}, "layer_intermediate .12, 24.: transformers has one intermediate_size"),
        ({"head_size": 8}, "head_size 8: transformers divides hidden_size 16 among the heads"),
        ({"head_size": 5}, "head_size 5: transformers divides"),
        ({"model_type": "bert", "position_embedding_type": "none"}, "transformers has no BERT without positions"),
    ],
)
def test_what_cannot_be_expressed_is_refused(values: dict, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        made(**values)
