"""`ms-plm predict`."""

import io
import json
import logging
import shutil

import numpy as np
import pytest
from golden_files import GOLDENS

import ms_plm
from ms_plm.cli.main import main

NEZHA = str(GOLDENS / "nezha_k8")


def test_candidates_of_every_mask_stand_below_the_text(capsys):
    assert main(["predict", NEZHA, "a [MASK] b [MASK].", "[MASK]", "--top-k", "2", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] if line.startswith(" ") else line for line in lines] == [
        "a [MASK] b [MASK].",
        "[MASK] 1:",
        "[MASK] 2:",
        "[MASK]",
        "[MASK]:",
    ]
    first = lines[1].split()[2:]
    assert len(first) == 4
    assert 1 >= float(first[1]) >= float(first[3]) > 0


def test_lines_of_standard_input_become_json_objects(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a [MASK]\n[MASK] b\n\n"))
    assert main(["predict", NEZHA, "--json", "--top-k", "1", "--device", "cpu"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["text"] for item in objects] == ["a [MASK]", "[MASK] b"]
    for item in objects:
        (mask,) = item["masks"]
        (candidate,) = mask["candidates"]
        assert item["filled"] == item["text"].replace("[MASK]", candidate["token"].removeprefix("##"))


def test_a_run_folder_stands_for_its_model_and_the_log_stays_as_it_was(tmp_path, capsys):
    shutil.copytree(GOLDENS / "nezha_k8", tmp_path / "run" / "model")
    before = logging.getLogger("ms_plm.kernels").level
    assert main(["predict", str(tmp_path / "run"), "[MASK]", "--device", "cpu"]) == 0
    assert logging.getLogger("ms_plm.kernels").level == before
    assert "[MASK]" in capsys.readouterr().out


def test_a_run_without_a_result_is_told_from_other_folders(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("kind: pretrain\n", encoding="utf-8")
    assert main(["predict", str(tmp_path), "[MASK]"]) == 1
    assert "this run has no result yet" in capsys.readouterr().err
    (tmp_path / "recipe.yaml").unlink()
    assert main(["predict", str(tmp_path), "[MASK]"]) == 1
    assert "not a model folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no mask here", "--device", "cpu"], 1, "text 1: expected [MASK] at least once"),
        (["[MASK]", "--top-k", "0"], 2, "--top-k: expected at least 1, found 0"),
        (["[MASK]", "--length", "3"], 2, "--length: expected at least 8, found 3"),
        (["[MASK]", "--input", "texts.txt"], 2, "as arguments or in --input, not both"),
        (["--input", "nowhere.txt"], 1, "nowhere.txt: no such file"),
        ([], 2, "no text"),
        ([" ", "[MASK]"], 1, "text 1 is blank"),
    ],
)
def test_wrong_arguments_are_named(capsys, monkeypatch, arguments, code, message):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["predict", NEZHA, *arguments]) == code
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A folder with a new classifier for three classes."""
    model, tokenizer = ms_plm.load(NEZHA, "sequence_classification", new_head=True, labels=["bad", "fair", "good"])
    folder = tmp_path_factory.mktemp("classifier") / "model"
    ms_plm.save(folder, model, tokenizer)
    return folder, model, tokenizer


def test_texts_get_a_class_with_the_probabilities_of_all(classifier, capsys):
    folder, model, tokenizer = classifier
    texts = ["a b c", "c", "b a b a b a"]
    assert main(["predict", str(folder), *texts, "--json", "--device", "cpu"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    batch = tokenizer(texts)
    logits = model(batch.input_ids, batch.token_type_ids, batch.attention_mask).logits.asnumpy().astype(np.float64)
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for item, text, row in zip(found, texts, wanted, strict=True):
        assert (item["text"], item["pair"]) == (text, None)
        assert list(item["probabilities"]) == ["bad", "fair", "good"]
        np.testing.assert_allclose(list(item["probabilities"].values()), row, rtol=1e-4)
        assert item["label"] == ("bad", "fair", "good")[row.argmax()]


def test_pairs_come_from_a_file_and_answers_go_into_one(classifier, tmp_path, capsys):
    folder, _, _ = classifier
    (tmp_path / "pairs.tsv").write_text("a\tb c\nb\t a\n", encoding="utf-8")
    arguments = ["--input", str(tmp_path / "pairs.tsv"), "--output", str(tmp_path / "out.jsonl"), "--device", "cpu"]
    assert main(["predict", str(folder), *arguments]) == 0
    assert "2 predictions are in" in capsys.readouterr().out
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(item["text"], item["pair"]) for item in found] == [("a", "b c"), ("b", " a")]


def test_a_file_of_objects_has_the_keys_that_the_output_has(classifier, tmp_path, capsys):
    folder, _, _ = classifier
    given = [{"id": 7, "text": "a\tb\nc", "pair": "b"}, {"text": "c", "pair": "a"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in given), encoding="utf-8")
    assert main(["predict", str(folder), "--input", str(path), "--json", "--device", "cpu"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(item["text"], item["pair"]) for item in found] == [("a\tb\nc", "b"), ("c", "a")]
    path.write_text('{"sentence": "a"}\n', encoding="utf-8")
    assert main(["predict", str(folder), "--input", str(path), "--device", "cpu"]) == 1
    assert "pairs.jsonl, line 1" in (said := capsys.readouterr().err)
    assert "text" in said


def test_a_blank_line_amid_others_is_refused_and_those_at_the_end_are_nothing(classifier, tmp_path, capsys):
    folder, _, _ = classifier
    path = tmp_path / "texts.txt"
    path.write_text("a\n\nb\n", encoding="utf-8")
    assert main(["predict", str(folder), "--input", str(path), "--device", "cpu"]) == 1
    assert "text 2 is blank" in capsys.readouterr().err
    path.write_text("a\nb\n\n\n", encoding="utf-8")
    assert main(["predict", str(folder), "--input", str(path), "--device", "cpu"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_texts_with_and_without_a_second_one_are_not_mixed(classifier, capsys):
    assert main(["predict", str(classifier[0]), "a\tb", "a", "--device", "cpu"]) == 1
    assert "a task has one kind" in capsys.readouterr().err
