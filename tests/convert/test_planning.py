"""What does not make a whole model is refused, and the message says what is wrong; the rest is in the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import copy_of

from ms_plm.common.errors import UserError
from ms_plm.convert import Choices, Report, convert
from ms_plm.convert.planning import make_plan
from ms_plm.convert.source import open_source


def _rows(report) -> dict:
    return {row.source: row for row in report.rows}


def test_every_tensor_has_a_row(tmp_path: Path) -> None:
    report = convert(copy_of("nezha_tf", tmp_path), None)
    rows = _rows(report)
    assert rows["bert/encoder/layer_1/output/dense/kernel"].action == "transposed"
    assert rows["bert/encoder/layer_1/output/dense/kernel"].target == "nezha.encoder.layer.1.output.dense.weight"
    assert rows["bert/encoder/layer_1/output/dense/kernel"].shape == (24, 16)
    assert rows["cls/seq_relationship/output_weights"].action == "renamed"
    assert rows["global_step"].action == "skipped"
    assert {row.reason for row in report.rows if row.action == "skipped"} == {"optimizer or training state"}
    assert report.to_json()["rows"][0].keys() == {"source", "shape", "dtype", "action", "target", "reason"}


def test_layers_and_optimizer_slots_are_folded(tmp_path: Path) -> None:
    text = convert(copy_of("nezha_tf", tmp_path), None).describe()
    assert "bert/encoder/layer_N/attention/self/query/kernel" in text
    assert "layer_0" not in text
    assert text.count("adam_m") == 0
    assert "tensors: 31 renamed, 14 transposed, 3 skipped" in text


def test_missing_unexpected_and_misshaped_tensors_are_all_listed(tmp_path: Path) -> None:
    def damage(tensors: dict) -> None:
        del tensors["bert/encoder/layer_1/output/dense/bias"]
        tensors["bert/encoder/layer_0/adapter/kernel"] = np.zeros((3, 3), np.float32)
        tensors["bert/encoder/layer_0/intermediate/dense/bias"] = np.zeros(23, np.float32)

    with pytest.raises(UserError) as raised:
        convert(copy_of("nezha_tf", tmp_path, damage), None)
    message = str(raised.value)
    assert "Missing: encoder.layer.1.output.dense.bias." in message
    assert "Unexpected: bert/encoder/layer_0/adapter/kernel." in message
    assert "encoder.layer.0.intermediate.dense.bias is [23], expected [24]" in message


def test_none_of_many_is_left_out_of_the_list_and_of_the_report(tmp_path: Path) -> None:
    def damage(tensors: dict) -> None:
        for name in [name for name in tensors if "/output/dense/" in name or "/layer_1/attention/self/key/" in name]:
            del tensors[name]
        tensors |= {f"bert/encoder/layer_{n}/adapter/kernel": np.zeros((3, 3), np.float32) for n in (0, 1, 2, 5)}

    report = Report("x")
    with pytest.raises(UserError) as raised:
        convert(copy_of("nezha_tf", tmp_path, damage), None, report=report)
    message = str(raised.value)
    assert "encoder.layer.N.output.dense.weight (N = 0-1)" in message
    assert "Missing: encoder.layer.N.attention.output.dense.weight (N = 0-1), " in message
    assert "encoder.layer.1.attention.self.key.bias. Unexpected: " in message
    assert "Unexpected: bert/encoder/layer_N/adapter/kernel (N = 0-2, 5)." in message
    assert " more" not in message
    assert len(report.missing) == 10
    assert report.unexpected == [f"bert/encoder/layer_{n}/adapter/kernel" for n in (0, 1, 2, 5)]
    assert {row.reason for row in report.rows if "adapter" in row.source} == {"the encoder has no such part"}


def test_one_tensor_too_many_is_enough(tmp_path: Path) -> None:
    def add(tensors: dict) -> None:
        tensors["bert.encoder.layer.1.adapter.weight"] = np.zeros((3, 3), np.float32)

    with pytest.raises(UserError, match=r"Unexpected: bert\.encoder\.layer\.1\.adapter\.weight\.$"):
        convert(copy_of("bert", tmp_path, add), None)


def test_a_gpt_is_called_what_it_is(tmp_path: Path) -> None:
    def causal(tensors: dict) -> None:
        tensors["bert/embeddings/position_embeddings"] = np.zeros((32, 16), np.float32)
        for name in [name for name in tensors if "token_type" in name or "pooler" in name]:
            del tensors[name]

    with pytest.raises(UserError, match="NEZHA-Gen and other GPT checkpoints have no token types; they are not suppo"):
        convert(copy_of("nezha_tf", tmp_path, causal, use_relative_position=False), None)


def test_a_kernel_that_was_transposed_before_is_noticed(tmp_path: Path) -> None:
    def transpose(tensors: dict) -> None:
        name = "bert/encoder/layer_0/output/dense/kernel"
        tensors[name] = tensors[name].T

    with pytest.raises(UserError, match=r"encoder\.layer\.0\.output\.dense\.weight is \[24, 16\], expected \[16, 24\]"):
        convert(copy_of("nezha_tf", tmp_path, transpose), None)


def test_a_layer_in_the_middle_that_is_missing_is_noticed(tmp_path: Path) -> None:
    def drop(tensors: dict) -> None:
        for name in [name for name in tensors if ".layer.0." in name]:
            del tensors[name]

    with pytest.raises(UserError, match="num_hidden_layers is 2, but the number of layers in the file gives 1"):
        convert(copy_of("bert", tmp_path, drop), None)
    with pytest.raises(UserError, match=r"Missing: encoder\.layer\.0\..*Unexpected: bert\.encoder\.layer\.1\."):
        convert(copy_of("bert", tmp_path / "other", drop, num_hidden_layers=1), None)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("vocab_size", 30522, r"vocab_size is 30522, but embeddings\.word_embeddings\.weight \[95, 32\] gives 95"),
        ("hidden_size", 64, r"hidden_size is 64, but embeddings\.word_embeddings\.weight \[95, 32\] gives 32"),
        ("type_vocab_size", 16, r"type_vocab_size is 16, but embeddings\.token_type_embeddings\.weight .* gives 2"),
        ("max_position_embeddings", 512, r"max_position_embeddings is 512, but .* gives 256"),
        ("intermediate_size", 128, r"intermediate_size is 128, but .*intermediate\.dense\.weight \[48, 32\] gives 48"),
        ("num_hidden_layers", 3, "num_hidden_layers is 3, but the number of layers in the file gives 2"),
    ],
)
def test_a_configuration_that_contradicts_the_shapes_is_named(tmp_path: Path, key, value, expected: str) -> None:
    with pytest.raises(UserError, match=rf"config\.json: does not fit the tensors: {expected}"):
        convert(copy_of("bert", tmp_path, **{key: value}), None)


def test_all_contradictions_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vocab_size is 5.*hidden_size is 6"):
        convert(copy_of("bert", tmp_path, vocab_size=5, hidden_size=6), None)


def test_a_nezha_file_taken_for_bert_is_called_what_it_is(tmp_path: Path) -> None:
    says_bert = copy_of("nezha_k8", tmp_path, model_type="bert")
    with pytest.raises(UserError, match=r"This is a NEZHA checkpoint: it has no position embeddings, but .* says bert"):
        convert(says_bert, None)
    with pytest.raises(UserError, match=r"This is a NEZHA checkpoint: .*--family says bert.*--family nezha"):
        convert(copy_of("nezha_tf", tmp_path), None, choices=Choices(family="bert"))
    assert convert(says_bert, None, choices=Choices(family="nezha")).model.startswith("nezha")


def test_a_bert_file_taken_for_nezha_is_called_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="This is a BERT checkpoint: it has position embeddings, but --family says nez"):
        convert(copy_of("bert", tmp_path), None, choices=Choices(family="nezha"))
    with pytest.raises(UserError, match="This is a BERT checkpoint.*--family bert"):
        convert(copy_of("tinybert", tmp_path, use_relative_position=True), None)


def test_a_learned_table_of_relative_positions_is_refused_with_the_reason(tmp_path: Path) -> None:
    start = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
    tables = {
        "nezha_tf": "bert/encoder/layer_0/attention/self/relative_positions_keys/embeddings",
        "tinybert": start,
    }
    for name, table in tables.items():

        def add(tensors: dict, table: str = table) -> None:
            tensors[table] = np.zeros((33, 4), np.float32)

        with pytest.raises(UserError, match="learned table of relative positions.*reach 16.*cannot be expressed"):
            convert(copy_of(name, tmp_path, add), None)


def test_a_decoder_that_is_not_tied_is_refused(tmp_path: Path) -> None:
    def untie(tensors: dict) -> None:
        tensors["cls.predictions.decoder.weight"] += 1

    with pytest.raises(UserError, match="decoder.weight differs from .*word_embeddings.weight; only tied"):
        convert(copy_of("bert_gamma_beta", tmp_path, untie), None)


def test_a_bias_under_the_decoders_name_alone_is_the_bias(tmp_path: Path) -> None:
    def rename(tensors: dict) -> None:
        del tensors["cls.predictions.bias"]

    row = _rows(convert(copy_of("bert_gamma_beta", tmp_path, rename), None))["cls.predictions.decoder.bias"]
    assert (row.action, row.target) == ("renamed", "cls.predictions.bias")


def test_tensors_of_a_head_that_lacks_others_are_left_out(tmp_path: Path) -> None:
    def cut(tensors: dict) -> None:
        del tensors["cls.predictions.transform.dense.weight"]

    report = convert(copy_of("bert", tmp_path, cut), None)
    assert report.absent == ["masked-LM head"]
    assert "cls.predictions.bias" in report.unexpected
    assert "transform.dense.weight is missing" in _rows(report)["cls.predictions.bias"].reason


def test_unknown_tensors_outside_the_encoder_are_reported(tmp_path: Path) -> None:
    def add(tensors: dict) -> None:
        tensors["crf.transitions"] = np.zeros((3, 3), np.float32)

    report = convert(copy_of("bert", tmp_path, add), None)
    assert report.unexpected == ["crf.transitions"]
    assert "unexpected, not taken: crf.transitions" in report.describe()


def test_a_classifier_of_tinybert_is_left_out_because_nothing_else_computes_it(tmp_path: Path) -> None:
    def add(tensors: dict) -> None:
        tensors["classifier.weight"], tensors["classifier.bias"] = np.ones((2, 16), np.float32), np.ones(2, np.float32)

    report = convert(copy_of("tinybert", tmp_path, add), None)
    assert report.unexpected == ["classifier.bias", "classifier.weight"]
    assert "ReLU" in _rows(report)["classifier.weight"].reason


def test_heads_that_are_not_there_are_named(tmp_path: Path) -> None:
    assert convert(copy_of("dynabert", tmp_path), None).absent == ["masked-LM head", "next-sentence head"]


def test_a_head_for_another_width_is_noticed(tmp_path: Path) -> None:
    def widen(tensors: dict) -> None:
        tensors["classifier.weight"] = np.zeros((3, 20), np.float32)

    with pytest.raises(UserError, match=r"Of another shape: classifier\.weight is \[3, 20\], expected \[3, 16\]"):
        convert(copy_of("dynabert", tmp_path, widen), None)


def test_two_tensors_for_one_place_are_refused(tmp_path: Path) -> None:
    def double(tensors: dict) -> None:
        tensors["bert.embeddings.LayerNorm.gamma"] = tensors["bert.embeddings.LayerNorm.weight"]

    with pytest.raises(UserError, match=r"two tensors are embeddings\.LayerNorm\.weight"):
        convert(copy_of("bert", tmp_path, double), None)


def test_keys_that_say_nothing_about_the_model_are_named(tmp_path: Path) -> None:
    notes = convert(copy_of("tinybert", tmp_path), None).notes
    assert "not taken from config.json: cell, emb_size, pre_trained, structure, training" in notes


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("bert", None, "BertForPreTraining"),
        ("nezha_base_model", None, "NezhaModel"),
        ("dynabert", None, "BertForSequenceClassification"),
        ("dynabert", "BertForMultipleChoice", "BertForMultipleChoice"),
    ],
)
def test_the_class_of_transformers_follows_from_the_tensors(tmp_path: Path, name, said, expected: str) -> None:
    config = {"architectures": [said]} if said else {}
    assert make_plan(open_source(copy_of(name, tmp_path, **config)), Choices()).architecture == expected


def _fine_tuned(tensors: dict) -> None:
    """As TensorFlow's scripts for texts and for tags alike save it."""
    for name in [name for name in tensors if name.startswith("cls/")]:
        del tensors[name]
    tensors["output_weights"], tensors["output_bias"] = np.ones((5, 16), np.float32), np.ones(5, np.float32)


def test_a_classifier_that_may_be_for_texts_or_tags_is_one_for_texts_unless_told(tmp_path: Path) -> None:
    source = open_source(copy_of("nezha_tf", tmp_path, _fine_tuned))
    plan = make_plan(source, Choices())
    assert plan.architecture == "NezhaForSequenceClassification"
    note = "classifier taken as one of whole texts; for tags: --head token_classification; for multiple choice"
    assert any(text.startswith(note) for text in plan.report.notes)
    told = make_plan(source, Choices(head="token_classification"))
    assert told.architecture == "NezhaForTokenClassification"
    assert not any("classifier taken" in text for text in told.report.notes)


def test_a_classifier_that_the_configuration_or_the_tensors_tell_has_no_note(tmp_path: Path) -> None:
    def drop(tensors: dict) -> None:
        for name in [name for name in tensors if "pooler" in name]:
            del tensors[name]

    said = copy_of("dynabert", tmp_path, architectures=["BertForTokenClassification"])
    for folder in (said, copy_of("dynabert", tmp_path / "b", drop)):
        plan = make_plan(open_source(folder), Choices())
        assert plan.architecture == "BertForTokenClassification"
        assert not any("classifier taken" in text for text in plan.report.notes)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dynaroberta", "--head token_classification: the classifier's tensors are those of sequence_classification"),
        ("bert", "--head token_classification: no classifier can be taken from it"),
    ],
)
def test_a_head_that_the_tensors_cannot_be_is_refused(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        convert(copy_of(name, tmp_path), None, choices=Choices(head="token_classification"))


@pytest.mark.parametrize("name", ["crf_loss/transitions", "bidirectional_lstm/fw/kernel", "bert/lstm.weight_ih_l0"])
def test_a_classifier_beside_an_lstm_or_a_crf_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    def add(tensors: dict) -> None:
        _fine_tuned(tensors)
        tensors[name] = np.zeros((5, 5), np.float32)

    with pytest.raises(UserError, match=f"works together with {name}. .*neither LSTM nor CRF.*other tags"):
        convert(copy_of("nezha_tf", tmp_path, add), None)
