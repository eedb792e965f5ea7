"""Checkpoints of every kind become model folders that compute what the originals computed, and come back unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import CONVERT, NAMES, NEED_A_LIBRARY, copy_of, outputs_of
from golden_files import GOLDENS
from mindspore import Tensor
from oracle import oracle
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.common.files import sha256_file
from ms_plm.convert import Choices, convert
from ms_plm.convert.containers import MINDSPORE, read_weights
from ms_plm.models.folder import load, open_folder
from ms_plm.models.heads import Projection

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
OUTPUTS = ("last_hidden_state", "pooler_output", "prediction_logits", "seq_relationship_logits")
HEADS = {"nezha_tf": "pretraining", "nezha_torch": "pretraining", "tinybert": "pretraining"}
HEADS |= {"dynaroberta": "sequence_classification"}
HEADS |= {"bert_mindspore": "pretraining", "dynabert": "encoder", "tinybert_mindspore": "encoder"}


def _config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _by_the_oracle(folder: Path, name: str) -> dict[str, np.ndarray]:
    return oracle(_config(folder), load_file(folder / "model.safetensors"), outputs_of(name))


def _by_the_model(folder: Path, name: str) -> dict[str, np.ndarray]:
    model, _ = load(folder, HEADS[name])
    out = model(*(Tensor(outputs_of(name)[key]) for key in INPUTS))
    found = {key: getattr(out, key).asnumpy() for key in OUTPUTS if getattr(out, key) is not None}
    return {**found, "logits": out.task_logits.asnumpy()} if name == "dynaroberta" else found


def _assert_as_the_original(found: dict[str, np.ndarray], folder: Path, name: str) -> None:
    expected = outputs_of(name)
    mask = expected["attention_mask"] == 1
    if "logits" in expected and "logits" not in found:  # DynaBERT's classifier
        weights = load_file(folder / "model.safetensors")
        found["logits"] = found["pooler_output"] @ weights["classifier.weight"].T + weights["classifier.bias"]
    compared = [key for key in (*OUTPUTS, "logits") if key in expected]
    assert len(compared) >= 2
    for key in compared:
        one, other = (value[mask] if value.ndim == 3 else value for value in (found[key], expected[key]))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_the_result_computes_what_the_original_computed(name: str, tmp_path: Path) -> None:
    report = convert(copy_of(name, tmp_path), tmp_path / "ours")
    assert report.largest_difference == 0
    assert report.unexpected == []
    _assert_as_the_original(_by_the_oracle(tmp_path / "ours", name), tmp_path / "ours", name)


@pytest.mark.parametrize(
    "name", ["nezha_tf", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "nezha_tf")]
)
def test_our_model_computes_what_the_original_computed(name: str, tmp_path: Path) -> None:
    convert(copy_of(name, tmp_path), tmp_path / "ours")
    _assert_as_the_original(_by_the_model(tmp_path / "ours", name), tmp_path / "ours", name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "library"), NEED_A_LIBRARY.items())
def test_the_real_files_hold_the_same(name: str, library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    report = convert(CONVERT / name, tmp_path / "real")
    convert(copy_of(name, tmp_path), tmp_path / "arrays")
    assert report.format == {"torch": "PyTorch", "tensorflow": "TensorFlow"}[library]
    one, other = (load_file(tmp_path / folder / "model.safetensors") for folder in ("real", "arrays"))
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value.tobytes() == other[key].tobytes(), key


@pytest.mark.parametrize(
    "name",
    [
        "nezha_k8",
        "bert",
        "nezha_base_model",
        "bert_base_model",
        "bert_gelu_new",
        "nezha_old_release",
        "bert_gamma_beta",
        "roberta",
        "roberta_base_model",
        "tasks/roberta_sequence_classification",
        "tasks/roberta_multiple_choice",
    ],
)
def test_there_and_back_is_bit_equal(name: str, tmp_path: Path) -> None:
    source = GOLDENS / name
    convert(source, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs", huggingface=True)
    convert(tmp_path / "theirs", tmp_path / "again")
    same_names = {"nezha_old_release": "nezha_k8", "bert_gamma_beta": None}.get(name, name)
    before = load_file((GOLDENS / same_names if same_names else tmp_path / "ours") / "model.safetensors")
    for folder in ("ours", "theirs", "again"):
        after = load_file(tmp_path / folder / "model.safetensors")
        assert after.keys() == before.keys()
        for key, value in before.items():
            assert value.tobytes() == after[key].tobytes(), key
    one, other = (_config(tmp_path / folder) for folder in ("ours", "again"))
    assert {**one, "provenance": None} == {**other, "provenance": None}


def test_a_sub_network_goes_to_transformers_and_back(tmp_path: Path) -> None:
    def prune(tensors: dict) -> None:
        for name, value in tensors.items():
            if ".layer.1.attention.self." in name:
                tensors[name] = value[:16]
            elif name.endswith(".layer.1.attention.output.dense.weight"):
                tensors[name] = value[:, :16]

    source = copy_of("nezha_k8", tmp_path, prune, head_size=8, layer_heads=[4, 2])
    convert(source, tmp_path / "theirs", huggingface=True)
    assert _config(tmp_path / "theirs")["pruned_heads"] == {"1": [2, 3]}
    convert(tmp_path / "theirs", tmp_path / "again")
    assert _config(tmp_path / "again")["layer_heads"] == [4, 2]
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "again"))
    assert {name: value.tobytes() for name, value in before.items()} == {n: v.tobytes() for n, v in after.items()}


def test_a_folder_for_transformers_has_its_keys_alone(tmp_path: Path) -> None:
    convert(GOLDENS / "nezha_k8", tmp_path / "theirs", huggingface=True)
    config = _config(tmp_path / "theirs")
    assert config["model_type"] == "nezha"
    assert config["architectures"] == ["NezhaForPreTraining"]
    assert config["use_relative_position"] is True
    assert config["max_relative_position"] == 8
    assert not {"provenance", "position_embedding_type", "quantization", "head_size"} & config.keys()
    tokenizer = json.loads((tmp_path / "theirs" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert tokenizer["model_max_length"] == 704
    with safe_open(tmp_path / "theirs" / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_provenance_names_the_source(tmp_path: Path) -> None:
    source = copy_of("tinybert", tmp_path)
    report = convert(source, tmp_path / "ours")
    made = _config(tmp_path / "ours")["provenance"]["converted_from"]
    assert made["files"] == {"weights.safetensors": sha256_file(source / "weights.safetensors")}
    assert made["format"] == "safetensors"
    assert report.files == made["files"]
    convert(tmp_path / "ours", tmp_path / "twice")
    assert _config(tmp_path / "twice")["provenance"]["parent"]["converted_from"] == made


def test_shards_are_read_together_and_all_hashed(tmp_path: Path) -> None:
    source = copy_of("nezha_k8", tmp_path)
    tensors = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number in (0, 1):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names[number::2]}, source / file)
        places |= dict.fromkeys(names[number::2], file)
    index = source / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    report = convert(source, tmp_path / "ours")
    assert set(report.files) == {index.name, *places.values()}
    for name, value in load_file(tmp_path / "ours" / "model.safetensors").items():
        assert value.tobytes() == tensors[name].tobytes()
    (source / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="index.json: names model-00002-of-00002.safetensors, which is not beside it"):
        convert(source, tmp_path / "other")


@pytest.mark.slow
def test_shards_of_pytorch_are_read_together(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    source = copy_of("bert", tmp_path)
    tensors = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    places = {name: f"pytorch_model-0000{number % 2 + 1}-of-00002.bin" for number, name in enumerate(tensors)}
    for file in set(places.values()):
        torch.save({n: torch.from_numpy(tensors[n]) for n, place in places.items() if place == file}, source / file)
    torch.save({"learning_rate": 1e-4}, source / "training_args.bin")
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    assert convert(source, tmp_path / "ours").format == "PyTorch"
    for name, value in load_file(tmp_path / "ours" / "model.safetensors").items():
        assert value.tobytes() == tensors[name].tobytes()


def test_a_model_zoo_checkpoint_may_be_safetensors(tmp_path: Path) -> None:
    source = copy_of("bert_mindspore", tmp_path)
    path = source / "bert_mindspore.ckpt"
    save_file(dict(read_weights(path, MINDSPORE).tensors), source / "zoo.safetensors")
    path.unlink()
    report = convert(source, tmp_path / "ours")
    assert (report.format, report.names) == ("safetensors", "MindSpore model zoo")
    _assert_as_the_original(_by_the_oracle(tmp_path / "ours", "bert_mindspore"), tmp_path / "ours", "bert_mindspore")


def test_half_precision_becomes_float32_exactly(tmp_path: Path) -> None:
    def halve(tensors: dict) -> None:
        for name, value in tensors.items():
            tensors[name] = value.astype(np.float16)

    report = convert(copy_of("bert", tmp_path, halve), tmp_path / "ours")
    assert report.largest_difference == 0
    assert {value.dtype for value in load_file(tmp_path / "ours" / "model.safetensors").values()} == {np.dtype("f4")}


def test_float64_is_rounded_and_the_difference_is_told(tmp_path: Path) -> None:
    def widen(tensors: dict) -> None:
        for name, value in tensors.items():
            tensors[name] = value.astype(np.float64) + 1e-9

    report = convert(copy_of("bert_base_model", tmp_path, widen), tmp_path / "ours")
    assert 0 < report.largest_difference < 1e-6
    assert f"largest difference {report.largest_difference:.3g}" in report.describe()


def test_projections_of_both_versions_are_kept_here_and_left_out_for_transformers(tmp_path: Path) -> None:
    def second_version(tensors: dict) -> None:
        for leaf in ("weight", "bias"):
            value = tensors.pop(f"fit_dense.{leaf}")
            tensors |= {f"fit_denses.{number}.{leaf}": value for number in range(3)}

    for version, change in (("one", None), ("two", second_version)):
        source = copy_of("tinybert", tmp_path / version, change)
        convert(source, tmp_path / version / "ours")
        report = convert(source, tmp_path / version / "theirs", huggingface=True)
        ours, theirs = (load_file(tmp_path / version / name / "model.safetensors") for name in ("ours", "theirs"))
        assert len([name for name in ours if name.startswith("fit_dense")]) == (2 if change is None else 6)
        assert not [name for name in theirs if name.startswith("fit_dense")]
        assert {row.reason for row in report.rows if row.source.startswith("fit_dense")} == {
            "of distillation; transformers has no place for it"
        }
        load(tmp_path / version / "ours", "pretraining")
        part = {"one": "projection", "two": "projections"}[version]
        opened = open_folder(tmp_path / version / "ours")
        assert opened.projection == Projection(part, 32)
        student = opened.build("encoder", projection=opened.projection)
        kept = getattr(student, part) if version == "one" else getattr(student, part)[2]
        np.testing.assert_array_equal(kept.weight.asnumpy(), ours[[n for n in ours if n.startswith("fit_dense")][-1]])


def test_a_dry_run_reports_and_writes_nothing(tmp_path: Path) -> None:
    source = copy_of("nezha_tf", tmp_path)
    report = convert(source, None)
    assert len(report.rows) == 48
    assert report.largest_difference is None
    assert "dry run" in report.describe()
    assert [path.name for path in tmp_path.iterdir()] == ["nezha_tf"]


def test_a_model_folder_that_is_there_is_kept_unless_told(tmp_path: Path) -> None:
    source = copy_of("bert", tmp_path)
    (tmp_path / "ours").mkdir()
    convert(source, tmp_path / "ours")
    (tmp_path / "ours" / "precious").write_text("x")
    with pytest.raises(UserError, match="ours: is there already.*--overwrite"):
        convert(source, tmp_path / "ours")
    assert (tmp_path / "ours" / "precious").is_file()
    convert(source, tmp_path / "ours", overwrite=True)
    assert not (tmp_path / "ours" / "precious").exists()


def test_what_is_no_model_folder_is_never_replaced(tmp_path: Path) -> None:
    source, kept = copy_of("bert", tmp_path), tmp_path / "work" / "precious"
    kept.parent.mkdir()
    kept.write_text("x")
    for target in (kept.parent, kept):
        with pytest.raises(UserError, match=f"{target.name}: what is there is no model folder .no config.json"):
            convert(source, target, overwrite=True)
    assert kept.read_text() == "x"


def test_a_target_that_holds_what_is_read_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "models" / "run"
    source = copy_of("bert", run).rename(run / "model")
    before = sorted(tmp_path.rglob("*"))
    for given in (run, source, source / "model.safetensors"):
        for target in (source, run, run.parent):
            with pytest.raises(UserError, match=f"{target.name}: is the source itself, or holds it"):
                convert(given, target, overwrite=True)
    target = copy_of("nezha_k8", tmp_path)
    for name, key in (("vocab.txt", "vocabulary"), ("config.json", "configuration")):
        option = {"vocabulary" if key == "vocabulary" else "config": target / name}
        with pytest.raises(UserError, match=f"nezha_k8: is the {key} itself, or holds it"):
            convert(source, target, overwrite=True, **option)
    assert sorted(path for path in tmp_path.rglob("*") if target not in (path, *path.parents)) == before


def test_a_link_to_the_source_in_the_target_is_kept(tmp_path: Path) -> None:
    """So lies what the Hugging Face hub downloads."""
    folder = copy_of("bert", tmp_path)
    weights = (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(weights)
    with pytest.raises(UserError, match="bert: is the source itself, or holds it"):
        convert(folder, folder, overwrite=True)


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = copy_of("bert", tmp_path)

    def fail(*arguments) -> None:
        raise DamagedFileError("cannot be read back")

    monkeypatch.setattr("ms_plm.convert.conversion._read_back", fail)
    with pytest.raises(DamagedFileError, match="cannot be read back"):
        convert(source, tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


def test_what_is_not_a_number_is_told(tmp_path: Path) -> None:
    def spoil(tensors: dict) -> None:
        tensors["bert.pooler.dense.bias"][3] = np.nan

    report = convert(copy_of("bert", tmp_path, spoil), tmp_path / "ours")
    assert report.largest_difference == 0
    assert any(note.startswith("WRONG: nan") and "bert.pooler.dense.bias" in note for note in report.notes)


def test_a_vocabulary_may_come_from_elsewhere(tmp_path: Path) -> None:
    source = copy_of("bert", tmp_path)
    vocabulary = (source / "vocab.txt").rename(tmp_path / "words.txt")
    with pytest.raises(UserError, match="no vocab.txt, vocab.json, tokenizer.json stands beside it.*--vocab"):
        convert(source, tmp_path / "ours")
    convert(source, tmp_path / "ours", vocabulary=vocabulary, lower_case=False)
    _, tokenizer = load(tmp_path / "ours")
    assert tokenizer.vocab_size == 95
    assert not tokenizer.lower_case
    vocabulary.write_text(vocabulary.read_text(encoding="utf-8") + "新\n", encoding="utf-8")
    with pytest.raises(UserError, match="the vocabulary has 96 entries, but vocab_size is 95"):
        convert(source, tmp_path / "other", vocabulary=vocabulary)


def test_a_bare_checkpoint_needs_the_number_of_heads_alone(tmp_path: Path) -> None:
    source = copy_of("bert_mindspore", tmp_path)
    (source / "config.json").unlink()
    with pytest.raises(UserError, match=r"num_attention_heads is not said anywhere.*\[16, 16\].*--config"):
        convert(source / "bert_mindspore.ckpt", tmp_path / "ours")
    told = tmp_path / "told.json"
    told.write_text('{"num_attention_heads": 4}')
    convert(source / "bert_mindspore.ckpt", tmp_path / "ours", config=told)
    _assert_as_the_original(_by_the_oracle(tmp_path / "ours", "bert_mindspore"), tmp_path / "ours", "bert_mindspore")


def test_the_activation_can_be_chosen(tmp_path: Path) -> None:
    report = convert(copy_of("nezha_tf", tmp_path), tmp_path / "ours", choices=Choices(hidden_act="gelu"))
    assert _config(tmp_path / "ours")["hidden_act"] == "gelu"
    assert not any("tanh" in note for note in report.notes)
