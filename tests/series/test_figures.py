"""Means, spreads, and which run is best."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ms_plm.common.errors import UserError
from ms_plm.common.files import write_json
from ms_plm.config.loading import load_recipe
from ms_plm.series.figures import Repeat, Summary, decider, read_summary, write_run_figures
from ms_plm.series.tables import repeats_table

VALUES = (0.61, 0.70, math.nan, 0.66)


def summary(values, higher: bool = True, decides: str = "metric") -> Summary:
    repeats = [Repeat(f"seed-{n}", n, {"loss": 1.0, "f1": v, "metric": v}) for n, v in enumerate(values, 1)]
    return Summary(decides, higher, tuple(repeats))


def test_mean_and_sample_standard_deviation_over_seeds() -> None:
    values = [0.61, 0.70, 0.66]
    found = summary(values)
    assert found.mean("f1") == pytest.approx(np.mean(values))
    assert found.std("f1") == pytest.approx(np.std(values, ddof=1))
    assert found.names() == ["loss", "f1"]
    assert found.deciding() == "f1"


def test_one_run_has_no_deviation() -> None:
    assert summary([0.5]).std("f1") is None
    assert summary([0.5]).as_dict()["std"] == {}


def test_what_is_best_follows_the_figure_and_never_a_nan() -> None:
    assert summary(VALUES).best().run == "seed-2"
    assert summary(VALUES, higher=False).best().run == "seed-1"
    assert summary([math.nan, 0.1]).best().run == "seed-2"
    assert summary([0.7, 0.7]).best().run == "seed-1"


def test_a_missing_figure_makes_no_mean_and_no_broken_json(tmp_path: Path) -> None:
    found = summary(VALUES)
    assert math.isnan(found.mean("f1"))
    write_json(tmp_path / "figures.json", found.as_dict())
    assert "NaN" not in (tmp_path / "figures.json").read_text(encoding="utf-8")
    again = read_summary(tmp_path)
    assert [r.seed for r in again.repeats] == [1, 2, 3, 4]
    assert math.isnan(again.repeats[2].figures["f1"])
    assert again.best().run == "seed-2"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert read_summary(tmp_path) is None
    write_json(tmp_path / "figures.json", {"runs": [{}]})
    with pytest.raises(UserError, match="figures.json: not figures of a run"):
        read_summary(tmp_path)


def test_the_table_shows_every_seed_mean_deviation_and_the_best() -> None:
    rows = repeats_table(summary([0.61, 0.70, 0.66])).splitlines()
    assert rows[0] == "| run | loss | f1 |"
    assert rows[2] == "| seed-1 | 1.0000 | 0.6100 |"
    assert rows[5:] == [
        "| **mean** | 1.0000 | 0.6567 |",
        "| standard deviation (n-1) | 0.0000 | 0.0451 |",
        "| best: seed-2 | 1.0000 | 0.7000 |",
    ]


@pytest.mark.parametrize(
    ("recipe", "best", "expected"),
    [
        ("bert_base_rte", "metric", ("metric", True)),
        ("bert_base_rte", "loss", ("loss", False)),
        ("bert_base_rte", "none", ("metric", True)),
        ("quickstart", "accuracy", ("accuracy", True)),
        ("quickstart", "none", ("loss", False)),
    ],
)
def test_runs_are_compared_by_what_picks_their_checkpoints(recipe: str, best: str, expected: tuple) -> None:
    assert decider(load_recipe(recipe, {"train.checkpoint.best": best})) == expected


def test_a_runs_figures_are_those_of_its_result(tmp_path: Path) -> None:
    provenance = {"steps": 60, "figures": {"loss": 0.5, "accuracy": 0.75, "metric": 0.75}}
    write_json(tmp_path / "model" / "config.json", {"provenance": provenance})
    write_run_figures(load_recipe("bert_base_rte", {"train.seed": 4}), tmp_path)
    found = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert (found["steps"], found["model"], found["count"]) == (60, "model", 1)
    assert found["figures"] == provenance["figures"]
    assert read_summary(tmp_path).repeats == (Repeat("", 4, provenance["figures"]),)
