"""`ms-plm prepare` on the command line."""

from __future__ import annotations

import pytest

from ms_plm.cli.main import main
from ms_plm.data.corpus import Corpus
from ms_plm.tokenization import Tokenizer

ENTRIES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"我们在北京大学习。", "a", "A", "##b"]


@pytest.fixture
def vocabulary(tmp_path):
    Tokenizer(ENTRIES).save(tmp_path / "vocab")
    return str(tmp_path / "vocab")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text" / "a.txt"
    path.parent.mkdir()
    path.write_text("\n\n".join(f"我们在北京{'大' * number}学。" for number in (1, 2, 3, 2)) + "\n", encoding="utf-8")
    return str(path)


def test_a_folder_becomes_a_corpus_and_the_counts_are_printed(tmp_path, vocabulary, text, capsys):
    out = str(tmp_path / "out")
    assert main(["prepare", str(tmp_path / "text"), "--vocab", vocabulary, "--dedup", "--output", out]) == 0
    printed = capsys.readouterr().out
    assert Corpus.open(out, verify=True).counts("duplicate").documents == 1
    assert "train                    3             3              27" in printed
    assert "duplicate                1             1               9" in printed
    assert "unknown tokens: 0 (0.000%)" in printed
    assert f"Next: ms-plm inspect {out}" in printed


def test_parts_are_joined(tmp_path, vocabulary, text, capsys):
    for part in ("0", "1"):
        arguments = ["prepare", text, "--vocab", vocabulary, "--shard", f"{part}/2", "--output", str(tmp_path / part)]
        assert main(arguments) == 0
        assert f"part {part}/2 is done" in capsys.readouterr().out
    joined = str(tmp_path / "joined")
    assert main(["prepare", "--join", str(tmp_path / "0"), str(tmp_path / "1"), "--output", joined]) == 0
    assert Corpus.open(joined).counts("train").documents == 4


def test_lower_casing_is_a_choice(tmp_path, vocabulary):
    path = tmp_path / "b.txt"
    path.write_text("A\n")
    for option, entry in (("--lower-case", "a"), ("--no-lower-case", "A")):
        out = tmp_path / option
        assert main(["prepare", str(path), "--vocab", vocabulary, option, "--output", str(out)]) == 0
        corpus = Corpus.open(out)
        assert corpus.tokenizer().tokens(corpus.shards[0].tokens) == [entry]


def test_bad_records_are_shown(tmp_path, vocabulary, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "我们"}\n{\n', encoding="utf-8")
    arguments = ["prepare", str(path), "--vocab", vocabulary, "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "a.jsonl, line 2: broken JSON" in capsys.readouterr().err
    assert main([*arguments, "--skip-bad"]) == 0
    printed = capsys.readouterr().out
    assert "skipped: 1 bad records" in printed
    assert "line 2" in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--shard", "2/2"], "--shard 2/2: expected i/n"),
        (["--shard", "x"], "--shard x: expected i/n"),
        (["--holdout", "1"], "--holdout: expected a share"),
        (["--columns", "a,,b"], "--columns a,,b: expected names"),
        (["--join"], "leave out --vocab"),
    ],
)
def test_wrong_arguments_are_refused_with_exit_code_2(tmp_path, vocabulary, text, capsys, arguments, expected):
    command = ["prepare", text, "--vocab", vocabulary, "--output", str(tmp_path / "out"), *arguments]
    assert main(command) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_is_needed(tmp_path, text, capsys):
    assert main(["prepare", text, "--output", str(tmp_path / "out")]) == 2
    assert "--vocab: say which" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["text", "vocabulary"])
def test_missing_files_are_named(tmp_path, vocabulary, text, capsys, missing):
    paths = {"text": text, "vocabulary": vocabulary, missing: str(tmp_path / "nowhere")}
    command = ["prepare", paths["text"], "--vocab", paths["vocabulary"], "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "nowhere: no such" in capsys.readouterr().err
