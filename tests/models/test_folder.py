"""Model folders: what transformers wrote is read, what we write is the same again, and what does not fit is named."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from golden_files import GOLDENS, padded_folder, read_folder, read_golden
from mindspore import Tensor
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.models.folder import load, open_folder, save
from ms_plm.models.model import Model

WEIGHTS = "model.safetensors"


def _values(model) -> dict[str, np.ndarray]:
    return {name: parameter.asnumpy() for name, parameter in model.parameters_and_names()}


def _assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def _copy(name: str, tmp_path: Path, tensors=None, **config) -> Path:
    """A golden folder to be damaged; `tensors` changes the dict of its weights in place."""
    target = tmp_path / "model"
    shutil.copytree(GOLDENS / name, target)
    if tensors:
        values = load_file(target / WEIGHTS)
        tensors(values)
        save_file(values, target / WEIGHTS, metadata={"format": "pt"})
    if config:
        content = json.loads((target / "config.json").read_text(encoding="utf-8"))
        (target / "config.json").write_text(json.dumps({**content, **config}), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    ("folder", "same_as", "head"),
    [
        ("nezha_old_release", "nezha_k8", "pretraining"),
        ("bert_gamma_beta", "bert", "pretraining"),
        ("nezha_base_model", "nezha_k8", "encoder"),
        ("bert_base_model", "bert", "encoder"),
    ],
)
def test_old_files_and_base_models_hold_the_same_model(folder: str, same_as: str, head: str) -> None:
    model, tokenizer = load(GOLDENS / folder, head)
    expected, _ = load(GOLDENS / same_as, head)
    shared, wanted = _values(model), _values(expected)
    if "encoder.embeddings.position_embeddings.weight" in wanted:  # the number of rows differs between the folders
        rows = len(shared["encoder.embeddings.position_embeddings.weight"])
        wanted["encoder.embeddings.position_embeddings.weight"] = wanted[
            "encoder.embeddings.position_embeddings.weight"
        ][:rows]
    _assert_same(shared, wanted)
    assert tokenizer.vocab_size == model.config.vocab_size == 95


@pytest.mark.parametrize(("folder", "golden"), [("nezha_old_release", "nezha_k8"), ("bert_base_model", "bert")])
def test_their_hidden_states_are_those_of_transformers(folder: str, golden: str) -> None:
    expected = read_golden(golden, 16)
    model, _ = load(GOLDENS / folder)
    out = model(*(Tensor(expected[name]) for name in ("input_ids", "token_type_ids", "attention_mask")))
    states = out.last_hidden_state.asnumpy().reshape(-1, 32)[expected["rows"]]
    np.testing.assert_allclose(states, expected["hidden_states.2"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(out.pooler_output.asnumpy(), expected["pooler_output"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("folder", ["nezha_k8", "bert", "nezha_old_release", "bert_gamma_beta"])
def test_what_is_saved_comes_back_bit_for_bit(folder: str, tmp_path: Path) -> None:
    model, tokenizer = load(GOLDENS / folder, "pretraining")
    save(tmp_path / "ours", model, tokenizer)
    again, other = load(tmp_path / "ours", "pretraining")
    _assert_same(_values(model), _values(again))
    assert again.config == model.config
    assert other.vocabulary == tokenizer.vocabulary


@pytest.mark.parametrize(
    ("folder", "head", "class_name"),
    [("nezha_k8", "pretraining", "NezhaForPreTraining"), ("bert", "masked_lm", "BertForMaskedLM")],
)
def test_saved_files_carry_names_and_metadata_of_transformers(
    folder: str, head: str, class_name: str, tmp_path: Path
) -> None:
    model, tokenizer = load(GOLDENS / folder, head)
    save(tmp_path / "ours", model, tokenizer, provenance={"recipe": "tiny"})
    with safe_open(tmp_path / "ours" / WEIGHTS, "numpy") as file:
        names, metadata = set(file.keys()), file.metadata()
    theirs = set(read_folder(folder)[1])
    assert metadata == {"format": "pt"}
    assert names <= theirs
    if head == "pretraining":
        assert names == theirs
    config = json.loads((tmp_path / "ours" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == [class_name]
    assert config["provenance"] == {"recipe": "tiny"}
    assert (tmp_path / "ours" / "vocab.txt").read_bytes() == (GOLDENS / folder / "vocab.txt").read_bytes()


def test_an_encoder_is_saved_without_prefix(tmp_path: Path) -> None:
    model, tokenizer = load(GOLDENS / "nezha_k8")
    save(tmp_path / "ours", model, tokenizer)
    assert set(load_file(tmp_path / "ours" / WEIGHTS)) == set(read_folder("nezha_base_model")[1])


def test_a_missing_head_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no masked_lm and no next_sentence head.*new_head=True"):
        load(GOLDENS / "nezha_base_model", "pretraining")


def test_a_new_head_is_drawn_from_the_seed_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model, _ = load(GOLDENS / "nezha_base_model", "pretraining", new_head=True, seed=3)
    assert "new weights for masked_lm, next_sentence" in caplog.text
    whole, _ = load(GOLDENS / "nezha_k8", "pretraining")
    again, _ = load(GOLDENS / "nezha_base_model", "pretraining", new_head=True, seed=3)
    other, _ = load(GOLDENS / "nezha_base_model", "pretraining", new_head=True, seed=4)
    _assert_same(_values(model), _values(again))
    kept, new = _values(model), "masked_lm.dense.weight"
    for name, value in _values(whole).items():
        if name.startswith(("encoder.", "pooler.")):
            np.testing.assert_array_equal(kept[name], value, err_msg=name)
    assert (kept[new] != _values(other)[new]).any()
    assert kept[new].std() == pytest.approx(model.config.initializer_range, rel=0.1)


def test_a_fresh_model_has_the_shape_of_its_folder_and_none_of_its_weights() -> None:
    folder = open_folder(GOLDENS / "nezha_k8")
    model = folder.build("pretraining", seed=3, fresh=True)
    new = Model(folder.config, "pretraining").initialise(3)
    _assert_same(_values(model), _values(new))
    for name, value in _values(model).items():
        if value.ndim == 1:
            expected = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            np.testing.assert_array_equal(value, np.full_like(value, expected), err_msg=name)
    other = _values(folder.build("pretraining", seed=4, fresh=True))
    assert all((value != other[name]).any() for name, value in _values(model).items() if value.ndim > 1)


def test_an_encoder_without_a_pooler_loads(tmp_path: Path) -> None:
    def without_pooler(tensors: dict) -> None:
        del tensors["pooler.dense.weight"], tensors["pooler.dense.bias"]

    model, _ = load(_copy("nezha_base_model", tmp_path, without_pooler))
    assert not model.has_pooler
    assert not [name for name, _ in model.parameters_and_names() if "pooler" in name]


def test_heads_that_were_not_asked_for_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ms_plm.models.folder"):
        load(GOLDENS / "nezha_k8")
    lines = [record.message for record in caplog.records if "not used" in record.message]
    assert len(lines) == 1
    assert "cls.predictions" in lines[0]
    assert "cls.seq_relationship" in lines[0]


def test_an_unknown_head_is_named() -> None:
    with pytest.raises(UserError, match=r"head: expected one of encoder, .*found 'mlm'"):
        load(GOLDENS / "nezha_k8", "mlm")


def test_a_bert_configuration_over_nezha_weights_is_guessed(tmp_path: Path) -> None:
    folder = _copy("nezha_k8", tmp_path, model_type="bert")
    with pytest.raises(UserError, match=r"Missing: .*position_embeddings.*This is a NEZHA checkpoint: .*no position"):
        load(folder)


def test_a_nezha_configuration_over_bert_weights_is_guessed(tmp_path: Path) -> None:
    folder = _copy("bert", tmp_path, model_type="nezha", position_embedding_type=None)
    with pytest.raises(UserError, match=r"Unexpected: .*position_embeddings.*This is a BERT checkpoint"):
        load(folder)


def test_missing_unexpected_and_misshaped_tensors_are_all_listed(tmp_path: Path) -> None:
    def damage(tensors: dict) -> None:
        del tensors["nezha.encoder.layer.1.output.dense.bias"]
        tensors["nezha.encoder.layer.0.adapter.weight"] = np.zeros(3, np.float32)
        tensors["nezha.encoder.layer.0.intermediate.dense.bias"] = np.zeros(47, np.float32)

    with pytest.raises(UserError) as raised:
        load(_copy("nezha_k8", tmp_path, damage))
    message = str(raised.value)
    assert "Missing: nezha.encoder.layer.1.output.dense.bias." in message
    assert "Unexpected: nezha.encoder.layer.0.adapter.weight." in message
    assert "nezha.encoder.layer.0.intermediate.dense.bias is (47,), expected (48,)" in message


def test_a_configuration_with_fewer_layers_finds_unexpected_tensors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unexpected: nezha\.encoder\.layer\.1\."):
        load(_copy("nezha_k8", tmp_path, num_hidden_layers=1))


def test_a_roberta_taken_for_a_bert_is_refused_since_its_positions_would_be_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model_type is bert, but the tensors are called roberta\.\.\."):
        open_folder(_copy("roberta", tmp_path, model_type="bert"))


def test_robertas_pooler_is_the_classifiers_or_the_encoders_own() -> None:
    base = open_folder(GOLDENS / "roberta_base_model")
    assert base.has("pooler")
    assert base.lacks("multiple_choice") == ["multiple_choice"]
    assert base.lacks("sequence_classification") == ["pooler", "sequence_classification"]
    assert not base.has("next_sentence")
    classifier = open_folder(GOLDENS / "tasks" / "roberta_sequence_classification")
    assert not classifier.has("pooler")
    assert classifier.lacks("sequence_classification") == []
    assert classifier.lacks("multiple_choice") == ["pooler", "multiple_choice"]


def test_long_lists_are_cut(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Missing: .* and \d+ more\."):
        load(_copy("nezha_k8", tmp_path, num_hidden_layers=4))


def test_a_decoder_that_is_not_tied_is_refused(tmp_path: Path) -> None:
    def untie(tensors: dict) -> None:
        tensors["cls.predictions.decoder.weight"] = tensors["cls.predictions.decoder.weight"] + 1

    with pytest.raises(UserError, match="only tied weights are supported"):
        load(_copy("nezha_old_release", tmp_path, untie), "masked_lm")


@pytest.mark.parametrize("left", [0, 7, 500, -100])
def test_a_cut_weights_file_is_named(tmp_path: Path, left: int) -> None:
    folder = _copy("nezha_k8", tmp_path)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:left])
    with pytest.raises(DamagedFileError, match=r"model\.safetensors: cannot be read as safetensors.*copy it again"):
        load(folder)


def test_half_precision_weights_are_read(tmp_path: Path) -> None:
    def halve(tensors: dict) -> None:
        for name, value in tensors.items():
            tensors[name] = value.astype(np.float16)

    model, _ = load(_copy("nezha_k8", tmp_path, halve))
    expected, _ = load(GOLDENS / "nezha_k8")
    for name, value in _values(model).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, _values(expected)[name].astype(np.float16).astype(np.float32))


def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = _copy("nezha_k8", tmp_path)
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("新\n")
    with pytest.raises(UserError, match=r"vocabulary has 96 entries, .*95"):
        load(folder)
    model, _ = load(GOLDENS / "nezha_k8")
    _, tokenizer = load(GOLDENS / "nezha_k8")
    shutil.rmtree(folder)
    tokenizer.save(folder := tmp_path / "tokenizer")
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("新\n")
    with pytest.raises(UserError, match="96 entries"):
        save(tmp_path / "ours", model, type(tokenizer).load(folder))
    assert not (tmp_path / "ours").exists()


def test_an_embedding_table_may_be_padded(tmp_path: Path) -> None:
    folder = padded_folder(tmp_path / "padded")
    model, tokenizer = load(folder, "masked_lm")
    assert (model.config.vocab_size, tokenizer.vocab_size) == (128, 95)
    save(tmp_path / "ours", model, tokenizer)
    again, other = load(tmp_path / "ours", "masked_lm")
    _assert_same(_values(model), _values(again))
    assert (again.config.vocab_size, other.vocab_size) == (128, 95)


def test_heads_of_other_tasks_are_passed_over_with_and_without_prefix(tmp_path: Path, caplog) -> None:
    for name in ("nezha_k8", "nezha_base_model"):

        def classify(tensors: dict) -> None:
            tensors["classifier.weight"] = np.zeros((3, 32), np.float32)

        folder = _copy(name, tmp_path / name, classify)
        caplog.clear()
        with caplog.at_level(logging.INFO, "ms_plm.models.folder"):
            load(folder)
        assert "not used: classifier" in caplog.text


@pytest.mark.parametrize("missing", ["config.json", WEIGHTS, "vocab.txt"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = _copy("nezha_k8", tmp_path)
    (folder / missing).unlink()
    with pytest.raises(UserError) as raised:
        load(folder)
    assert missing in str(raised.value)
    assert str(folder) in str(raised.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such model folder"):
        load(tmp_path / "nowhere")


def test_other_formats_are_pointed_out(tmp_path: Path) -> None:
    folder = _copy("nezha_k8", tmp_path)
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(
        UserError, match=r"There is pytorch_model\.bin: make a model folder of it with `ms-plm convert`"
    ):
        load(folder)


def test_a_full_disk_leaves_the_old_folder_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = load(GOLDENS / "nezha_k8", "pretraining")
    save(tmp_path / "ours", model, tokenizer)
    before = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}

    def full(tensors, path, metadata=None) -> None:
        """How safetensors reports it."""
        Path(path).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    for name in ("ours", "new"):
        with pytest.raises(UserError, match=rf"{name}: the disk is full"):
            save(tmp_path / name, model, tokenizer)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
