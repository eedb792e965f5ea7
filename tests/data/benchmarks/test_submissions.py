"""Files of predictions as the servers take them."""

import json

import pytest

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, Split, TextExample, write_predictions


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


def test_what_no_server_takes_is_refused(tmp_path):
    with pytest.raises(UserError, match="no submission of split 'dev'; there is one for: test"):
        write_predictions(TASKS["glue/cola"], split("dev"), ["1", "0"], tmp_path)
    with pytest.raises(UserError, match="there is one for: none"):
        write_predictions(TASKS["chnsenticorp"], split("test"), ["1", "0"], tmp_path)
    with pytest.raises(UserError, match="1 predictions for 2 examples"):
        write_predictions(TASKS["glue/cola"], split("test"), ["1"], tmp_path)
    with pytest.raises(UserError, match="prediction 'neutral'; expected one of '0', '1'"):
        write_predictions(TASKS["glue/cola"], split("test"), ["1", "neutral"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_identifiers_that_are_no_numbers_stay_text(tmp_path):
    path = write_predictions(TASKS["clue/csl"], split("test", ["a1", "02"]), ["1", "0"], tmp_path)
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a1", 2]
