"""Weights, configuration and vocabulary are found in a folder or beside a file; doubt is an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from checkpoints import copy_of
from golden_files import GOLDENS

from ms_plm.common.errors import UserError
from ms_plm.convert.source import open_source


def test_a_file_is_opened_with_what_lies_beside_it(tmp_path: Path) -> None:
    folder = copy_of("nezha_torch", tmp_path)
    for path in (folder, folder / "weights.safetensors"):
        source = open_source(path)
        assert source.config_path == folder / "bert_config.json"
        assert source.vocabulary == folder
        assert source.path == folder / "weights.safetensors"


def test_a_configuration_may_have_any_name_that_is_the_only_one(tmp_path: Path) -> None:
    folder = copy_of("nezha_torch", tmp_path)
    (folder / "bert_config.json").rename(folder / "bert_base_rel_config_vocab_35.json")
    assert open_source(folder).config["num_attention_heads"] == 4
    shutil.copy(folder / "bert_base_rel_config_vocab_35.json", folder / "other_config.json")
    assert open_source(folder).config is None


def test_the_usual_name_wins_among_several(tmp_path: Path) -> None:
    folder = copy_of("bert", tmp_path)
    shutil.copy(folder / "model.safetensors", folder / "model.packed.safetensors")
    assert open_source(folder).path.name == "model.safetensors"
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(UserError, match="several checkpoints .model.packed.safetensors, other.safetensors.; name one"):
        open_source(folder)


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    folder = copy_of("bert", tmp_path)
    shutil.copy(GOLDENS / "convert" / "tinybert" / "pytorch_model.bin", folder)
    assert open_source(folder).format == "safetensors"


def test_a_sentence_transformers_folder_names_its_encoder(tmp_path: Path) -> None:
    outer = tmp_path / "sentences"
    outer.mkdir()
    copy_of("bert", tmp_path).rename(outer / "0_Transformer")
    modules = [
        {"idx": 0, "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (outer / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert open_source(outer).path == outer / "0_Transformer" / "model.safetensors"


def test_a_run_folder_means_its_result(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    copy_of("bert", tmp_path).rename(run / "model")
    assert open_source(run).path == run / "model" / "model.safetensors"


@pytest.mark.slow
def test_any_file_of_a_tensorflow_checkpoint_means_the_whole(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    folder = tmp_path / "tf"
    shutil.copytree(GOLDENS / "convert" / "nezha_tf", folder)
    for name in ("model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001", "."):
        source = open_source(folder / name)
        assert source.path == folder / "model.ckpt"
        assert {path.name for path in source.files} == {"model.ckpt.index", "model.ckpt.data-00000-of-00001"}


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing: no such file or folder"):
        open_source(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no checkpoint that can be converted"):
        open_source(tmp_path)


def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path) -> None:
    folder = copy_of("bert", tmp_path)
    (folder / "config.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="config.json: expected a JSON object, found list"):
        open_source(folder)
