"""The one training loop: updates in order, logs, evaluation, checkpoints, a clean stop on a signal or a deadline."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import Recipe
from ms_plm.data.loader import UpdateLoader
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
        best_step, best_value: the best evaluation so far.
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
    first_evaluation: dict[str, float] | None = None
    last_evaluation: dict[str, float] | None = None
    tokens: int = 0

    def improves(self, figures: Mapping[str, float], by: str) -> bool:
        """Record the evaluation of this step as the best one if it is."""
        if by == "none":
            return False
        value = figures["loss"] if by == "loss" else -figures["accuracy"]
        if math.isnan(value) or (self.best_value is not None and value >= self.best_value):
            return False
        self.best_step, self.best_value = self.step, value
        return True


@dataclass(frozen=True)
class Outcome:
    """How a loop ended.

    Attributes:
        finished: all steps were done.
        reason: why not, for a person: a signal or the wall-clock budget.
        compile_seconds: the first update, compilation included.
        tokens_per_second: over all updates but the first.
    """

    finished: bool
    reason: str
    compile_seconds: float
    tokens_per_second: float


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """A list that receives the name of SIGTERM or SIGINT when one arrives; a second SIGINT interrupts at once.

    (Once it has compiled a graph, MindSpore turns SIGINT into SIGTERM, so Ctrl-C then reads as that.)
    """
    received: list[str] = []

    def note(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

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
        save: writes a checkpoint (called on the main process only).
        evaluate: figures on held-out data (`loss`, `accuracy` ...), or None.
        flops_per_second: `tokens/s -> share of the device's peak`, or None where the peak is unknown.
    """

    def __init__(
        self,
        recipe: Recipe,
        step: TrainingStep,
        loader: UpdateLoader,
        rate: Callable[[int], float],
        total: int,
        parallel: Parallel,
        run_log: RunLog,
        save: Callable[[Progress], None],
        evaluate: Callable[[], dict[str, float]] | None,
        utilisation: Callable[[float], float] | None = None,
    ) -> None:
        self.recipe, self.step, self.loader, self.rate, self.total = recipe, step, loader, rate, total
        self.parallel, self.run_log, self.save, self.evaluate = parallel, run_log, save, evaluate
        self.utilisation = utilisation
        self._waiting: list[StepResult] = []
        self._last: StepResult | None = None
        self._evaluated = False
        self._reset_interval()

    def _reset_interval(self) -> None:
        self._interval_start, self._interval_tokens = time.monotonic(), 0

    def run(self, progress: Progress) -> Outcome:
        """Continue from `progress` (which is updated)."""
        started, before = time.monotonic(), progress.elapsed
        compile_seconds = first_tokens = 0.0
        done = 0
        reason = ""
        if progress.step == 0 and self.evaluate is not None:
            progress.first_evaluation = self._evaluate(progress)
        self.parallel.phase("compile")
        with stop_signals() as signals:
            updates = self.loader.updates(progress.step, self.total)
            begun = time.monotonic()
            self._reset_interval()
            for update in updates:
                own = [update.weights[name] for name in self.step.loss.terms]
                stops = [float(bool(signals)), float(self._out_of_time(started))]
                *weights, tokens, told, late = self.parallel.sum([*own, float(update.tokens), *stops])
                if told or late:
                    named = signals[0] if signals else "a signal to another process"
                    reason = f"{named} received" if told else "train.budget_minutes is used up"
                    break
                self._waiting.append(self.step(self.rate(progress.step), weights, update.micro_batches))
                progress.step, progress.tokens = progress.step + 1, progress.tokens + int(tokens)
                done += 1
                if done == 1:
                    self._collect(progress)
                    compile_seconds, first_tokens = time.monotonic() - begun, tokens
                    log.info("compiled and ran the first update in %s", duration(compile_seconds))
                    self.parallel.phase("train")
                    begun = time.monotonic()
                    self._reset_interval()
                else:
                    self._interval_tokens += int(tokens)
                    first_tokens += tokens
                self.run_log.bar.update()
                progress.elapsed = before + time.monotonic() - started
                self._after_update(progress)
            updates.close()
        steady = time.monotonic() - begun
        progress.elapsed = before + time.monotonic() - started
        speed = first_tokens / steady if done > 1 and steady > 0 else 0.0
        self._collect(progress)
        if reason or progress.step % self.recipe.train.checkpoint.every:
            self._save(progress)
        return Outcome(progress.step >= self.total, reason, compile_seconds, speed)

    def _out_of_time(self, started: float) -> bool:
        minutes = self.recipe.train.budget_minutes
        return minutes is not None and time.monotonic() - started >= 60 * minutes

    def _after_update(self, progress: Progress) -> None:
        recipe, step, last = self.recipe, progress.step, progress.step == self.total
        if step % recipe.log.every == 0 or last:
            self._report(progress)
        improved = False
        if self.evaluate is not None and (step % recipe.evaluate.every == 0 or last):
            figures = self._evaluate(progress)
            progress.last_evaluation = figures
            improved = progress.improves(figures, recipe.train.checkpoint.best)
        if improved or step % recipe.train.checkpoint.every == 0:
            self._save(progress)

    def _collect(self, progress: Progress) -> None:
        """Wait for the device and take over the results that are due."""
        for number, result in enumerate(self._waiting, progress.step - len(self._waiting) + 1):
            progress.pending.append(result.terms.asnumpy().astype(np.float64).tolist())
            scale = float(result.scale.asnumpy())
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
        means = np.mean(progress.pending, axis=0)
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
        self._interval_start += time.monotonic() - begun
        return figures

    def _save(self, progress: Progress) -> None:
        self._collect(progress)
        begun = time.monotonic()
        if self.parallel.main:
            self.save(progress)
        self._interval_start += time.monotonic() - begun
