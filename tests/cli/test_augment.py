"""`ms-plm augment`: a file of your own or of a benchmark becomes examples with variants; wrong arguments are named."""

import json

import pytest
import tiny_run
from task_models import tiny_model

from ms_plm.cli.main import main
from ms_plm.models.folder import save


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("augment") / "model"
    save(folder, tiny_model("masked_lm"), tiny_run.tokenizer())
    return str(folder)


@pytest.fixture
def pairs(tmp_path) -> str:
    path = tmp_path / "pairs.tsv"
    path.write_text('one\ttwo\tsame\nba "da" fe\tgi lo\tyes\nru su\tpibado po lo ku\tno\n', encoding="utf-8")
    return str(path)


def augmented(model, *arguments) -> int:
    return main(["augment", model, "--device", "cpu", *arguments])


def test_a_file_of_your_own_is_augmented_alike_each_time_and_a_preview_shows_the_same(model, pairs, tmp_path, capsys):
    output = tmp_path / "aug.jsonl"
    columns = ["--file", pairs, "--text", "one", "--pair", "two", "--label", "same", "--variants", "3"]
    assert augmented(model, *columns, "--output", str(output)) == 0
    told = capsys.readouterr().out
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert f"2 examples became {len(rows)} rows" in told
    assert "1 words of several pieces stay as they are: give --vectors FILE" in told
    first, second = ([row for row in rows if row["source"] == number] for number in (0, 1))
    assert first[0] == {"text": 'ba "da" fe', "pair": "gi lo", "label": "yes", "source": 0}
    assert {row["label"] for row in first} == {"yes"}
    assert {row["label"] for row in second} == {"no"}
    assert len(first) == len(second) == 7
    assert all(row["text"].split()[1][0] == row["text"].split()[1][-1] == '"' for row in first)
    assert augmented(model, *columns, "--preview", "2") == 0
    shown = capsys.readouterr().out
    for row in rows:
        assert row["text"] in shown
        assert row["pair"] in shown
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl"] == ["aug.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "say what to augment: --task NAME --folder DIR, or --file FILE"),
        (["--task", "glue/sst-2", "--output", "a.jsonl"], 2, "say what to augment"),
        (["--file", "a.tsv"], 2, "say where to: --output FILE.jsonl, or --preview K"),
        (["--file", "a.tsv", "--output", "a.tsv"], 2, "expected a name that ends in .jsonl"),
        (["--file", "a.jsonl", "--output", "./a.jsonl"], 2, "is the file that is augmented"),
        (["--task", "glue/sst-2", "--folder", "x", "--text", "a", "--preview", "1"], 2, "--text belongs to --file"),
        (["--file", "a.tsv", "--preview", "1", "--replace", "1.5"], 2, "--replace: expected 0 to 1, found 1.5"),
        (["--file", "a.tsv", "--preview", "0"], 2, "say where to"),
        (["--file", "a.tsv", "--preview", "1", "--variants", "0"], 2, "--variants: expected 1 to 1000, found 0"),
        (["--file", "a.tsv", "--preview", "1", "--together", "0"], 2, "--together: expected 1 to 512, found 0"),
        (["--file", "nowhere.tsv", "--preview", "1"], 1, "nowhere.tsv"),
        (["--task", "glue/sst", "--folder", "x", "--preview", "1"], 1, "Did you mean glue/sst-2?"),
        (["--task", "squad1", "--folder", "x", "--preview", "1"], 1, "--task squad1: squad1 is a task of question"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, code, message):
    assert augmented("nowhere", *arguments) == code
    assert message in capsys.readouterr().err


def test_a_folder_without_a_masked_lm_head_is_named(tmp_path, capsys, pairs):
    save(tmp_path / "encoder", tiny_model("encoder"), tiny_run.tokenizer())
    columns = ["--file", pairs, "--text", "one", "--label", "same"]
    assert augmented(str(tmp_path / "encoder"), *columns, "--preview", "1") == 1
    said = capsys.readouterr().err
    assert "encoder: has no masked_lm head" in said
    assert f"ms-plm run bert_small_masked_lm model.from={tmp_path / 'encoder'}" in said
    assert "data.nsp=false" in said
