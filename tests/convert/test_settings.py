"""The configuration comes from its file and the shapes; what neither says is assumed and told, or asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import copy_of
from golden_files import GOLDENS, read_folder

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.convert import Choices
from ms_plm.convert.planning import make_plan
from ms_plm.convert.settings import expected_shapes, head_shapes
from ms_plm.convert.source import open_source


def plan_of(folder: Path, **choices: str):
    return make_plan(open_source(folder), Choices(**choices))


@pytest.mark.parametrize("name", ["nezha_k8", "bert"])
def test_the_expected_shapes_are_those_of_transformers(name: str) -> None:
    config, tensors = read_folder(name)
    expected = expected_shapes(ModelConfig.load(GOLDENS / name))
    for wanted in head_shapes(ModelConfig.load(GOLDENS / name)).values():
        expected |= wanted
    prefix = f"{config['model_type']}."
    assert expected == {key.removeprefix(prefix): value.shape for key, value in tensors.items()}


def test_shapes_fill_in_what_the_configuration_leaves_out(tmp_path: Path) -> None:
    left_out = dict.fromkeys(
        ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings",
         "type_vocab_size", "model_type"),
    )  # fmt: skip
    config = plan_of(copy_of("bert", tmp_path, **left_out)).config
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (95, 32, 2)
    assert (config.intermediate_size, config.max_position_embeddings, config.type_vocab_size) == (48, 256, 2)
    assert config.model_type == "bert"


def test_the_reach_of_chinese_models_is_assumed_and_told(tmp_path: Path) -> None:
    plan = plan_of(copy_of("nezha_torch", tmp_path, max_relative_position=None))
    assert plan.config.max_relative_position == 64
    assert any("max_relative_position is not said anywhere: 64" in note for note in plan.report.notes)
    told = plan_of(copy_of("nezha_torch", tmp_path / "told"))
    assert told.config.max_relative_position == 3
    assert not any("max_relative_position" in note for note in told.report.notes)


def test_stored_positions_tell_the_reach(tmp_path: Path) -> None:
    plan = plan_of(copy_of("nezha_old_release", tmp_path, max_relative_position=None))
    assert plan.config.max_relative_position == 8
    assert any("8, as the stored positions show" in note for note in plan.report.notes)


def test_stored_positions_that_are_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the sinusoid of max_relative_position 9; they look alike beyond 8"):
        plan_of(copy_of("nezha_old_release", tmp_path, max_relative_position=9))

    def unshifted(tensors: dict) -> None:
        for name in tensors:
            if name.endswith("positions_encoding"):
                tensors[name] = np.roll(tensors[name], 1, axis=2)

    with pytest.raises(UserError, match=r"not the sinusoid of max_relative_position 8\. Use"):
        plan_of(copy_of("nezha_old_release", tmp_path / "b", unshifted))


def test_a_pruned_model_of_transformers_has_fewer_heads_in_some_layers(tmp_path: Path) -> None:
    def prune(tensors: dict) -> None:
        for name, value in tensors.items():
            if ".layer.1.attention.self." in name:
                tensors[name] = value[:16]
            elif name.endswith(".layer.1.attention.output.dense.weight"):
                tensors[name] = value[:, :16]

    config = plan_of(copy_of("bert", tmp_path, prune, pruned_heads={"1": [1, 2], "0": []})).config
    assert (config.layer_heads, config.head_size, config.num_attention_heads) == ((4, 2), 8, 4)
    with pytest.raises(UserError, match=r"layer\.1\.attention\.self\.query\.weight is \[16, 32\], expected \[24, 32\]"):
        plan_of(copy_of("bert", tmp_path / "b", prune, pruned_heads={"1": [1]}))


def test_the_two_gelus_of_the_original_release_are_told(tmp_path: Path) -> None:
    assert any("trained with the tanh GELU" in note for note in plan_of(copy_of("nezha_torch", tmp_path)).report.notes)
    assert not any("trained with" in note for note in plan_of(copy_of("nezha_k8", tmp_path)).report.notes)


@pytest.mark.parametrize(
    ("name", "said", "chosen", "expected"),
    [
        ("nezha_tf", "gelu", None, "gelu_new"),
        ("nezha_tf", "gelu", "gelu", "gelu"),
        ("nezha_tf", "relu", None, "relu"),
        ("nezha_torch", "gelu", None, "gelu"),
        ("nezha_torch", "gelu", "gelu_new", "gelu_new"),
        ("bert_mindspore", "gelu", None, "gelu_new"),
        ("tinybert", "gelu_pytorch_tanh", None, "gelu_new"),
    ],
)
def test_gelu_is_the_form_that_its_framework_means(tmp_path, name, said, chosen, expected) -> None:
    assert plan_of(copy_of(name, tmp_path, hidden_act=said), hidden_act=chosen).config.hidden_act == expected


def test_an_activation_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: hidden_act: .*found 'silu'"):
        plan_of(copy_of("tinybert", tmp_path, hidden_act="silu"))


def test_mindspores_epsilon_is_taken_where_none_is_said(tmp_path: Path) -> None:
    assert plan_of(copy_of("bert_mindspore", tmp_path)).config.layer_norm_eps == 1e-7
    assert plan_of(copy_of("bert_mindspore", tmp_path / "b", layer_norm_eps=1e-12)).config.layer_norm_eps == 1e-12
    assert plan_of(copy_of("nezha_tf", tmp_path)).config.layer_norm_eps == 1e-12


def test_a_default_that_transformers_wrote_does_not_turn_relative_positions_off(tmp_path: Path) -> None:
    config = plan_of(copy_of("nezha_k8", tmp_path, position_embedding_type="absolute")).config
    assert config.position_embedding_type == "functional_relative"


def test_labels_are_numbered_where_they_are_not_named(tmp_path: Path) -> None:
    plan = plan_of(copy_of("dynabert", tmp_path))
    assert plan.config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert any("3 labels mean is not said anywhere" in note for note in plan.report.notes)
    named = {"0": "yes", "1": "no", "2": "perhaps"}
    assert plan_of(copy_of("dynabert", tmp_path / "b", id2label=named)).config.id2label[2] == "perhaps"
    with pytest.raises(UserError, match="id2label has 2 entries, but classifier.weight .3, 16. has 3 rows"):
        plan_of(copy_of("dynabert", tmp_path / "c", id2label={"0": "yes", "1": "no"}))


def test_labels_may_be_named_by_label2id_alone(tmp_path: Path) -> None:
    plan = plan_of(copy_of("dynabert", tmp_path, label2id={"no": 1, "yes": 0, "perhaps": 2}))
    assert plan.config.id2label == {0: "yes", 1: "no", 2: "perhaps"}
    assert not any("not said anywhere" in note for note in plan.report.notes)
    with pytest.raises(UserError, match="label2id has 2 entries, but classifier.weight .3, 16. has 3 rows"):
        plan_of(copy_of("dynabert", tmp_path / "b", label2id={"yes": 0, "no": 1}))


def test_another_family_in_the_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model_type: .*'nezha' or 'roberta'.*found 'electra'"):
        plan_of(copy_of("tinybert", tmp_path, model_type="electra"))


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("tinybert", "roberta", "a BERT checkpoint: no tensor is called roberta.*says roberta.*--family bert"),
        ("roberta", "bert", "a RoBERTa checkpoint: its tensors are called roberta.*says bert.*--family roberta"),
        ("roberta", "nezha", "a RoBERTa checkpoint.*says nezha"),
    ],
)
def test_robertas_names_decide_since_its_positions_look_like_berts(tmp_path: Path, name, said, expected) -> None:
    with pytest.raises(UserError, match=expected):
        plan_of(copy_of(name, tmp_path, model_type=said))


def test_what_dynaroberta_leaves_out_is_filled_in(tmp_path: Path) -> None:
    plan = plan_of(copy_of("dynaroberta", tmp_path))
    config = plan.config
    assert (config.model_type, config.pad_token_id, config.longest_input, config.num_labels) == ("roberta", 1, 32, 3)
    assert (plan.architecture, plan.report.unexpected) == ("RobertaForSequenceClassification", [])
    assert any("output_intermediate" in note for note in plan.report.notes)


def test_a_roberta_without_prefix_is_told_by_its_configuration(tmp_path: Path) -> None:
    assert plan_of(copy_of("roberta_base_model", tmp_path)).config.model_type == "roberta"
    plan = plan_of(copy_of("roberta_base_model", tmp_path / "b", model_type=None), family="roberta")
    assert plan.architecture == "RobertaModel"
