"""Names tell who wrote a checkpoint, and every tensor's place follows from its name."""

from __future__ import annotations

import pytest
from checkpoints import CONVERT, tensors_of
from mindspore.train.checkpoint_pb2 import Checkpoint

from ms_plm.common.errors import UserError
from ms_plm.convert.schemes import NO_PART, STATE, places, recognise

HUGGING_FACE, TENSORFLOW, MINDSPORE = "Hugging Face or original PyTorch", "TensorFlow BERT/NEZHA", "MindSpore model zoo"


def mindspore_names(name: str) -> list[str]:
    return [value.tag for value in Checkpoint.FromString((CONVERT / name / f"{name}.ckpt").read_bytes()).value]


def place(name: str, words: str, *others: str):
    """The place of a name in a file that holds `words` and `others` as well."""
    names = [name, words, *others]
    return places(recognise(names, "x"), names, "x")[name]


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("nezha_tf", TENSORFLOW), ("nezha_torch", HUGGING_FACE), ("tinybert", HUGGING_FACE), ("dynabert", HUGGING_FACE)],
)
def test_names_are_recognised(name: str, scheme: str) -> None:
    assert recognise(tensors_of(name), "x").name == scheme


@pytest.mark.parametrize("name", ["bert_mindspore", "tinybert_mindspore"])
def test_both_namings_of_the_model_zoo_are_recognised(name: str) -> None:
    names = mindspore_names(name)
    scheme = recognise(names, "x")
    assert scheme.name == MINDSPORE
    assert not [item for item in places(scheme, names, "x").values() if item.problem]


@pytest.mark.parametrize("root", ["", "bert.", "nezha.", "module.", "module.bert.", "model.bert."])
def test_what_stands_before_pytorch_names_does_not_matter(root: str) -> None:
    words = f"{root}embeddings.word_embeddings.weight"
    outer = root.removesuffix("bert.").removesuffix("nezha.")
    assert (
        place(f"{root}encoder.layer.3.output.LayerNorm.gamma", words).target
        == "encoder.layer.3.output.LayerNorm.weight"
    )
    assert place(f"{root}pooler.dense.bias", words).target == "pooler.dense.bias"
    assert place(f"{outer}cls.predictions.bias", words).target == "cls.predictions.bias"
    assert place(f"{outer}classifier.weight", words).target == "classifier.weight"
    assert place(f"{outer}fit_denses.4.bias", words).target == "fit_denses.4.bias"


def test_gamma_and_beta_are_renamed_at_the_end_of_a_name_only() -> None:
    words = "bert.embeddings.word_embeddings.weight"
    assert place("bert.embeddings.LayerNorm.beta", words).target == "embeddings.LayerNorm.bias"
    found = place("bert.encoder.layer.0.gamma_gate.weight", words)
    assert found.target is None
    assert found.problem


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bert.encoder.layer.0.attention.self.relative_positions_encoding.positions_encoding", "sinusoid"),
        ("bert.embeddings.position_ids", "constant"),
        ("bert.encoder.layer.0.attention.self.clip_query", "clipping range"),
        ("bert.encoder.layer.0.intermediate.dense.weight_clip_val", "clipping range"),
    ],
)
def test_buffers_are_left_out_with_the_reason(name: str, reason: str) -> None:
    found = place(name, "bert.embeddings.word_embeddings.weight")
    assert found.target is None
    assert reason in found.reason
    assert not found.problem


@pytest.mark.parametrize(
    ("name", "target", "transposed"),
    [
        ("bert/encoder/layer_11/attention/self/query/kernel", "encoder.layer.11.attention.self.query.weight", True),
        ("bert/encoder/layer_0/output/LayerNorm/beta", "encoder.layer.0.output.LayerNorm.bias", False),
        ("bert/pooler/dense/kernel", "pooler.dense.weight", True),
        ("cls/predictions/transform/dense/kernel", "cls.predictions.transform.dense.weight", True),
        ("cls/predictions/output_bias", "cls.predictions.bias", False),
        ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight", False),
        ("output_weights", "classifier.weight", False),
        ("cls/squad/output_bias", "qa_outputs.bias", False),
        ("bert/embeddings/position_embeddings", "embeddings.position_embeddings.weight", False),
    ],
)
def test_tensorflow_kernels_are_transposed_and_output_weights_are_not(name, target, transposed) -> None:
    found = place(name, "bert/embeddings/word_embeddings")
    assert (found.target, found.transposed) == (target, transposed)


@pytest.mark.parametrize(
    "name",
    ["bert/pooler/dense/kernel/adam_m", "bert/pooler/dense/bias/lamb_v", "global_step", "loss_scale", "good_steps",
     "_CHECKPOINTABLE_OBJECT_GRAPH", "bert/embeddings/word_embeddings/Adam_1"],
)  # fmt: skip
def test_state_of_tensorflow_optimizers_is_left_out(name: str) -> None:
    found = place(name, "bert/embeddings/word_embeddings")
    assert (found.target, found.reason, found.problem) == (None, STATE, False)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("bert.bert.dense.weight", "pooler.dense.weight"),
        ("bert.dense.weight", "classifier.weight"),
        ("bert.dense_1.bias", "classifier.bias"),
        ("bert.dense1.weight", "qa_outputs.weight"),
        ("bert.cls1.layernorm.gamma", "cls.predictions.transform.LayerNorm.weight"),
        ("bert.cls1.output_bias", "cls.predictions.bias"),
        ("bert.cls2.dense.bias", "cls.seq_relationship.bias"),
        (
            "bert.bert.bert_encoder.layers.7.attention.attention.key_layer.bias",
            "encoder.layer.7.attention.self.key.bias",
        ),
        ("bert.bert.bert_encoder.layers.7.intermediate.weight", "encoder.layer.7.intermediate.dense.weight"),
        ("adam_m.bert.bert.bert_embedding_lookup.embedding_table", None),
        ("moment1.bert.bert.dense.weight", None),
        ("learning_rate", None),
    ],
)
def test_names_of_the_model_zoo(name: str, target: str | None) -> None:
    found = place(name, "bert.bert.bert_embedding_lookup.embedding_table")
    assert found.target == target
    assert found.reason == ("" if target else STATE)


def test_heads_of_the_model_zoo_may_stand_inside() -> None:
    """So files look that were converted from Paddle with the model zoo's own script."""
    words = "bert.bert_embedding_lookup.embedding_table"
    assert place("bert.cls1.dense.weight", words).target == "cls.predictions.transform.dense.weight"
    assert place("bert.dense.weight", words).target == "pooler.dense.weight"


def test_what_stands_under_the_encoders_name_is_the_encoders() -> None:
    """A wrapper's name says nothing of that kind."""
    named = place("bert.adapter.weight", "bert.embeddings.word_embeddings.weight")
    wrapped = place("module.crf.transitions", "module.embeddings.word_embeddings.weight")
    assert (named.reason, wrapped.reason) == (NO_PART, "not a head that is known")
    assert named.problem
    assert wrapped.problem


@pytest.mark.parametrize("name", ["classifier.dense.weight", "classifier.out_proj.bias", "cls.predictions.extra.bias"])
def test_heads_of_another_build_are_not_taken(name: str) -> None:
    assert place(name, "bert.embeddings.word_embeddings.weight").reason == "not a head that is known"


def test_heads_of_roberta_are_known_under_its_name_alone() -> None:
    words = "roberta.embeddings.word_embeddings.weight"
    for name in ("lm_head.layer_norm.bias", "lm_head.decoder.weight", "classifier.out_proj.bias", "classifier.weight"):
        assert place(name, words).target == name
    assert place("roberta.encoder.layer.0.output.dense.bias", words).target == "encoder.layer.0.output.dense.bias"
    assert place("cls.predictions.bias", words).reason == "not a head that is known"
    wrapped = "module.roberta.embeddings.word_embeddings.weight"
    assert place("module.classifier.dense.bias", wrapped).target == "classifier.dense.bias"


def test_a_teacher_in_the_file_is_left_out() -> None:
    found = place(
        "teacher.bert_embedding_lookup.embedding_table",
        "bert.bert.tinybert_embedding_lookup.embedding_table",
        "teacher.dense.weight",
    )
    assert found.reason == "of the teacher, not of this model"


def test_two_encoders_are_refused() -> None:
    with pytest.raises(UserError, match=r"several encoders \(a\.bert\., b\.bert\.\)"):
        place("a.bert.embeddings.word_embeddings.weight", "b.bert.embeddings.word_embeddings.weight")


def test_the_model_zoos_learned_relative_table_is_refused() -> None:
    table = (
        "bert.bert.bert_encoder.layers.0.attention.attention._generate_relative_positions_embeddings.embeddings_table"
    )
    with pytest.raises(UserError, match=r"learned table.*1 in all.*model zoo of MindSpore calls nezha.*reach 16"):
        place(table, "bert.bert.bert_embedding_lookup.embedding_table")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("electra.embeddings.word_embeddings.weight", "of the family electra. ms_plm has bert, nezha, roberta"),
        ("bert.embeddings.word_embeddings.embedding.weight", "AutoTinyBERT super-network"),
        ("transformer.wte.weight", "not a BERT, NEZHA or RoBERTa checkpoint.*It holds transformer.wte.weight"),
    ],
)
def test_other_families_are_called_what_they_are(name: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        place(name, name)
