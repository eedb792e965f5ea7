"""`ms-plm train-tokenizer` on the command line."""

from __future__ import annotations

import json

import pytest

from ms_plm.cli.main import main
from ms_plm.data.corpus import Corpus
from ms_plm.tokenization import Tokenizer


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "a.jsonl"
    texts = ["今天天气很好。", "The weather is nice today.\u0000"] * 5
    path.write_text("\n".join(json.dumps({"body": text}) for text in texts))
    return str(path)


def test_a_vocabulary_is_written_that_prepare_takes(tmp_path, text, capsys):
    out = str(tmp_path / "vocab")
    arguments = ["train-tokenizer", text, "--field", "body", "--vocab-size", "90", "--output", out]
    assert main(arguments) == 0
    tokenizer = Tokenizer.load(out)
    assert f"{tokenizer.vocab_size} entries" in capsys.readouterr().out
    assert "今" in tokenizer.vocabulary
    assert "the" in tokenizer.vocabulary
    corpus = str(tmp_path / "corpus")
    assert main(["prepare", text, "--field", "body", "--vocab", out, "--output", corpus]) == 0
    assert Corpus.open(corpus).manifest["report"]["unknown_tokens"] == 0


def test_the_same_text_gives_the_same_files(tmp_path, text):
    for name in ("first", "second"):
        arguments = ["train-tokenizer", text, "--field", "body", "--vocab-size", "80", "--no-lower-case"]
        assert main([*arguments, "--output", str(tmp_path / name)]) == 0
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    assert not Tokenizer.load(tmp_path / "first").lower_case


def test_a_vocabulary_is_not_replaced_by_accident(tmp_path, text, capsys):
    arguments = ["train-tokenizer", text, "--field", "body", "--output", str(tmp_path / "out"), "--vocab-size"]
    assert main([*arguments, "80"]) == 0
    assert main([*arguments, "40"]) == 1
    assert "there is a vocabulary already" in capsys.readouterr().err
    assert main([*arguments, "40", "--overwrite"]) == 0
    assert Tokenizer.load(tmp_path / "out").vocab_size == 40


def test_bad_input_is_named(tmp_path, text, capsys):
    assert main(["train-tokenizer", text, "--vocab-size", "80", "--output", str(tmp_path / "out")]) == 1
    assert "Say it with --field" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
