"""Multiple choice is read as the official files have it; invented rows."""

import json

import pytest

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, ChoiceExample, Split, read_split, write_predictions
from ms_plm.data.benchmarks.choices import GAP, OTHER_GAP


def jsonl(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def c3(answer="去", name="7-1", **more):
    question = {"question": "他去吗？", "choice": ["去", "不去"]} | ({"answer": answer} if answer else {}) | more
    return json.dumps([[["男：去吗？", "女：去。"], [question], name]], ensure_ascii=False)


def read(folder, name, split, files):
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")
    return read_split(TASKS[name], folder, split).examples


@pytest.mark.parametrize("prefix", ["", "c3-"])
def test_both_files_of_c3_belong_to_a_split(tmp_path, prefix):
    files = {f"{prefix}m-dev.json": c3(), f"{prefix}d-dev.json": c3("不去", "8-2")}
    first, second = read(tmp_path, "clue/c3", "dev", files)
    assert first == ChoiceExample("7-1-0", "男：去吗？\n女：去。", "他去吗？", ("去", "不去"), 0)
    assert (second.id, second.label) == ("8-2-0", 1)


def test_the_test_file_of_c3_numbers_its_questions_and_has_no_answers(tmp_path):
    (example,) = read(tmp_path, "clue/c3", "test", {"test1.1.json": c3(None, id=41)})
    assert (example.id, example.label) == ("41", None)
    path = write_predictions(TASKS["clue/c3"], Split("", "test", (), (example,), None), [1], tmp_path)
    assert (path.name, path.read_text()) == ("c311_predict.json", '{"id": 41, "label": 1}\n')


CHID = {"candidates": ["画蛇添足", "守株待兔"], "content": ["先#idiom01#后#idiom02#。", "再#idiom03#"]}


def test_each_gap_of_chid_is_an_example(tmp_path):
    answers = {"#idiom01#": 1, "#idiom02#": 0, "#idiom03#": 0}
    files = {"train.json": jsonl(CHID), "train_answer.json": json.dumps(answers)}
    found = read(tmp_path, "clue/chid", "train", files)
    choices = ("画蛇添足", "守株待兔")
    assert found == (
        ChoiceExample("#idiom01#", f"先{GAP}后{OTHER_GAP}。", None, choices, 1, group="0"),
        ChoiceExample("#idiom02#", f"先{OTHER_GAP}后{GAP}。", None, choices, 0, group="0"),
        ChoiceExample("#idiom03#", f"再{GAP}", None, choices, 0, group="0"),
    )


def test_predictions_for_chid_are_one_object(tmp_path):
    examples = read(tmp_path, "clue/chid", "test", {"test.json": jsonl(CHID)})
    path = write_predictions(TASKS["clue/chid"], Split("", "test", (), examples, None), [1, 0, 1], tmp_path)
    assert path.name == "chid11_predict.json"
    assert json.loads(path.read_text()) == {"#idiom01#": 1, "#idiom02#": 0, "#idiom03#": 1}


def test_fewclues_form_of_chid_has_its_answer_beside_the_text(tmp_path):
    record = {"id": 5, "candidates": ["画蛇添足", "守株待兔"], "content": "莫#idiom#。", "answer": 1}
    (example,) = read(tmp_path, "clue/chid", "dev", {"dev.json": jsonl(record)})
    assert example == ChoiceExample("5", f"莫{GAP}。", None, ("画蛇添足", "守株待兔"), 1)


def test_copa_asks_for_cause_or_effect(tmp_path):
    record = {"premise": "It fell.", "choice1": "Wind.", "choice2": "Rain.", "question": "cause", "label": 1, "idx": 3}
    (example,) = read(tmp_path, "superglue/copa", "dev", {"val.jsonl": jsonl(record)})
    assert example == ChoiceExample("3", "It fell.", "What was the cause of this?", ("Wind.", "Rain."), 1)


def test_entities_of_record_that_read_the_same_are_one_choice(tmp_path):
    text = "Ann met Bo. Ann left.\n@highlight\nBo stayed"
    spans = [(8, 9), (0, 2), (12, 14), (33, 34)]
    record = {
        "idx": 1,
        "passage": {"text": text, "entities": [{"start": first, "end": last} for first, last in spans]},
        "qas": [
            {"idx": 9, "query": "@placeholder stayed.", "answers": [{"start": 8, "end": 9, "text": "Bo"}] * 2},
        ],
    }
    (example,) = read(tmp_path, "superglue/record", "train", {"train.jsonl": jsonl(record)})
    assert example == ChoiceExample("9", text, "@placeholder stayed.", ("Ann", "Bo"), 1, ("Bo",))


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("clue/c3", {"m-dev.json": c3("也许"), "d-dev.json": c3()}, "m-dev.json, text 0: answer '也许' is none of the"),
        ("clue/c3", {"m-dev.json": "[[1]]", "d-dev.json": c3()}, "text 0: expected .texts, questions, id., found 1"),
        ("clue/c3", {"m-dev.json": c3(None), "d-dev.json": c3()}, "text 0: no label"),
        ("clue/c3", {"m-dev.json": c3()}, "no file of clue/c3's dev split. Expected m-dev.json and d-dev.json or"),
        ("clue/chid", {"dev.json": jsonl(CHID)}, "line 1: no answer for #idiom01#; expected .*dev_answer.json"),
        ("clue/chid", {"dev.json": jsonl(CHID | {"content": ["空"]})}, "line 1: no gap"),
        (
            "clue/chid",
            {"dev.json": jsonl({"candidates": ["甲", "乙"], "content": "#idiom#", "answer": 2})},
            "line 1: answer 2; expected 0 to 1",
        ),
        ("superglue/copa", {"val.jsonl": jsonl({"question": "why"})}, "line 1: question 'why'; expected cause or eff"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, files, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, name, "dev", files)
