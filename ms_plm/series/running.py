"""Carrying out the runs of a plan one after the other: what is finished is skipped, what was cut goes on."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ms_plm.common.errors import UserError
from ms_plm.series.figures import FIGURES
from ms_plm.series.plan import Node
from ms_plm.series.process import run_in_process
from ms_plm.series.result import conclude
from ms_plm.training.log import METRICS, duration
from ms_plm.training.loop import stop_signals

log = logging.getLogger(__name__)


@dataclass
class Ended:
    """How several runs ended.

    Attributes:
        reason: why they were not all carried out; empty: they were.
        by_budget: it was the time they were given, so nothing failed.
        failed: runs that failed, by their folders within the top one, and how.
    """

    reason: str = ""
    by_budget: bool = False
    failed: dict[str, str] = field(default_factory=dict)


def carry_out(top: Node, started: Callable[[], None]) -> Ended:
    """Carry out every run of a plan, and summarise each branch when its runs are done.

    A run that fails is named and the others go on; but where the very first one cannot even begin, nothing is begun.

    Args:
        top: its folder and all below hold their recipes.
        started: called when the first run has begun to train.

    Raises:
        UserError: the first run failed before it began.
    """
    with stop_signals() as signals:
        return _Carrier(top, started, signals).go()


class _Stopped(Exception):
    """A signal, or no time is left."""


class _Carrier:
    def __init__(self, top: Node, started: Callable[[], None], signals: list[str]) -> None:
        self.top, self.started, self.signals = top, started, signals
        leaves = list(top.leaves())
        self.number = {leaf.folder: number for number, leaf in enumerate(leaves, 1)}
        self.total, self.ended = len(leaves), Ended()
        self.begun = any((leaf.folder / METRICS).is_file() for leaf in leaves)
        self.clock = time.monotonic()

    def go(self) -> Ended:
        with contextlib.suppress(_Stopped):
            self._carry(self.top)
        return self.ended

    def _carry(self, node: Node) -> None:
        if not node.children:
            self._run(node)
            return
        for child in node.children:
            self._carry(child)
        conclude(node)

    def _run(self, leaf: Node) -> None:
        name = str(leaf.folder.relative_to(self.top.folder))
        which = f"run {self.number[leaf.folder]} of {self.total}: {name}"
        if (leaf.folder / FIGURES).is_file():
            log.info("%s: finished before", which)
            self._begin()
            return
        overrides = self._time_left(leaf, name)
        log.info("%s%s", which, " (goes on)" if (leaf.folder / "checkpoints").is_dir() else "")
        begun = time.monotonic()
        code = run_in_process(leaf.folder, overrides, self.signals)
        if (leaf.folder / METRICS).is_file():
            self._begin()
        if (leaf.folder / FIGURES).is_file():
            log.info("%s: finished in %s", which, duration(time.monotonic() - begun))
            if code:  # trained and measured; what was to be made of it then failed
                self.ended.failed[name] = f"its result is there, but see {leaf.folder}/report.md"
            return
        if self.signals:
            self._stop(f"{self.signals[0]} received in {which}")
        if code == 0:
            self._stop(f"train.budget_minutes is used up in {which}", by_budget=True)
        how = f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"
        if not self.begun:
            raise UserError(f"{name}, the first run, {how} before it began; what is wrong is said above.")
        log.error("%s %s; the others go on. See %s/train.log", which, how, leaf.folder)
        self.ended.failed[name] = f"{how}; see {leaf.folder}/train.log"

    def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            self.started()

    def _time_left(self, leaf: Node, name: str) -> list[str]:
        """The time of the whole command, less what is used up, as the run's."""
        minutes = leaf.recipe.train.budget_minutes
        if minutes is None:
            return []
        left = minutes - (time.monotonic() - self.clock) / 60
        if left <= 0:
            self._stop(f"train.budget_minutes is used up before {name}", by_budget=True)
        return [f"train.budget_minutes={left:.6f}"]

    def _stop(self, reason: str, by_budget: bool = False) -> None:
        self._begin()  # or the folder that is to be continued would go
        self.ended.reason, self.ended.by_budget = reason, by_budget
        raise _Stopped
