"""Workers that answer at once, with figures that a formula gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.distill.search.workers import Stopped


class FakeWorkers:
    """Stands where `Workers` do; answers come in the wrong order.

    Attributes:
        asked: jobs that were answered.
        opened: how often the group was started.
        fails: number of answers after which a worker ends.
    """

    def __init__(self, wanted: Sequence[int], tasks: Sequence[str]) -> None:
        self.wanted, self.tasks = wanted, tasks
        self.asked: list[Any] = []
        self.opened, self.fails = 0, math.inf

    def __call__(self, *_: Any) -> FakeWorkers:
        return self

    def __enter__(self) -> FakeWorkers:
        self.opened += 1
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def answers(self, jobs: Sequence[Any], stop: Callable[[], str]) -> Iterator[tuple[int, Any]]:
        for number, job in reversed(list(enumerate(jobs))):
            if reason := stop():
                raise Stopped(reason)
            if len(self.asked) >= self.fails:
                raise UserError("worker 1 of 1 ended with code 3.")
            self.asked.append(job)
            yield number, self._answer(job)

    def _answer(self, job: Any) -> Any:
        if job.get("skipped"):
            return [3.0, 0.0, 1.0]
        worth = sum(target == wanted for target, wanted in zip(job["gene"], self.wanted, strict=True)) / 4
        noise = 0.01 * (job["seed"] - 1)
        return {"figures": {task: worth + 0.1 * n + noise for n, task in enumerate(self.tasks)}, "seconds": 2.0}
