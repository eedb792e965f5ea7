"""Files of predictions as the servers take them."""

import json

import pytest

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, ChoiceExample, Split, TextExample, read_split, write_predictions


def split(name, ids=("0", "7"), task="glue/cola"):
    return Split(task, name, (), tuple(TextExample(number, "text") for number in ids), None)


@pytest.mark.parametrize(
    ("name", "part", "predictions", "file", "content"),
    [
        ("glue/cola", "test", ["1", "0"], "CoLA.tsv", "index\tprediction\n0\t1\n7\t0\n"),
        (
            "glue/mnli",
            "test_matched",
            ["neutral", "entailment"],
            "MNLI-m.tsv",
            "index\tprediction\n0\tneutral\n7\tentailment\n",
        ),
        ("glue/mnli", "test_mismatched", ["neutral"] * 2, "MNLI-mm.tsv", "index\tprediction\n0\tneutral\n7\tneutral\n"),
        ("glue/sts-b", "test", [-0.3, 5.25], "STS-B.tsv", "index\tprediction\n0\t0.0\n7\t5.0\n"),
        ("glue/sts-b", "test", [2.5, 1 / 3], "STS-B.tsv", "index\tprediction\n0\t2.5\n7\t0.333333\n"),
        ("clue/afqmc", "test", ["1", "0"], "afqmc_predict.json", '{"id": 0, "label": "1"}\n{"id": 7, "label": "0"}\n'),
        (
            "clue/tnews",
            "test1.0",
            ["108"] * 2,
            "tnews10_predict.json",
            '{"id": 0, "label": "108"}\n{"id": 7, "label": "108"}\n',
        ),
        (
            "clue/ocnli",
            "test",
            ["neutral"] * 2,
            "ocnli_50k_predict.json",
            '{"id": 0, "label": "neutral"}\n{"id": 7, "label": "neutral"}\n',
        ),
    ],
)
def test_a_file_has_its_official_name_and_form(tmp_path, name, part, predictions, file, content):
    path = write_predictions(TASKS[name], split(part), predictions, tmp_path)
    assert path == tmp_path / file
    assert path.read_text(encoding="utf-8") == content
    assert [found.name for found in tmp_path.iterdir()] == [file]


def written(folder, name, examples, predictions):
    path = write_predictions(TASKS[name], Split("", "test", (), tuple(examples), None), predictions, folder)
    return path.name, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_superglue_takes_an_object_an_example(tmp_path):
    texts = split("test").examples
    assert written(tmp_path, "superglue/boolq", texts, ["true", "false"]) == (
        "BoolQ.jsonl",
        [{"idx": 0, "label": "true"}, {"idx": 7, "label": "false"}],
    )
    assert written(tmp_path, "superglue/wsc", texts, ["true", "false"])[1][0] == {"idx": 0, "label": "True"}
    choices = [ChoiceExample("4", "c", "q", ("Ann", "Bo"))]
    assert written(tmp_path, "superglue/copa", choices, [1]) == ("COPA.jsonl", [{"idx": 4, "label": 1}])
    assert written(tmp_path, "superglue/record", choices, [1]) == ("ReCoRD.jsonl", [{"idx": 4, "label": "Bo"}])


def test_what_belongs_to_a_passage_of_multirc_is_one_object(tmp_path):
    groups = [("0", "0-1", "0"), ("0", "0-1", "1"), ("0", "0-2", "2"), ("5", "5-3", "3")]
    examples = [TextExample(f"{group}-{answer}", "t", "p", group=group) for _, group, answer in groups]
    assert written(tmp_path, "superglue/multirc", examples, ["1", "0", "0", "1"])[1] == [
        {
            "idx": 0,
            "passage": {
                "questions": [
                    {"idx": 1, "answers": [{"idx": 0, "label": 1}, {"idx": 1, "label": 0}]},
                    {"idx": 2, "answers": [{"idx": 2, "label": 0}]},
                ]
            },
        },
        {"idx": 5, "passage": {"questions": [{"idx": 3, "answers": [{"idx": 3, "label": 1}]}]}},
    ]


def test_entities_of_cluener_are_written_as_they_are_read(tmp_path):
    label = {"name": {"小明": [[0, 1], [4, 5]]}, "position": {"行长": [[2, 3]]}}
    line = json.dumps({"id": 0, "text": "小明行长小明", "label": label}, ensure_ascii=False)
    (tmp_path / "train.json").write_text(line + "\n", encoding="utf-8")
    examples = read_split(TASKS["cluener"], tmp_path, "train").examples
    assert written(tmp_path, "cluener", examples, [examples[0].tags]) == (
        "cluener_predict.json",
        [{"id": 0, "label": label}],
    )


def test_each_test_set_has_a_file_of_its_own():
    names = [
        (name.split("/")[0], file)
        for name, task in TASKS.items()
        if task.submission
        for file in task.submission.files.values()
    ]
    assert len(set(names)) == len(names)
    for task in TASKS.values():
        assert not task.submission or set(task.submission.files) <= set(task.splits)


def test_predictions_of_a_task_without_a_server_are_objects_a_line(tmp_path):
    path = write_predictions(TASKS["chnsenticorp"], split("test"), ["1", "0"], tmp_path)
    assert path.name == "test_predictions.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [record["prediction"] for record in records] == ["1", "0"]
    assert [str(record["id"]) for record in records] == [example.id for example in split("test").examples]


def test_predictions_of_a_split_that_no_server_takes_are_objects_a_line_too(tmp_path):
    path = write_predictions(TASKS["glue/cola"], split("dev"), ["1", "0"], tmp_path)
    assert path.name == "dev_predictions.jsonl"
    assert [json.loads(line)["prediction"] for line in path.read_text(encoding="utf-8").splitlines()] == ["1", "0"]


def test_what_does_not_fit_the_task_is_refused(tmp_path):
    with pytest.raises(UserError, match="1 predictions for 2 examples"):
        write_predictions(TASKS["glue/cola"], split("test"), ["1"], tmp_path)
    with pytest.raises(UserError, match="prediction 'neutral'; expected one of '0', '1'"):
        write_predictions(TASKS["glue/cola"], split("test"), ["1", "neutral"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_identifiers_that_are_no_numbers_stay_text(tmp_path):
    path = write_predictions(TASKS["clue/csl"], split("test", ["a1", "02"]), ["1", "0"], tmp_path)
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a1", 2]
