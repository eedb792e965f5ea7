"""`ms-plm predict` and `evaluate` with models for tags, answers and choices; new weights, invented rows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import mindspore as ms
import pytest
from golden_files import GOLDENS

import ms_plm
from ms_plm.cli.main import main
from ms_plm.data.benchmarks import TASKS

HEADS = {
    "token_classification": ("cluener", TASKS["cluener"].labels),
    "question_answering": ("squad2", None),
    "multiple_choice": ("superglue/copa", None),
}
QUESTIONS = [("0", "a b", [("b c", 2)]), ("1", "c", []), ("2", "a", [("a", 0)])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model folder a head, made from one tiny model, and files of a task for each."""
    ms.set_device("CPU")
    ms.set_context(mode=0)
    folder = tmp_path_factory.mktemp("heads")
    for head, (task, labels) in HEADS.items():
        model, tokenizer = ms_plm.load(GOLDENS / "nezha_k8", head, new_head=True, labels=labels, seed=3)
        ms_plm.save(folder / head, model, tokenizer, {"task": task, "limits": {"max_length": 16, "max_question": 4}})
    rows = [{"text": "ab c", "label": {"name": {"ab": [[0, 1]]}}}, {"text": "cb", "label": {}}]
    write_lines(folder / "dev.json", rows)
    write_lines(folder / "test.json", [{"id": 7, "text": "abc"}])
    qas = [
        {
            "id": name,
            "question": asked,
            "is_impossible": not answers,
            "answers": [{"text": text, "answer_start": start} for text, start in answers],
        }
        for name, asked, answers in QUESTIONS
    ]
    content = {"version": "2.0", "data": [{"paragraphs": [{"context": "a b c", "qas": qas}]}]}
    (folder / "dev-v2.0.json").write_text(json.dumps(content), encoding="utf-8")
    copa = {"premise": "a", "choice1": "b", "choice2": "c c", "question": "effect"}
    write_lines(folder / "val.jsonl", [copa | {"idx": number, "label": number % 2} for number in range(4)])
    write_lines(folder / "test.jsonl", [copa | {"idx": 9}])
    return folder


def write_lines(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def predict(folder: Path, head: str, *arguments: str) -> int:
    return main(["predict", str(folder / head), *arguments, "--device", "cpu"])


def evaluate(folder: Path, head: str, *arguments: str) -> int:
    return main(["evaluate", str(folder / head), str(folder), *arguments, "--device", "cpu"])


def test_words_of_lines_from_a_file_are_tagged(folder, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("\ufeffa b.\r\nc\n\n", encoding="utf-8")
    assert predict(folder, "token_classification", "--input", str(tmp_path / "in.txt"), "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(item["text"], item["words"]) for item in found] == [("a b.", ["a", " ", "b", "."]), ("c", ["c"])]
    assert all(tag in HEADS["token_classification"][1] for item in found for tag in item["tags"])


def test_lines_of_standard_input_are_questions_with_texts(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a\tb c\nc\ta b c a b\n"))
    assert predict(folder, "question_answering", "--json", "--top-k", "2") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(item["question"], item["text"]) for item in found] == [("a", "b c"), ("c", "a b c a b")]
    for item in found:
        assert item["answer"] == item["candidates"][0]["text"]
        assert len(item["candidates"]) == 2
        assert all(item["text"][one["start"] : one["stop"]] == one["text"] for one in item["candidates"])


def test_a_choice_stands_before_what_was_asked(folder, capsys):
    assert predict(folder, "multiple_choice", "a\tb\ta\tc", "a\t\ta\tb\tc") == 0
    first, second = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    assert (first[1], second[1]) == ("b", "a")
    assert first[0].split()[0] in {"a", "c"}
    assert 1 >= float(first[0].split()[1]) >= 0.5


@pytest.mark.parametrize(
    ("head", "text", "message"),
    [
        ("question_answering", "a", "text 2: expected a question, a tab and a text that may hold the answer; found 1"),
        ("question_answering", "0\ta\tb", "found 3 parts in '0 | a | b'"),
        ("multiple_choice", "a\tb\tc", "text 2: expected a text, a question (may be empty) and two choices at least"),
    ],
)
def test_a_text_with_other_parts_is_named(folder, capsys, head, text, message):
    right = {"question_answering": "a\tb", "multiple_choice": "a\tb\tc\ta"}[head]
    assert predict(folder, head, right, text) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head", "examples", "figures"),
    [
        ("token_classification", 2, {"loss", *TASKS["cluener"].metrics}),
        ("question_answering", 3, {"loss", *TASKS["squad2"].metrics, "no_answer_threshold"}),
        ("multiple_choice", 4, {"loss", "accuracy"}),
    ],
)
def test_the_whole_dev_set_is_scored(folder, tmp_path, capsys, head, examples, figures):
    assert evaluate(folder, head, "--json", str(tmp_path / "f.json")) == 0
    assert f"dev: {examples} examples" in capsys.readouterr().out
    found = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["figures"]["dev"]
    assert set(found) == figures
    if head == "question_answering":  # with the best threshold at least as good as to give no answer, or always one
        assert found["squad_f1"] >= 1 / 3


@pytest.mark.parametrize(
    ("head", "split", "name", "first"),
    [
        ("token_classification", "test", "cluener_predict.json", {"id": 7}),
        ("multiple_choice", "test", "COPA.jsonl", {"idx": 9}),
    ],
)
def test_predictions_for_the_server_are_written(folder, tmp_path, head, split, name, first):
    assert evaluate(folder, head, "--split", split, "--predictions", str(tmp_path)) == 0
    written = json.loads((tmp_path / name).read_text(encoding="utf-8").splitlines()[0])
    assert first.items() <= written.items()
    assert set(written) == {*first, "label"}


def test_a_task_for_another_head_is_refused(folder, capsys):
    assert evaluate(folder, "multiple_choice", "--task", "squad2") == 1
    assert "squad2 is a task of question answering" in capsys.readouterr().err
    assert main(["predict", str(GOLDENS), "a"]) == 1
    assert "not a model folder" in capsys.readouterr().err
