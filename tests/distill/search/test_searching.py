"""A search with its cache and its workers, and what is said of it."""

from __future__ import annotations

import math

import pytest
from fake_workers import FakeWorkers

from ms_plm.common.errors import UserError
from ms_plm.config.search import EvolutionSection
from ms_plm.distill.search.baselines import baselines
from ms_plm.distill.search.cache import EvaluationCache
from ms_plm.distill.search.report import draw_search, report_text
from ms_plm.distill.search.searching import Evaluator, mean, search
from ms_plm.distill.search.space import Space
from ms_plm.distill.search.workers import Stopped

SPACE = Space(6, 3, True)
NAMED = baselines(6, 3, [3.0, 0.0, 0.0, 0.0, 2.0, 2.5])  # contribution: (1, 5, 6)
SETTINGS = EvolutionSection(evaluations=32, population=6, elites=2)
TASKS = ("glue/sst-2", "glue/mrpc")


@pytest.fixture
def workers():
    return FakeWorkers((0, 2, 5), TASKS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search.jsonl"


def carry_out(workers, path, confirm=2, stop=lambda: "", settings=SETTINGS):
    with Evaluator(workers, EvaluationCache(path, "here"), stop) as evaluate:
        return search(SPACE, settings, 1, NAMED, evaluate, confirm)


def test_the_best_map_and_the_baselines_are_measured_again_with_other_seeds(workers, path):
    found = carry_out(workers, path)
    assert found.best == (0, 2, 5)
    assert len(found.evaluations) == 32
    assert list(found.confirmed) == [(0, 2, 5), (2, 4, 6), (0, 0, 6), (1, 5, 6)]
    assert [e.seed for e in found.confirmed[0, 0, 6]] == [2, 3]
    assert len(EvaluationCache(path, "here")) == 32 + 4 * 2
    assert found.evaluations[0, 2, 5].fitness == pytest.approx(0.8)


def test_a_best_map_that_no_generation_kept_is_found_all_the_same(path):
    """Without elites; a baseline of the first generation is the optimum."""
    settings = EvolutionSection(evaluations=32, population=6, elites=0)
    found = carry_out(FakeWorkers((1, 5, 6), TASKS), path, settings=settings)
    assert (1, 5, 6) not in [gene for gene, _ in found.generations[-1].members]
    assert found.best == (1, 5, 6)
    assert found.confirmed.keys() == {(1, 5, 6), (2, 4, 6), (0, 0, 6)}


def test_a_search_that_was_cut_ends_as_if_it_had_not_been(workers, path, tmp_path):
    whole = carry_out(workers, path)
    cut = FakeWorkers((0, 2, 5), TASKS)
    other = tmp_path / "other.jsonl"
    for cut.fails in (9, 18, 35):
        with pytest.raises(UserError, match="worker 1"):
            carry_out(cut, other)
        assert len(EvaluationCache(other, "here")) == cut.fails
    cut.fails = math.inf
    assert carry_out(cut, other) == whole
    assert len(cut.asked) == len(workers.asked)  # nothing was evaluated twice


def test_a_finished_search_needs_no_workers(workers, path):
    first = carry_out(workers, path)
    assert carry_out(workers, path) == first
    assert workers.opened == 1


def test_a_reason_to_stop_leaves_what_was_evaluated(workers, path):
    with pytest.raises(Stopped, match="SIGTERM received"):
        carry_out(workers, path, stop=lambda: "SIGTERM received" if len(workers.asked) == 4 else "")
    assert len(EvaluationCache(path, "here")) == 4


def test_the_report_shows_the_best_map_beside_baselines_and_every_map(workers, path):
    text = report_text(carry_out(workers, path), 90.0, 2)
    assert "| map | layers of the teacher | glue/sst-2 | glue/mrpc | fitness | fitness, 2 other seeds |" in text
    assert "| found | (0, 2, 5) | 0.7500 | 0.8500 | 0.8000 | 0.8150 ± 0.0071 |" in text
    assert "| last layer | (0, 0, 6) | 0.2500 | 0.3500 | 0.3000 | 0.3150 ± 0.0071 |" in text
    assert "32 maps were evaluated, of 83 whose supervised layers follow the teacher's order" in text
    assert "its own fitness is too high on average" in text
    assert "All 40 evaluations took 1m30s over all starts, compiling included, by 2 processes." in text
    *_, maps = text.split("Every map:")
    rows = maps.strip().splitlines()[2:]
    assert len(rows) == 32
    assert rows[0].startswith("| (0, 2, 5) | found |")
    assert any(row.startswith("| (1, 5, 6) | contribution |") for row in rows)


def test_without_further_seeds_there_is_no_such_column(workers, path):
    text = report_text(carry_out(workers, path, confirm=0), 90.0, 1)
    assert "other seeds" not in text
    assert "| uniform | (2, 4, 6) | 0.0000 | 0.1000 | 0.0500 |\n" in text


def test_the_picture_is_drawn(workers, path, tmp_path):
    pytest.importorskip("matplotlib")
    assert draw_search(tmp_path / "search.png", carry_out(workers, path, confirm=0), "search")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")


def test_a_task_that_came_to_nothing_makes_the_map_worth_nothing():
    assert mean([0.5, 0.7]) == pytest.approx(0.6)
    assert math.isnan(mean([0.5, math.nan]))
