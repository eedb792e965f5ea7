"""`ms-plm convert`: arguments, what is printed, the report file; tests/convert holds the conversions themselves."""

import json

import pytest
from checkpoints import CONVERT, copy_of
from safetensors.numpy import load_file, save_file

from ms_plm.cli.main import main


def test_a_checkpoint_becomes_a_folder_that_the_other_verbs_take(tmp_path, capsys):
    source, target = copy_of("nezha_tf", tmp_path), tmp_path / "ours"
    assert main(["convert", str(source), str(target), "--report", str(tmp_path / "report.json")]) == 0
    printed = capsys.readouterr().out
    assert "read back: 45 tensors, largest difference 0 (bit for bit)" in printed
    assert "note: hidden_act: gelu means the tanh form" in printed
    assert printed.endswith(f"wrote {target}; next: ms-plm inspect {target}\n")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["largest_difference"] == 0
    assert report["target"] == str(target)
    assert len(report["rows"]) == 48
    assert main(["inspect", str(target)]) == 0
    assert "converted_from" in capsys.readouterr().out


def test_a_dry_run_needs_no_target(tmp_path, capsys):
    assert main(["convert", str(copy_of("tinybert", tmp_path)), "--dry-run"]) == 0
    assert "dry run: nothing was written" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["tinybert"]


def test_without_a_target_it_is_a_usage_error(tmp_path, capsys):
    assert main(["convert", str(tmp_path)]) == 2
    assert "DST: the folder to write is missing" in capsys.readouterr().err


def test_a_report_is_written_on_failure_too(tmp_path, capsys):
    source, report = copy_of("bert", tmp_path, num_hidden_layers=1), tmp_path / "report.json"
    weights = load_file(source / "model.safetensors")
    save_file({name: value for name, value in weights.items() if ".layer.0." not in name}, source / "model.safetensors")
    assert main(["convert", str(source), str(tmp_path / "ours"), "--report", str(report)]) == 1
    found = json.loads(report.read_text(encoding="utf-8"))
    assert (len(found["missing"]), len(found["unexpected"]), found["target"]) == (16, 16, None)
    assert len(found["rows"]) == len(weights) - 16
    assert found["error"] in capsys.readouterr().err
    (source / "model.safetensors").write_bytes(b"")
    assert main(["convert", str(source), "--dry-run", "--report", str(report)]) == 1
    found = json.loads(report.read_text(encoding="utf-8"))
    assert (found["source"], found["rows"]) == (str(source), [])
    assert "is empty; copy it again" in found["error"]


def test_a_report_does_not_lie_in_the_folder_that_is_written(tmp_path, capsys):
    target = tmp_path / "ours"
    assert main(["convert", str(CONVERT / "nezha_tf"), str(target), "--report", str(target / "report.json")]) == 2
    assert "--report: lies in DST" in capsys.readouterr().err
    assert not target.exists()


def test_options_reach_the_conversion(tmp_path, capsys):
    source = copy_of("bert_mindspore", tmp_path)
    (source / "vocab.txt").rename(tmp_path / "words.txt")
    (source / "config.json").rename(tmp_path / "sizes.json")
    command = ["convert", str(source / "bert_mindspore.ckpt"), str(tmp_path / "ours"), "--family", "bert"]
    command += ["--vocab", str(tmp_path / "words.txt"), "--config", str(tmp_path / "sizes.json")]
    command += ["--hidden-act", "gelu", "--no-lower-case", "--to", "huggingface"]
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("transformers reads it\n")
    config = json.loads((tmp_path / "ours" / "config.json").read_text(encoding="utf-8"))
    assert config["hidden_act"] == "gelu"
    assert "provenance" not in config
    tokenizer = json.loads((tmp_path / "ours" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert tokenizer["do_lower_case"] is False
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert main([*command, "--overwrite", "--head", "token_classification"]) == 1
    assert "--head token_classification: no classifier" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tinybert", "nezha_tf"])
def test_a_missing_extra_is_one_readable_paragraph(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    assert main(["convert", str(CONVERT / name), str(tmp_path / "ours")]) == 1
    error = capsys.readouterr().err
    assert "pip install 'ms-plm[" in error
    assert "Traceback" not in error
    assert not (tmp_path / "ours").exists()
