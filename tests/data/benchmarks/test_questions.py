"""Questions with answers in a text are read as SQuAD and CMRC 2018 have them; invented texts."""

import json

import pytest

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, QuestionExample, Split, own_questions, read_split, write_predictions

CONTEXT = '小明在"北京"上学。'


def squad(*questions, context=CONTEXT):
    return json.dumps(
        {"version": "x", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": [*questions]}]}]}
    )


def question(number=1, answers=(("北京", 4),), **more):
    found = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"Q{number}", "question": "在哪？", "answers": found} | more


def read(folder, name, split, file, content):
    (folder / file).write_text(content, encoding="utf-8")
    return read_split(TASKS[name], folder, split).examples


@pytest.mark.parametrize(
    ("name", "split", "file"),
    [
        ("squad1", "train", "train-v1.1.json"),
        ("squad2", "dev", "dev-v2.0.json"),
        ("clue/cmrc2018", "train", "train.json"),
        ("clue/cmrc2018", "dev", "cmrc2018_dev.json"),
        ("drcd", "train", "DRCD_training.json"),
        ("xquad/zh", "test", "xquad.zh.json"),
    ],
)
def test_answers_and_their_offsets_are_read(tmp_path, name, split, file):
    (example,) = read(tmp_path, name, split, file, squad(question(answers=[("北京", 4), ("京", 5)])))
    assert example == QuestionExample("Q1", "在哪？", CONTEXT, (("北京", 4), ("京", 5)))


def test_what_squad_2_says_about_unanswerable_questions_is_kept_and_plausible_answers_are_not(tmp_path):
    plausible = [{"text": "北京", "answer_start": 4}]
    content = squad(question(1, is_impossible=False), question(2, is_impossible=True, plausible_answers=plausible))
    first, second = read(tmp_path, "squad2", "train", "train-v2.0.json", content)
    assert not first.impossible
    assert (second.answers, second.impossible) == ((), True)


def test_the_first_format_of_cmrc_has_no_offsets(tmp_path):
    query = {"query_id": "T_0", "query_text": "在哪？", "answers": ["北京", "北京"]}
    content = json.dumps([{"context_id": "T", "context_text": CONTEXT, "title": "t", "qas": [query]}])
    (example,) = read(tmp_path, "clue/cmrc2018", "dev", "dev.json", content)
    assert example == QuestionExample("T_0", "在哪？", CONTEXT, (("北京", -1), ("北京", -1)))


def test_only_test_questions_may_lack_answers(tmp_path):
    bare = {"id": "Q9", "question": "在哪？"}
    (example,) = read(tmp_path, "clue/cmrc2018", "test", "test.json", squad(bare))
    assert example.answers == ()
    with pytest.raises(UserError, match="dev.json, question Q9: no label"):
        read(tmp_path, "clue/cmrc2018", "dev", "dev.json", squad(bare))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[3]", "dev.json, paragraph 0: expected a JSON object, found a number"),
        ('{"data": [', "dev.json: broken JSON"),
        ('{"version": 1}', "dev.json: no field 'data'; the record's fields: 'version'"),
        (squad({"id": "Q1", "answers": []}), "question Q1: no field 'question'"),
        (squad(question(answers=[("a", "b")])), "question Q1: field 'answer_start': expected a whole number"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "drcd", "dev", "dev.json", content)


def test_your_own_questions_are_read_in_squads_format(tmp_path):
    (tmp_path / "mine.json").write_text(squad(question()), encoding="utf-8")
    task = own_questions({"dev": "mine.json"}, ("cmrc_f1",))
    assert len(read_split(task, tmp_path, "dev").examples) == 1


def test_predictions_are_one_object(tmp_path):
    examples = tuple(QuestionExample(f"Q{number}", "", "") for number in range(2))
    path = write_predictions(TASKS["clue/cmrc2018"], Split("", "test", (), examples, None), ["北京", ""], tmp_path)
    assert (path.name, json.loads(path.read_text())) == ("cmrc2018_predict.json", {"Q0": "北京", "Q1": ""})
    with pytest.raises(UserError, match="2 questions, but only 1 different ids"):
        write_predictions(TASKS["clue/cmrc2018"], Split("", "test", (), examples[:1] * 2, None), ["a", "b"], tmp_path)
    path = write_predictions(TASKS["squad2"], Split("", "dev", (), examples, None), ["a", ""], tmp_path)
    assert json.loads(path.read_text()) == {"Q0": "a", "Q1": ""}
