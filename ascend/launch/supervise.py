"""Running a job to its end: msrun again with `--resume` after a loss, as long as each attempt gets further."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm_ascend.launch.checks import port_free
from ms_plm_ascend.launch.job import Job, attempt_folder, command, environment, python_folder
from ms_plm_ascend.launch.outcome import Ending, judge

log = logging.getLogger(__name__)
MARK = "MS_PLM_LAUNCH"
"""Variable by which the processes of an attempt are known, also when msrun is gone."""
PORT_SECONDS = 180
"""How long the scheduler's port may stay in use after an attempt; the system holds closed ones for a minute or two."""
GRACE_SECONDS = 600
"""How long processes that were told to stop may take for their last checkpoint."""


STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Attempt:
    """A line of `attempts-node0.jsonl`; `to_step` is null where every checkpoint was damaged."""

    attempt: int
    started: str
    seconds: float
    exit_code: int
    from_step: int
    to_step: int | None
    verdict: str
    reason: str


def newest_step(folder: Path) -> int:
    """Step of the newest undamaged checkpoint of a run; 0 where there is none.

    Raises:
        UserError: every checkpoint is damaged.
    """
    checkpoints = folder / "checkpoints"
    if not checkpoints.is_dir():
        return 0
    from ms_plm.training.checkpoint import CheckpointStore  # imports MindSpore: only where it is needed

    newest = CheckpointStore(checkpoints, keep=1).newest(repair=False)
    return newest.step if newest else 0


def _identity(folder: Path) -> int | None:
    """What tells a folder from another one that took its place."""
    return folder.stat().st_ino if folder.is_dir() else None


class Supervisor:
    """Attempts of one job on this machine.

    Args:
        job: what is started.
        relaunches: how often it may be started again.
    """

    def __init__(self, job: Job, relaunches: int) -> None:
        self.job, self.relaunches = job, relaunches
        self.record = job.logs / f"attempts-node{job.rank}.jsonl"
        self._noted: list[dict[str, Any]] = []
        self._stopping: list[str] = []
        self._running: subprocess.Popen[str] | None = None
        self._mark = ""

    def run(self, flags: tuple[str, ...] = ()) -> int:
        """Start the job, and again as long as that helps; the exit code for the command line.

        Args:
            flags: `--resume` or `--overwrite`, for the first attempt.
        """
        self._noted = self._earlier()
        first = max((attempt["attempt"] for attempt in self._noted), default=0) + 1
        before = newest_step(self.job.folder) if "--resume" in flags else 0
        old = _identity(self.job.folder) if "--overwrite" in flags else None
        with self._signals():
            for number in range(first, first + self.relaunches + 1):
                ending, after = self._attempt(number, flags, before, old)
                if ending.verdict == "done":
                    log.info("done; what each attempt did is in %s", self.record)
                    return 0
                left = first + self.relaunches - number
                if not self._again(ending, before, after, left):
                    return 1
                before, flags, old = after, ("--resume",), None
                if not self._wait_for_port():
                    return 1
        return 1

    def _again(self, ending: Ending, before: int, after: int, left: int) -> bool:
        """Whether to start again, with the reason in the log."""
        if self._stopping:
            log.error("stopped by %s at step %d. Continue with the same command and --resume.", ending.reason, after)
        elif ending.verdict == "mistake":
            log.error("not started again, because that would not help: %s", ending.reason)
        elif after <= before:
            log.error(
                "not started again: no checkpoint beyond step %d came of it (%s). Mend the cause, then give the same "
                "command with --resume.",
                before,
                ending.reason,
            )
        elif not left:
            log.error(
                "not started again: --relaunch %d is used up (%s). The newest checkpoint is that of step %d.",
                self.relaunches,
                ending.reason,
                after,
            )
        else:
            log.warning("%s. Started again from step %d; %d more attempts.", ending.reason, after, left)
            return True
        return False

    def _earlier(self) -> list[dict[str, Any]]:
        """Attempts of earlier commands: their logs are kept."""
        found = []
        if self.record.is_file():
            for number, line in enumerate(self.record.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                try:
                    found.append(json.loads(line))
                except json.JSONDecodeError:
                    log.warning("%s: line %d is cut, as by a kill; that attempt is left out", self.record, number)
        return found

    def _attempt(self, number: int, flags: tuple[str, ...], before: int, old: int | None) -> tuple[Ending, int]:
        """Start once.

        Args:
            old: `_identity` of a run folder that is to be overwritten: where it is still there, nothing was trained.

        Returns:
            How it ended, and the newest checkpoint's step.
        """
        folder = attempt_folder(self.job, number)
        folder.mkdir(parents=True, exist_ok=True)
        words = command(self.job, number, flags)
        log.info("attempt %d: %s", number, " ".join(words))
        begun, started = time.monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
        code, output = self._carry_out(words, folder / f"msrun-node{self.job.rank}.log")
        ending = judge(code, output, folder)
        if self._stopping and ending.verdict != "done":
            ending = Ending("lost", self._stopping[0])
        seconds, after = round(time.monotonic() - begun, 1), None
        try:
            after = 0 if old is not None and _identity(self.job.folder) == old else newest_step(self.job.folder)
        finally:  # noted also where every checkpoint is damaged, which is an error
            self._note(Attempt(number, started, seconds, code, before, after, ending.verdict, ending.reason))
        return ending, after

    def _note(self, attempt: Attempt) -> None:
        self._noted.append(asdict(attempt))
        lines = [json.dumps(noted, ensure_ascii=False) + "\n" for noted in self._noted]
        with replacing_file(self.record) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")

    def _carry_out(self, words: list[str], path: Path) -> tuple[int, str]:
        """Run msrun; what it prints goes to the console and a file.

        Returns:
            Its exit code and what it printed.
        """
        self._mark = uuid.uuid4().hex
        process = subprocess.Popen(
            words,
            env=started_environment(self.job, self._mark),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches us alone: msrun would kill its workers before their checkpoint
        )
        self._running = process
        printed: list[str] = []
        with path.open("w", encoding="utf-8") as file:
            reader = threading.Thread(target=_copy, args=(process.stdout, file, printed), daemon=True)
            reader.start()
            code = self._wait(process)
            self._end_leftovers()  # they hold the pipe open
            reader.join(10)
        self._running = None
        return code, "".join(printed)

    def _wait(self, process: subprocess.Popen[str]) -> int:
        told: float | None = None
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if self._stopping and told is None:
                    told = time.monotonic()
                    self._signal_workers(signal.SIGTERM)
                if len(self._stopping) > 1 or (told and time.monotonic() - told > GRACE_SECONDS):
                    process.kill()
                    return process.wait()

    def _members(self) -> Iterator[Any]:
        """Living processes of this attempt, msrun left out."""
        import psutil  # MindSpore needs it too

        for process in psutil.process_iter():
            try:
                if process.pid != self._running.pid and process.environ().get(MARK) == self._mark:
                    yield process
            except psutil.Error:
                continue

    def _signal_workers(self, number: int) -> None:
        """What a worker does with SIGTERM: finish the update, write a checkpoint, end."""
        import psutil

        for process in self._members():
            with suppress(psutil.Error):  # it may have ended meanwhile
                own = process.ppid() == self._running.pid and process.name() != "tail"
                if own and process.environ().get("MS_ROLE") == "MS_WORKER":
                    process.send_signal(number)

    def _end_leftovers(self) -> None:
        import psutil

        for process in self._members():
            with suppress(psutil.Error):
                process.kill()
                log.warning("process %d of this attempt was still there; it was ended", process.pid)

    def _wait_for_port(self) -> bool:
        """On the first machine, until the scheduler's port is free again: all machines must know its number."""
        until = time.monotonic() + PORT_SECONDS
        while self.job.rank == 0 and not port_free(self.job.port):
            if self._stopping or time.monotonic() > until:
                log.error("port %d is still in use; start again with --resume.", self.job.port)
                return False
            time.sleep(1)
        return not self._stopping

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, frame: Any) -> None:
            self._stopping.append(signal.Signals(number).name)

        previous = {number: signal.signal(number, note) for number in STOPS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def started_environment(job: Job, mark: str) -> dict[str, str]:
    """The whole environment of an attempt."""
    present = dict(os.environ)
    made = {**present, **environment(job, present), MARK: mark}
    if folder := python_folder(present.get("PATH", "")):
        made["PATH"] = f"{folder}{os.pathsep}{made.get('PATH', '')}"
    return made


def _copy(source: IO[str], file: IO[str], kept: list[str]) -> None:
    for line in source:
        print(line, end="", flush=True)
        file.write(line)
        file.flush()
        kept.append(line)


def refuse(problems: list[str]) -> None:
    """
    Raises:
        UserError: there are problems; it lists them all.
    """
    if problems:
        raise UserError("this machine is not ready:\n" + "\n".join(f"  - {text}" for text in problems))
