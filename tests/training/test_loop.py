"""The loop alone, over updates that cost nothing: when it reports, evaluates, saves and stops."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor
from tiny_run import listening

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import ParallelSection, Recipe
from ms_plm.training.log import RunLog, read_metrics
from ms_plm.training.loop import Outcome, Progress, TrainingLoop, stop_signals
from ms_plm.training.parallel import Parallel
from ms_plm.training.step import StepResult

TERMS = ("masked_lm", "next_sentence")


class Updates:
    """A loader: update n has weights n + 1 and 2, and 10 tokens."""

    def __init__(self) -> None:
        self.closed = False

    def updates(self, start: int, stop: int) -> Iterator[Any]:
        try:
            for index in range(start, stop):
                weights = {"masked_lm": float(index + 1), "next_sentence": 2.0}
                yield SimpleNamespace(index=index, weights=weights, tokens=10, micro_batches=[index])
        finally:
            self.closed = True


class Step:
    """An update whose loss terms are (its number, 1); `during` may do something in it."""

    loss = SimpleNamespace(terms=TERMS)

    def __init__(self, during: Callable[[int], None] | None = None, bad: frozenset = frozenset(), scale: float = 1.0):
        self.during, self.bad, self.scale = during, bad, scale
        self.rates: list[float] = []
        self.weights: list[list[float]] = []

    def __call__(self, rate: float, weights: list[float], micro_batches: list[int]) -> StepResult:
        number = micro_batches[0] + 1
        self.rates.append(rate)
        self.weights.append(weights)
        if self.during:
            self.during(number)
        finite = number not in self.bad
        values = (np.float32([number, 1]), np.float32(number if finite else np.inf), finite, np.float32(self.scale))
        return StepResult(*(Tensor(np.array(value)) for value in values))


def rate(step: int) -> float:
    return 1.0 - step / 16


class Bench:
    """A loop in a folder, and what it did."""

    def __init__(self, folder: Path, step: Step | None = None, figures: list[dict] | None = None, **train: Any) -> None:
        every = train.pop("log", 1)
        evaluate_every = train.pop("evaluate", 1000)
        self.recipe = Recipe(
            kind="pretrain",
            name="loop",
            train={"steps": 12, **train},
            evaluate={"every": evaluate_every},
            log={"every": every},
        )
        self.folder, self.step, self.loader = folder, step or Step(), Updates()
        self.figures = list(figures) if figures is not None else None
        self.saved: list[Progress] = []
        self.evaluated: list[int] = []

    def run(self, progress: Progress | None = None, total: int = 12) -> Outcome:
        self.progress = progress or Progress()
        run_log = RunLog(self.folder, total, False, True, self.progress.step)

        def evaluate() -> dict[str, float]:
            self.evaluated.append(self.progress.step)
            return self.figures.pop(0)

        def save(now: Progress) -> None:
            self.saved.append(Progress(**{**vars(now), "pending": [row[:] for row in now.pending]}))

        loop = TrainingLoop(
            self.recipe,
            self.step,
            self.loader,
            rate,
            total,
            Parallel(ParallelSection(), "cpu"),
            run_log,
            save,
            evaluate if self.figures is not None else None,
            self.recipe.evaluate.every,
            None,
        )
        try:
            return loop.run(self.progress)
        finally:
            run_log.close()

    @property
    def records(self) -> list[dict[str, Any]]:
        return read_metrics(self.folder)

    @property
    def saved_steps(self) -> list[int]:
        return [progress.step for progress in self.saved]


def losses(*values: float) -> list[dict[str, float]]:
    return [{"loss": value, "accuracy": 1 / (1 + value)} for value in values]


def send(number: int, at: int) -> Callable[[int], None]:
    return lambda step: os.kill(os.getpid(), number) if step == at else None


def test_every_update_is_done_once_with_its_rate_and_the_weights_of_its_terms(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    outcome = bench.run()
    assert (outcome.finished, outcome.reason) == (True, "")
    assert bench.step.rates == [rate(step) for step in range(12)]
    assert bench.step.weights == [[step + 1.0, 2.0] for step in range(12)]
    assert bench.progress.tokens == 120
    assert bench.loader.closed
    assert outcome.tokens_per_second > 0


def test_a_report_is_the_mean_over_its_interval_and_the_rate_of_its_last_update(tmp_path: Path) -> None:
    bench = Bench(tmp_path, log=5)
    bench.run()
    found = [(r["step"], r["loss"], r["losses"], r["learning_rate"], r["gradient_norm"]) for r in bench.records]
    assert found == [
        (5, 4.0, {"masked_lm": 3.0, "next_sentence": 1.0}, rate(4), 5.0),
        (10, 9.0, {"masked_lm": 8.0, "next_sentence": 1.0}, rate(9), 10.0),
        (12, 12.5, {"masked_lm": 11.5, "next_sentence": 1.0}, rate(11), 12.0),  # the end is always reported
    ]


def test_evaluations_are_recorded_at_their_steps_and_before_and_after_training(tmp_path: Path) -> None:
    bench = Bench(tmp_path, figures=losses(9, 8, 7, 6), evaluate=5)
    bench.run()
    assert bench.evaluated == [0, 5, 10, 12]
    found = [(r["step"], r["loss"]) for r in bench.records if r["kind"] == "evaluate"]
    assert found == [(0, 9), (5, 8), (10, 7), (12, 6)]
    assert bench.progress.first_evaluation["loss"] == 9
    assert bench.progress.last_evaluation["loss"] == 6


def test_checkpoints_come_at_their_steps_at_the_end_and_at_each_best_evaluation(tmp_path: Path) -> None:
    bench = Bench(tmp_path, figures=losses(9, 8, 3, 6, 5), evaluate=3, checkpoint={"every": 5})
    bench.run()
    assert bench.saved_steps == [3, 5, 6, 10, 12]
    assert [progress.best_step for progress in bench.saved] == [3, 3, 6, 6, 6]
    assert bench.progress.best_value == 3


@pytest.mark.parametrize(("best", "step"), [("loss", 6), ("accuracy", 3), ("none", None)])
def test_the_best_step_is_decided_by_the_chosen_figure(tmp_path: Path, best: str, step: int | None) -> None:
    figures = [{"loss": a, "accuracy": b} for a, b in [(9, 0.0), (5, 0.9), (4, 0.5), (6, 0.4), (7, 0.3)]]
    bench = Bench(tmp_path, figures=figures, evaluate=3, checkpoint={"every": 100, "best": best})
    bench.run()
    assert bench.progress.best_step == step


def test_figures_that_are_not_numbers_are_never_the_best(tmp_path: Path) -> None:
    bench = Bench(tmp_path, figures=losses(9, math.nan, 5, math.nan, 6), evaluate=3, checkpoint={"every": 100})
    bench.run()
    assert (bench.progress.best_step, bench.progress.best_value) == (6, 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_update_end_and_writes_a_checkpoint(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    bench = Bench(tmp_path, Step(send(number, at=4)), log=3)
    outcome = bench.run()
    assert (outcome.finished, outcome.reason) == (False, f"{signal.Signals(number).name} received")
    assert bench.saved_steps == [4]
    assert bench.saved[0].pending == [[4.0, 1.0]]  # not yet reported: goes into the next report after a resume
    assert signal.getsignal(number) == before
    assert bench.loader.closed


def test_a_third_interrupt_does_not_wait_and_a_second_one_does_not_kill_the_checkpoint() -> None:
    with stop_signals() as received:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == ["SIGINT", "SIGTERM"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_resumed_loop_reports_what_the_uncut_one_would_have(tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole", log=5)
    cut = Bench(tmp_path / "cut", Step(send(signal.SIGTERM, at=7)), log=5)
    for bench in (whole, cut):
        bench.folder.mkdir()
        bench.run()
    again = Bench(tmp_path / "cut", log=5)
    assert again.run(cut.saved[-1]).finished
    clock = ("tokens_per_second",)
    plain = [[{k: v for k, v in r.items() if k not in clock} for r in bench.records] for bench in (whole, again)]
    assert plain[0] == plain[1]
    assert cut.step.rates + again.step.rates == whole.step.rates
    assert again.progress.tokens == whole.progress.tokens
    assert again.progress.elapsed > cut.progress.elapsed


def test_the_budget_stops_early_and_the_schedule_stays(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Step(lambda step: time.sleep(0.1)), budget_minutes=0.45 / 60)
    outcome = bench.run()
    assert (outcome.finished, outcome.reason) == (False, "train.budget_minutes is used up")
    done = bench.progress.step
    assert 0 < done < 12
    assert bench.saved_steps == [done]
    again = Bench(tmp_path)
    assert again.run(bench.saved[-1]).finished
    assert bench.step.rates + again.step.rates == [rate(step) for step in range(12)]


def test_a_run_that_was_finished_has_nothing_left_to_do(tmp_path: Path) -> None:
    bench = Bench(tmp_path, figures=losses(9, 8))
    bench.run()
    outcome = Bench(tmp_path, figures=losses()).run(bench.progress)
    assert outcome.finished
    assert outcome.tokens_per_second == 0


def test_skipped_updates_are_counted_and_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Step(bad=frozenset({3, 7}), scale=1024.0), log=4)
    with listening() as log:
        bench.run()
    messages = [record.getMessage() for record in log]
    assert [(r["step"], r["skipped"]) for r in bench.records] == [(4, 1), (8, 2), (12, 2)]
    told = [message for message in messages if "overflowed" in message]
    assert told == [f"update {n} overflowed and was skipped; the loss scale was 1024, now halved" for n in (3, 7)]
    assert "scale 1024  skipped 2" in messages[-1]


def test_gradients_that_stay_broken_at_the_smallest_scale_end_the_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Step(bad=frozenset(range(2, 100))), checkpoint={"every": 5})
    with pytest.raises(UserError, match="training diverged.*train.optimizer.learning_rate"):
        bench.run(total=40)
    assert bench.progress.step == 11
    assert bench.loader.closed


def test_ten_skipped_updates_in_all_are_no_divergence(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Step(bad=frozenset(range(2, 40, 2))))
    assert bench.run(total=40).finished
    assert bench.progress.skipped == 19


def test_a_large_scale_that_still_comes_down_is_no_divergence(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Step(bad=frozenset(range(2, 20)), scale=2.0))
    assert bench.run(total=20).finished


def test_a_broken_update_behind_a_resume_is_not_taken_for_divergence_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Step(bad=frozenset({12})))
    assert bench.run(Progress(step=11, hopeless=8)).finished
    with pytest.raises(UserError, match="diverged"):
        Bench(tmp_path, Step(bad=frozenset({12}))).run(Progress(step=11, hopeless=9))


def test_an_error_in_an_update_closes_the_loader_and_saves_nothing(tmp_path: Path) -> None:
    def fail(step: int) -> None:
        if step == 3:
            raise RuntimeError("out of memory")

    bench = Bench(tmp_path, Step(fail))
    with pytest.raises(RuntimeError, match="out of memory"):
        bench.run()
    assert bench.saved == []
