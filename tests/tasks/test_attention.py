"""Attention maps of an input are what the papers' formulas give, with the tokens that they join."""

import numpy as np
import pytest
from golden_files import GOLDENS, read_folder
from oracle import oracle

from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import open_folder
from ms_plm.tasks.attention import attention_maps


def opened(name: str, wants=frozenset({"probabilities"})):
    folder = open_folder(GOLDENS / name)
    return folder.build("encoder", kernels=Kernels(Call(wants=wants))), folder.tokenizer


def test_maps_of_a_pair_with_a_mask_are_the_probabilities_of_every_layer_and_head():
    model, tokenizer = opened("nezha_k8")
    maps = attention_maps(model, tokenizer, "a [MASK] b", "c b a")
    assert maps.tokens == ["[CLS]", "a", "[MASK]", "b", "[SEP]", "c", "b", "a", "[SEP]"]
    assert maps.ids[2] == tokenizer.mask_id
    config, tensors = read_folder("nezha_k8")
    inputs = {"input_ids": np.array([maps.ids]), "token_type_ids": np.array([[0] * 5 + [1] * 4])}
    expected = np.stack([layer[0] for layer in oracle(config, tensors, inputs)["attentions"]])
    np.testing.assert_allclose(maps.probabilities, expected, rtol=0, atol=1e-6)


def test_what_cannot_be_shown_is_named():
    model, tokenizer = opened("bert")
    with pytest.raises(UserError, match=f"has {model.limit} absolute positions.*--length"):
        attention_maps(model, tokenizer, "a " * model.limit)
    with pytest.raises(UserError, match="without probabilities"):
        attention_maps(opened("bert", frozenset())[0], tokenizer, "a")
