"""The one training loop: updates in order, logs, evaluation, checkpoints, a clean stop on a signal or a deadline."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import Recipe
from ms_plm.data.updates import Updates
from ms_plm.training.log import RunLog, duration, train_line
from ms_plm.training.parallel import Parallel
from ms_plm.training.step import StepResult, TrainingStep

log = logging.getLogger(__name__)
_HOPELESS = 10
"""So many skipped updates in a row, at the smallest loss scale, mean that training has diverged."""


@dataclass
class Progress:
    """What a run has to remember beside weights and moments; goes into trainer.json.

    Attributes:
        step: finished updates.
        elapsed: seconds of training, over all resumes.
        pending: since the last log line, one row of loss terms an update.
        skipped: updates skipped so far.
        hopeless: skipped in a row at the smallest loss scale.
        best_step, best_value, best_figures: the best evaluation so far.
        worse: evaluations since then.
        first_evaluation, last_evaluation: figures before training and the newest ones.
        tokens: tokens seen.
    """

    step: int = 0
    elapsed: float = 0.0
    pending: list[list[float]] = field(default_factory=list)
    skipped: int = 0
    hopeless: int = 0
    best_step: int | None = None
    best_value: float | None = None
    best_figures: dict[str, float] | None = None
    worse: int = 0
    first_evaluation: dict[str, float] | None = None
    last_evaluation: dict[str, float] | None = None
    tokens: int = 0

    def improves(self, figures: Mapping[str, float], by: str) -> bool:
        """Record the evaluation of this step as the best one if it is."""
        if by == "none":
            return False
        value = figures["loss"] if by == "loss" else -figures[by]
        self.worse += 1
        if math.isnan(value) or (self.best_value is not None and value >= self.best_value):
            return False
        self.best_step, self.best_value, self.best_figures, self.worse = self.step, value, dict(figures), 0
        return True


@dataclass(frozen=True)
class Outcome:
    """How a loop ended.

    Attributes:
        finished: all steps were done, or more would not have helped (`patience`).
        reason: why not, for a person: a signal or the wall-clock budget.
        by_budget: it was the budget, so nothing failed.
        compile_seconds: the first update, compilation included.
        tokens_per_second: over all updates but the first, evaluation and checkpoints left out.
    """

    finished: bool
    reason: str
    by_budget: bool
    compile_seconds: float
    tokens_per_second: float


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """A list that receives the name of SIGTERM or SIGINT when one arrives; a third one interrupts at once.

    (Once it has compiled a graph, MindSpore turns SIGINT into SIGTERM, so Ctrl-C then reads as that.) Python takes
    signals in its main thread only; elsewhere, in a server for example, the list stays empty.
    """
    received: list[str] = []

    def note(number: int, frame: Any) -> None:
        if len(received) >= 2:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class TrainingLoop:
    """Runs updates until the schedule ends, a signal arrives or the time is up.

    Args:
        recipe: the run.
        step: one update.
        loader: micro-batches of this process.
        rate: learning rate by number of finished updates.
        total: updates of the whole run.
        parallel: the group of processes.
        run_log: where figures go.
        save: writes a checkpoint (called on every process).
        evaluate: figures on held-out data (`loss`, `accuracy` ...), or None.
        evaluate_every: updates.
        patience: evaluations without a better figure after which the run ends; None: never.
        utilisation: `tokens/s -> share of the device's peak`, or None where the peak is unknown.
    """

    def __init__(
        self,
        recipe: Recipe,
        step: TrainingStep,
        loader: Updates,
        rate: Callable[[int], float],
        total: int,
        parallel: Parallel,
        run_log: RunLog,
        save: Callable[[Progress], None],
        evaluate: Callable[[], dict[str, float]] | None,
        evaluate_every: int,
        patience: int | None = None,
        utilisation: Callable[[float], float] | None = None,
    ) -> None:
        self.recipe, self.step, self.loader, self.rate, self.total = recipe, step, loader, rate, total
        self.parallel, self.run_log, self.save, self.evaluate = parallel, run_log, save, evaluate
        self.evaluate_every, self.patience, self.utilisation = evaluate_every, patience, utilisation
        self._waiting: list[StepResult] = []
        self._last: StepResult | None = None
        self._evaluated = False
        self._saved: int | None = None
        self._compile_seconds: float | None = None
        self._steady_start, self._steady_tokens = time.monotonic(), 0
        self._reset_interval()

    def _reset_interval(self) -> None:
        self._interval_start, self._interval_tokens = time.monotonic(), 0

    def run(self, progress: Progress) -> Outcome:
        """Continue from `progress` (which is updated)."""
        started, before = time.monotonic(), progress.elapsed
        self._saved = progress.step if progress.step else None
        with stop_signals() as signals:
            if progress.step == 0 and self.evaluate is not None:
                progress.first_evaluation = self._evaluate(progress)
            self.parallel.phase("compile")
            updates = self.loader.updates(progress.step, self.total)
            begun = time.monotonic()
            self._reset_interval()
            reason, by_budget, enough = "", False, False
            for update in updates:
                own = [update.weights[name] for name in self.step.loss.terms]
                stops = [float(bool(signals)), float(self._out_of_time(started))]
                *weights, tokens, told, late = self.parallel.sum([*own, float(update.tokens), *stops])
                if told or late:
                    named = signals[0] if signals else "a signal to another process"
                    reason = f"{named} received" if told else "train.budget_minutes is used up"
                    by_budget = not told
                    break
                self._waiting.append(self.step(self.rate(progress.step), weights, update.micro_batches))
                progress.step, progress.tokens = progress.step + 1, progress.tokens + int(tokens)
                if self._compile_seconds is None:
                    self._collect(progress)
                    self._compile_seconds = time.monotonic() - begun
                    log.info("compiled and ran the first update in %s", duration(self._compile_seconds))
                    self.parallel.phase("train")
                    self._steady_start = time.monotonic()
                    self._reset_interval()
                else:
                    self._interval_tokens += int(tokens)
                    self._steady_tokens += int(tokens)
                self.run_log.bar.update()
                progress.elapsed = before + time.monotonic() - started
                self._after_update(progress)
                if enough := self.patience is not None and progress.worse >= self.patience:
                    log.info("no better figure in %d evaluations: training ends here", progress.worse)
                    break
            updates.close()
            self._collect(progress)
            steady = time.monotonic() - self._steady_start
            progress.elapsed = before + time.monotonic() - started
            self._save(progress)
        speed = self._steady_tokens / steady if self._steady_tokens and steady > 0 else 0.0
        return Outcome(enough or progress.step >= self.total, reason, by_budget, self._compile_seconds or 0.0, speed)

    def _out_of_time(self, started: float) -> bool:
        minutes = self.recipe.train.budget_minutes
        return minutes is not None and time.monotonic() - started >= 60 * minutes

    def _after_update(self, progress: Progress) -> None:
        recipe, step, last = self.recipe, progress.step, progress.step == self.total
        if step % recipe.log.every == 0 or last:
            self._report(progress)
        improved = False
        if self.evaluate is not None and (step % self.evaluate_every == 0 or last):
            figures = self._evaluate(progress)
            progress.last_evaluation = figures
            improved = progress.improves(figures, recipe.train.checkpoint.best)
        if improved or step % recipe.train.checkpoint.every == 0:
            self._save(progress)

    def _collect(self, progress: Progress) -> None:
        """Wait for the device and take over the results that are due."""
        for number, result in enumerate(self._waiting, progress.step - len(self._waiting) + 1):
            scale, terms = float(result.scale.asnumpy()), result.terms.asnumpy().astype(np.float64)
            if np.isfinite(terms).all():
                progress.pending.append(terms.tolist())
            if bool(result.finite.asnumpy()):
                progress.hopeless = 0
                continue
            progress.skipped += 1
            progress.hopeless = progress.hopeless + 1 if scale <= 1.0 else 0
            if scale > 1.0:
                log.warning("update %d overflowed and was skipped; the loss scale was %g, now halved", number, scale)
            else:
                log.warning("update %d was skipped: its gradients are not finite", number)
            if progress.hopeless >= _HOPELESS:
                raise UserError(
                    f"training diverged: the gradients of {_HOPELESS} updates in a row are not finite (step "
                    f"{progress.step}). Lower train.optimizer.learning_rate, lengthen the warm-up or look at the data. "
                    "The last checkpoint before is good."
                )
        if self._waiting:
            self._last = self._waiting[-1]
        self._waiting.clear()

    def _report(self, progress: Progress) -> None:
        self._collect(progress)
        skipped = [[math.nan] * len(self.step.loss.terms)]  # an interval without one finite loss
        means = np.mean(progress.pending or skipped, axis=0)
        progress.pending.clear()
        seconds = time.monotonic() - self._interval_start
        speed = self._interval_tokens / seconds if seconds > 0 else 0.0
        values: dict[str, Any] = {
            "loss": float(means.sum()),
            "losses": dict(zip(self.step.loss.terms, means.tolist(), strict=True)),
            "learning_rate": self.rate(progress.step - 1),
            "gradient_norm": float(self._last.norm.asnumpy()),
            "loss_scale": float(self._last.scale.asnumpy()),
            "skipped": progress.skipped,
            "tokens_per_second": speed,
        }
        if self.utilisation is not None:
            values["utilisation"] = self.utilisation(speed)
        steps = progress.step
        remaining = (self.total - steps) * progress.elapsed / max(1, steps)
        if self.parallel.main:
            log.info(train_line(steps, self.total, values, remaining))
        self.run_log.write(steps, "train", values)
        self._reset_interval()

    def _evaluate(self, progress: Progress) -> dict[str, float]:
        self._collect(progress)
        begun, first = time.monotonic(), not self._evaluated
        if first:
            self.parallel.phase("compile")
        figures = self.evaluate()
        if first:
            self.parallel.phase("train")
            self._evaluated = True
        shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items() if isinstance(value, float))
        if self.parallel.main:
            log.info("held-out at step %d: %s", progress.step, shown)
        self.run_log.write(progress.step, "evaluate", figures)
        self._leave_out(time.monotonic() - begun)
        return figures

    def _save(self, progress: Progress) -> None:
        """Write a checkpoint, unless the one of this step is there."""
        self._collect(progress)
        if self._saved == progress.step:
            return
        begun = time.monotonic()
        self.parallel.phase("save")
        self.save(progress)
        self.parallel.phase("train")
        self._saved = progress.step
        self._leave_out(time.monotonic() - begun)

    def _leave_out(self, seconds: float) -> None:
        """Time that counts against no speed."""
        self._interval_start += seconds
        self._steady_start += seconds
