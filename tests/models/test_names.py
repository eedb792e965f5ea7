"""Tables of tensor names, read both ways."""

from __future__ import annotations

import pytest
from golden_files import read_folder
from tiny import tiny_config

from ms_plm.config.model import ModelConfig
from ms_plm.models.model import HEADS, Model
from ms_plm.models.names import architecture, is_redundant, modern_name, name_table

FAMILIES = ("nezha", "bert", "roberta")


def _config(family: str) -> ModelConfig:
    return tiny_config(model_type=family, num_hidden_layers=2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("with_prefix", [True, False])
def test_a_table_reads_both_ways(family: str, with_prefix: bool) -> None:
    table = name_table(_config(family), f"{family}." if with_prefix else "")
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_of_every_head_has_a_name(family: str, head: str) -> None:
    table = name_table(_config(family), f"{family}.", head)
    if (family, head) == ("roberta", "pretraining"):
        pytest.skip("there is no such head")
    names = {name for name, _ in Model(_config(family), head).parameters_and_names()}
    assert names <= table.keys()
    if head == "pretraining":
        assert names == table.keys()


@pytest.mark.parametrize(
    ("folder", "family", "head"),
    [
        ("nezha_k8", "nezha", "pretraining"),
        ("bert", "bert", "pretraining"),
        ("roberta", "roberta", "masked_lm"),
        ("tasks/roberta_sequence_classification", "roberta", "sequence_classification"),
        ("tasks/roberta_multiple_choice", "roberta", "multiple_choice"),
    ],
)
def test_names_are_those_of_transformers(folder: str, family: str, head: str) -> None:
    values, tensors = read_folder(folder)
    table = name_table(ModelConfig.from_huggingface(values), f"{family}.", head)
    parts = (*HEADS[head], "encoder")
    named = {theirs for ours, theirs in table.items() if ours.startswith(parts)}
    assert named == {name for name in tensors if not is_redundant(name)}


def test_only_absolute_positions_have_a_table() -> None:
    assert "bert.embeddings.position_embeddings.weight" in name_table(_config("bert"), "bert.").values()
    assert not [name for name in name_table(_config("nezha"), "nezha.").values() if "position" in name]
    without = tiny_config(model_type="bert", position_embedding_type="none")
    assert not [name for name in name_table(without, "bert.").values() if "position" in name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
        ("bert.embeddings.LayerNorm.beta", "bert.embeddings.LayerNorm.bias"),
        ("bert.pooler.dense.weight", "bert.pooler.dense.weight"),
        ("bert.gamma.dense.bias", "bert.gamma.dense.bias"),
    ],
)
def test_names_of_old_files_are_made_modern(old: str, new: str) -> None:
    assert modern_name(old) == new


def test_the_class_of_transformers_is_named() -> None:
    assert architecture(_config("nezha"), "pretraining") == "NezhaForPreTraining"
    assert architecture(_config("bert"), "masked_lm") == "BertForMaskedLM"
    assert architecture(_config("bert"), "encoder") == "BertModel"
    assert architecture(_config("roberta"), "multiple_choice") == "RobertaForMultipleChoice"
