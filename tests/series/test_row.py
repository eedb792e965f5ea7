"""The row of a suite: the columns of papers and their average."""

from __future__ import annotations

import math

import pytest

from ms_plm.config.loading import load_recipe
from ms_plm.series.figures import Repeat, Summary
from ms_plm.series.row import Column, Row, percent, row_table

# BERT-base on GLUE's test sets, Devlin et al. 2019, Table 1: the average printed there is 79.6
BERT = {
    "cola": {"matthews": 0.521},
    "mnli": {"accuracy": 0.846, "dev_mismatched_accuracy": 0.834},
    "mrpc": {"accuracy": 0.8, "f1": 0.889},
    "qnli": {"accuracy": 0.905},
    "qqp": {"accuracy": 0.8, "f1": 0.712},
    "rte": {"accuracy": 0.664},
    "sst2": {"accuracy": 0.935},
    "sts-b": {"pearson": 0.8, "spearman": 0.858},
}


def row(*seeds: int, without: tuple[str, ...] = ()) -> Row:
    """Figures of BERT; every further seed is 0.01 better."""
    suite = load_recipe("glue_all", {"model.from": "bert"})
    columns = []
    for task in suite.suite.tasks:
        name = task.run.removeprefix("bert_base_")
        repeats = [
            Repeat(f"seed-{seed}", seed, {k: v + 0.01 * number for k, v in BERT[name].items()})
            for number, seed in enumerate(seeds)
        ]
        columns.append(
            Column(task, None, f"{name}: no such folder.")
            if name in without
            else Column(task, Summary("metric", True, tuple(repeats)))
        )
    return Row(suite, tuple(columns))


def test_the_average_is_that_which_papers_print() -> None:
    assert round(100 * row(1).average(), 1) == 79.6
    lines = row_table(row(1)).splitlines()
    assert lines[0] == "| model | MNLI-m/mm | QQP | QNLI | SST-2 | CoLA | STS-B | MRPC | RTE | avg |"
    assert lines[2] == "| bert | 84.6/83.4 | 71.2 | 90.5 | 93.5 | 52.1 | 85.8 | 88.9 | 66.4 | 79.6 |"


def test_with_seeds_every_figure_has_its_deviation_and_so_has_the_average() -> None:
    found = row(1, 2, 3)
    assert found.average_std() == pytest.approx(0.01)
    assert "| 85.6±1.0/84.4±1.0 | 72.2±1.0 |" in row_table(found)
    assert "| 80.6±1.0 |" in row_table(found)


def test_without_a_task_there_is_no_average_to_compare() -> None:
    found = row(1, without=("qqp",))
    assert math.isnan(found.average())
    text = row_table(found)
    assert "| 84.6/83.4 | - | 90.5 |" in text
    assert "| 66.4 | - |" in text
    assert "7 of 8 tasks are there; their average, 80.7, is none to compare with." in text
    assert "- QQP: qqp: no such folder." in text


def test_json_holds_shares_states_and_every_figure() -> None:
    found = row(1, without=("qqp",)).as_dict()
    assert found["average"] is None
    by_title = {column["title"]: column for column in found["columns"]}
    assert by_title["QQP"]["state"] == "absent"
    assert by_title["MRPC"]["row"] == {"f1": 0.889}
    assert by_title["MRPC"]["figures"]["accuracy"] == 0.8


def test_percentages() -> None:
    assert percent(0.84649, None, 1) == "84.6"
    assert percent(0.84649, 0.00251, 2) == "84.65±0.25"
    assert percent(math.nan, None, 1) == "-"
