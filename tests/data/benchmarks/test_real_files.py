"""The real sets beside the checkout have as many examples as their index says."""

from __future__ import annotations

import pytest

from ms_plm.data.benchmarks import TASKS, read_split, read_task

pytestmark = pytest.mark.data

COUNTS = {
    ("glue/cola", "glue/CoLA"): {"train": 8551, "dev": 1043, "test": 1063},
    ("glue/sst-2", "glue/SST-2"): {"train": 67349, "dev": 872, "test": 1821},
    ("glue/mrpc", "glue/MRPC"): {"train": 3668, "dev": 408, "test": 1725},
    ("glue/sts-b", "glue/STS-B"): {"train": 5749, "dev": 1500, "test": 1379},
    ("chnsenticorp", "clue/chnsenticorp"): {"train": 9600, "dev": 1200, "test": 1200},
    ("clue/afqmc", "clue/afqmc"): {"train": 34334, "dev": 4316, "test": 3861},
    ("clue/tnews", "clue/tnews"): {"train": 53360, "dev": 10000},
    ("clue/ocnli", "clue/ocnli"): {"train": 10000, "dev": 3000, "test": 3000},
    ("clue/cmnli", "clue/cmnli"): {"dev": 12241},
    ("clue/c3", "clue/c3"): {"train": 6013 + 5856, "dev": 1991 + 1825, "test": 2002 + 1890},
    ("clue/cmrc2018", "qa/cmrc2018"): {"dev": 3219},
    ("squad2", "qa/squad2_half_dev"): {"dev": 6078},
    ("xquad/en", "qa/xquad"): {"test": 1190},
    ("xquad/zh", "qa/xquad"): {"test": 1190},
}
FEW_SHOT = {
    ("clue/csl", "csl"): {"train_0": 32, "train_few_all": 160, "dev_0": 32, "dev_few_all": 160, "test_public": 2838},
    ("clue/cluewsc2020", "cluewsc"): {
        "train_0": 32,
        "train_few_all": 160,
        "dev_0": 32,
        "dev_few_all": 159,
        "test_public": 976,
    },
    ("clue/chid", "chid"): {"train_0": 42, "train_few_all": 202, "dev_0": 42, "dev_few_all": 202, "test_public": 2002},
    ("clue/iflytek", "iflytek"): {"train_0": 928, "dev_0": 690, "test_public": 1749},
}


@pytest.mark.parametrize("task", COUNTS, ids="->".join)
def test_a_set_has_all_its_examples(shared_data, task):
    name, folder = task
    found = read_task(TASKS[name], shared_data / folder)
    assert {split: len(read.examples) + read.dropped.total() for split, read in found.items()} == COUNTS[task]


@pytest.mark.parametrize("task", FEW_SHOT, ids="->".join)
def test_few_shot_files_are_read_in_place_of_the_official_ones(shared_data, task):
    name, folder = task
    for file, count in FEW_SHOT[task].items():
        found = read_split(TASKS[name], shared_data / "clue" / "fewclue" / folder, "dev", file=f"{file}.json")
        assert len(found.examples) == count, file


def test_quotes_are_text(shared_data):
    found = read_split(TASKS["glue/mrpc"], shared_data / "glue" / "MRPC", "train")
    assert found.examples[0].text.count('"') == 2
    assert sum(example.pair.startswith('"') for example in found.examples) > 50


def test_the_disagreed_examples_of_ocnli_are_those_marked_so(shared_data):
    lines = (shared_data / "clue" / "ocnli" / "dev.json").read_text(encoding="utf-8").splitlines()
    found = read_split(TASKS["clue/ocnli"], shared_data / "clue" / "ocnli", "dev")
    assert found.dropped.total() == sum('"label":"-"' in line for line in lines) > 0


def test_half_of_the_questions_of_squad_2_have_no_answer(shared_data):
    found = read_split(TASKS["squad2"], shared_data / "qa" / "squad2_half_dev", "dev")
    assert sum(example.impossible for example in found.examples) == 3168
    assert all(bool(example.answers) != example.impossible for example in found.examples)
