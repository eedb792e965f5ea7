"""config.json in Hugging Face's words."""

import json

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.config.recipe import ModelSection

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}


@pytest.mark.parametrize(("family", "positions"), [("nezha", "functional_relative"), ("bert", "absolute")])
def test_positions_follow_the_family(family, positions):
    assert ModelConfig(model_type=family, **SMALL).position_embedding_type == positions
    assert ModelSection(model_type=family).position_embedding == positions
    assert ModelSection(model_type=family).build(50).position_embedding_type == positions


def test_a_saved_configuration_reads_back_the_same(tmp_path):
    config = ModelConfig(
        **SMALL, layer_heads=(4, 2), head_size=8, layer_intermediate=(64, 32), id2label={0: "a", 1: "b"}
    )
    config.save(tmp_path, "NezhaForPreTraining")
    assert ModelConfig.load(tmp_path) == config
    raw = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert raw["architectures"] == ["NezhaForPreTraining"]
    assert not {"quantization", "is_decoder", "provenance"} & set(raw)
    assert [config.heads(layer) for layer in (0, 1)] == [4, 2]
    assert [config.intermediate(layer) for layer in (0, 1)] == [64, 32]


def test_a_folder_without_model_type_is_recognised_by_its_relative_positions():
    assert ModelConfig.from_huggingface({**SMALL, "max_relative_position": 64}).model_type == "nezha"
    assert ModelConfig.from_huggingface({**SMALL, "use_relative_position": True}).model_type == "nezha"
    assert ModelConfig.from_huggingface(SMALL).model_type == "bert"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 30}, "hidden_size 30 is not a multiple of num_attention_heads 4"),
        ({"layer_heads": [4]}, "layer_heads has 1 entries for num_hidden_layers 2"),
        ({"pad_token_id": 50}, "pad_token_id 50 is outside the vocabulary of 50"),
        ({"hidden_act": "swish"}, "hidden_act"),
        ({"vocab_size": None}, "vocab_size: Field required"),
        ({"position_embedding_type": "relative_key"}, "learned relative table"),
    ],
)
def test_a_wrong_configuration_names_the_file_and_key(values, message):
    with pytest.raises(UserError, match="folder/config.json: ") as caught:
        ModelConfig.from_huggingface({**SMALL, **values}, "folder/config.json")
    assert message in str(caught.value)


def test_roberta_counts_positions_from_behind_the_padding():
    config = ModelConfig(model_type="roberta", max_position_embeddings=514, **SMALL)
    assert (config.pad_token_id, config.first_position, config.longest_input) == (1, 2, 512)
    assert ModelConfig(**{**config.model_dump(), "pad_token_id": 0}).longest_input == 513
    assert ModelConfig(model_type="bert", **SMALL).longest_input == 512
    assert ModelConfig(**SMALL).longest_input is None
    with pytest.raises(ValueError, match="max_position_embeddings 2 leaves no position: roberta counts them from 2"):
        ModelConfig(model_type="roberta", max_position_embeddings=2, **SMALL)
