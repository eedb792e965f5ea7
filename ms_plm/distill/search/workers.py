"""Processes that each answer jobs one after the other: what they compiled for the first one serves all of theirs.

Each is a fresh interpreter (`worker.py`), as a fork would take MindSpore's threads with it. Jobs and answers are JSON
lines on its standard input and output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.series.process import start


class Stopped(Exception):
    """There was a reason, the text, to wait for no more answers."""


class Workers:
    """A group of processes; to be used as a context, at whose end they are gone.

    Args:
        count: number of processes.
        function: `MODULE:NAME`, called in each of them once; gives what answers a job.
        arguments: of it; these, jobs and answers are what JSON can hold.
        threads: OMP_NUM_THREADS of each, where the user has set none.
    """

    def __init__(self, count: int, function: str, arguments: Sequence[Any], threads: int) -> None:
        self.count, self.threads = count, threads
        self.command = [sys.executable, "-m", "ms_plm.distill.search.worker", function, json.dumps(list(arguments))]
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> Workers:
        more = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(self.threads)}
        # a session of their own: Ctrl-C reaches only the process that waits, which decides
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8", "start_new_session": True}
        self._processes = [start(self.command, more, **options) for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()  # nothing of it is kept but its answers
            process.wait()
            with suppress(BrokenPipeError):  # a job that it never read
                process.stdin.close()
            process.stdout.close()
        self._processes.clear()

    def answers(
        self, jobs: Sequence[Any], stop: Callable[[], str] = lambda: "", look: float = 0.2
    ) -> Iterator[tuple[int, Any]]:
        """Answers as they come, each with its job's number. After an error the workers are of no more use.

        Args:
            jobs: to be handed out, in order.
            stop: a reason to wait for no more; empty: there is none.
            look: seconds between looks at it.

        Raises:
            UserError: a worker raised it; or a worker ended, which is named with its job.
            RuntimeError: a worker raised something else; the text holds its traceback.
            Stopped: there was a reason.
        """
        waiting = list(enumerate(jobs))[::-1]
        idle, busy = list(self._processes), {}
        while waiting or busy:
            while waiting and idle:
                process, (number, job) = idle.pop(0), waiting.pop()
                with suppress(BrokenPipeError):  # that it is gone is told below
                    process.stdin.write(json.dumps(job) + "\n")
                    process.stdin.flush()
                busy[process.stdout] = process, number, job
            for stream in wait(list(busy), look):
                process, number, job = busy.pop(stream)
                yield number, self._answer(process, job)
                idle.append(process)
            if (waiting or busy) and (reason := stop()):
                raise Stopped(reason)

    def _answer(self, process: subprocess.Popen, job: Any) -> Any:
        """One line: it is written at once, so that whoever sees its beginning need not wait for its end."""
        line = process.stdout.readline()
        name = f"worker {self._processes.index(process) + 1} of {self.count} (process {process.pid})"
        if not line.endswith("\n"):
            code = process.wait()
            how = f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
            hint = " (what ends processes when memory runs out sends this one)" if code == -9 else ""
            raise UserError(f"{name} {how}{hint} while it had {job}; what it said stands above.")
        message = json.loads(line)
        if message["state"] == "refused":
            raise UserError(message["answer"])
        if message["state"] == "failed":
            raise RuntimeError(f"{name} failed while it had {job}:\n{message['answer']}")
        return message["answer"]
