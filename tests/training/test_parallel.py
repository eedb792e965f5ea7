"""Several processes: the same as one, and none waits for ever for one that is gone or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_job
import tiny_run
from tiny_job import logs_of

import ms_plm
import ms_plm.training.parallel as module
from ms_plm.config.recipe import ParallelSection
from ms_plm.training.parallel import Parallel, Watch, launched_rank, launched_ranks

BEAT, SILENCE = 0.05, 0.8
"""Seconds between heartbeats, and of silence that these tests call too long while training (4 while compiling)."""
SECTION = SimpleNamespace(timeout_seconds=SILENCE, compile_timeout_seconds=4 * SILENCE)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """(process, reason) of each watch that ended its process (which it does not here); heartbeats are quick."""
    found: list[tuple[int, str]] = []
    monkeypatch.setattr(module, "_BEAT_SECONDS", BEAT)
    monkeypatch.setattr(module, "_OWN_STORY_SECONDS", SILENCE)

    def note(watch: Watch, what: str) -> None:
        if not watch._closing.is_set():
            found.append((watch.rank, what))

    monkeypatch.setattr(Watch, "_end", note)
    return found


def within(seconds: float, true: Callable[[], object]) -> bool:
    """Whether something becomes true in time."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


class Peer:
    """Process 1, spoken by hand, and the watch of process 0 that listens to it."""

    def __init__(self) -> None:
        self.watch = Watch(SimpleNamespace(rank=0, ranks=2, gather=self._connect), SECTION)

    def _connect(self, ports: list[int]) -> list[list[int]]:
        self.socket = socket.create_connection(("127.0.0.1", ports[0]))
        return [ports, [0]]

    def say(self, phase: str) -> None:
        self.socket.sendall(json.dumps({"rank": 1, "phase": phase}).encode() + b"\n")

    def keep_saying(self, phase: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.say(phase)
            time.sleep(BEAT)

    def heard(self) -> list[str]:
        """What the watch has said so far."""
        self.socket.settimeout(4 * BEAT)
        data = b""
        while not data.endswith(b"\n"):
            data += self.socket.recv(65536)
        return [json.loads(line)["phase"] for line in data.splitlines()]


@pytest.fixture
def peer(ends: list) -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.watch.close()
    peer.socket.close()


def test_a_process_that_beats_is_left_alone(peer: Peer, ends: list) -> None:
    peer.keep_saying("train", 2 * SILENCE)
    assert ends == []


def test_a_process_that_falls_silent_while_training_ends_the_job(peer: Peer, ends: list) -> None:
    peer.keep_saying("train", 2 * BEAT)
    assert within(3 * SILENCE, lambda: ends)
    ((rank, reason),) = ends
    assert rank == 0
    assert re.fullmatch(r"process 1 has been silent for \d s while in phase 'train'", reason)


def test_a_process_that_compiles_may_be_silent_for_longer(peer: Peer, ends: list) -> None:
    peer.say("compile")
    time.sleep(2 * SILENCE)
    assert ends == []
    assert within(6 * SILENCE, lambda: ends)
    assert "while in phase 'compile'" in ends[0][1]


def test_a_process_that_dies_ends_the_job_at_once(peer: Peer, ends: list) -> None:
    peer.say("train")
    time.sleep(2 * BEAT)
    peer.socket.close()
    assert within(SILENCE / 2, lambda: ends)
    assert ends[0][1].startswith(("process 1 ended without a goodbye", "the connection to process 1 broke"))


def test_a_process_that_says_goodbye_may_go(peer: Peer, ends: list) -> None:
    peer.say("bye")
    peer.socket.close()
    time.sleep(1.5 * SILENCE)
    assert ends == []


def test_a_process_that_failed_ends_the_others(peer: Peer, ends: list) -> None:
    peer.say("failed")
    assert within(3 * SILENCE, lambda: ends)
    assert ends == [(0, "process 1 failed (its log says why)")]


def test_a_process_that_fails_of_the_same_cause_tells_its_own_story(peer: Peer, ends: list) -> None:
    peer.say("failed")
    time.sleep(SILENCE / 4)
    peer.watch.close("failed")
    time.sleep(1.5 * SILENCE)
    assert ends == []


def test_a_message_cut_in_two_is_put_together(peer: Peer, ends: list) -> None:
    message = json.dumps({"rank": 1, "phase": "bye"}).encode() + b"\n"
    for part in (message[:9], message[9:]):
        peer.socket.sendall(part)
        time.sleep(2 * BEAT)
    peer.socket.close()
    time.sleep(4 * BEAT)
    assert ends == []


def test_what_comes_is_told_at_once_and_then_again_and_again(peer: Peer) -> None:
    assert peer.heard()[0] == "compile"
    peer.watch.announce("train")
    assert within(SILENCE, lambda: peer.heard()[-1] == "train")
    time.sleep(5 * BEAT)
    assert set(peer.heard()) == {"train"}
    peer.watch.close()
    assert within(SILENCE, lambda: peer.heard()[-1] == "bye")


def watches(ranks: int) -> list[Watch]:
    """Real watches of several processes, as threads of this one."""
    first, made = [], [None] * ranks
    known = threading.Event()

    def gather(rank: int) -> Callable[[list[int]], list[list[int]]]:
        def exchange(values: list[int]) -> list[list[int]]:
            if rank == 0:
                first.extend(values)
                known.set()
            known.wait()
            return [first] + [values] * (ranks - 1)

        return exchange

    def make(rank: int) -> None:
        made[rank] = Watch(SimpleNamespace(rank=rank, ranks=ranks, gather=gather(rank)), SECTION)

    threads = [threading.Thread(target=make, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return made


def test_three_processes_watch_each_other_and_part_in_peace(ends: list) -> None:
    group = watches(3)
    for watch in group:
        watch.announce("train")
    time.sleep(2 * SILENCE)
    for watch in reversed(group):
        watch.close()
    time.sleep(4 * BEAT)
    assert ends == []


def test_when_one_of_three_is_stopped_the_first_says_which(ends: list) -> None:
    group = watches(3)
    for watch in group:
        watch.announce("train")
    group[2]._closing.set()  # neither beats nor listens any more, as after SIGSTOP
    assert within(4 * SILENCE, lambda: ends)
    assert ends[0][0] == 0
    assert ends[0][1].startswith("process 2 has been silent")
    for watch in group:
        watch.close()


def test_the_end_is_told_in_the_log_and_is_a_failure(peer: Peer, monkeypatch) -> None:
    codes: list[int] = []
    monkeypatch.undo()
    monkeypatch.setattr(module.os, "_exit", codes.append)
    with tiny_run.listening() as log:
        peer.watch._end("process 1 ended without a goodbye")
    assert codes == [1]
    (message,) = [record.getMessage() for record in log]
    assert message.startswith("process 0 of 2: process 1 ended without a goodbye. The job ends")
    assert "--resume" in message


def test_alone_there_is_nothing_to_do() -> None:
    alone = Parallel(ParallelSection(), "cpu")
    assert (alone.main, alone.rank, alone.ranks) == (True, 0, 1)
    assert alone.sum([0.1, 2.0]) == [0.1, 2.0]
    assert alone.gather([3]) == [[3]]
    alone.barrier()
    alone.phase("train")
    alone.close()


def test_what_msrun_says_is_read_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MS_ROLE", "MS_WORKER_NUM", "RANK_ID", "MS_NODE_ID"):
        monkeypatch.delenv(name, raising=False)
    assert (launched_rank(), launched_ranks()) == (0, 1)
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    monkeypatch.setenv("MS_WORKER_NUM", "4")
    monkeypatch.setenv("RANK_ID", "3")
    assert (launched_rank(), launched_ranks()) == (3, 4)
    monkeypatch.setenv("MS_ROLE", "MS_SCHED")
    assert (launched_rank(), launched_ranks()) == (0, 1)


def test_an_error_of_one_process_alone_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="AllReduce of nothing"), Parallel(ParallelSection(), "cpu").blaming_peers():
        raise RuntimeError("AllReduce of nothing")


# ---- real processes ----


@pytest.fixture(scope="module")
def one_batch(base: Path) -> Path:
    folder = base / "one_batch"
    ms_plm.run(base / "tiny.yaml", {**tiny_job.SETTINGS, "output.folder": str(folder)})
    return folder


@pytest.fixture(scope="module")
def two_processes(base: Path) -> Path:
    """A run by two processes; beside it `shared_out`, the same with the optimizer's state shared out."""
    folder, shared_out = base / "two_processes", base / "shared_out"
    runs = [
        tiny_job.arguments(base / "tiny.yaml", folder),
        tiny_job.arguments(base / "tiny.yaml", shared_out, **{"impl.parallel.shard_optimizer": True}),
    ]
    output = tiny_job.run_all(folder, runs, timeout=180)
    assert output.count("The model is in") <= len(runs)
    return folder


def test_accumulation_trains_as_one_big_batch(base: Path, one_batch: Path) -> None:
    folder = base / "accumulated"
    changes = {"impl.micro_batch": 2, "impl.parallel.shard_optimizer": True}  # one process: there is nothing to share
    ms_plm.run(base / "tiny.yaml", {**tiny_job.SETTINGS, "output.folder": str(folder), **changes})
    print(tiny_job.same_training(one_batch, folder))
    log = (folder / "train.log").read_text(encoding="utf-8")
    assert log.count("shard_optimizer: there is one process, which holds all moments") == 1


def test_two_processes_train_as_one(one_batch: Path, two_processes: Path) -> None:
    assert "2 processes x 1 forward x 4" in (two_processes / "train.log").read_text(encoding="utf-8")
    print(tiny_job.same_training(one_batch, two_processes))


def test_sharing_out_the_optimizer_changes_no_bit(two_processes: Path) -> None:
    shared_out = two_processes.with_name("shared_out")
    tiny_job.assert_same_bits(two_processes, shared_out)
    log = (shared_out / "train.log").read_text(encoding="utf-8")
    held, whole, most = map(float, re.search(r"in this process, (.+) of (.+) MB; at most (.+) MB", log).groups())
    assert 0.4 * whole < held <= most < 0.6 * whole


@pytest.mark.slow
def test_what_one_process_began_two_may_finish(base: Path, one_batch: Path, tmp_path: Path) -> None:
    folder = tiny_job.cut_after(5, one_batch, tmp_path / "run")
    job = tiny_job.run(base / "tiny.yaml", folder, "--resume")
    output = job.communicate(timeout=180)[0]
    assert job.returncode == 0, output + logs_of(folder)
    assert "(step 5)" in (folder / "train.log").read_text(encoding="utf-8")
    print(tiny_job.same_training(one_batch, folder))


def running_worker(job, base: Path, folder: Path) -> int:
    """The process id of worker 1 once the job trains."""
    import psutil

    assert within(150, lambda: job.poll() is not None or tiny_run.last_step(folder) >= 3)
    assert job.poll() is None, job.communicate()[0] + logs_of(folder)
    for process in psutil.Process(job.pid).children(recursive=True):
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("MS_ROLE") == "MS_WORKER" and environment.get("RANK_ID", environment["MS_NODE_ID"]) == "1":
            return process.pid
    raise AssertionError("no worker 1: " + logs_of(folder))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda n: signal.Signals(n).name)
def test_a_killed_or_stopped_process_ends_the_job_with_a_message(base: Path, tmp_path: Path, number: int) -> None:
    pytest.importorskip("psutil")
    folder = tmp_path / "run"
    job = tiny_job.run(base / "tiny.yaml", folder, **{"train.steps": 100000, "train.checkpoint": {"every": 1000}})
    worker = None
    try:
        worker = running_worker(job, base, folder)
        os.kill(worker, number)
        begun = time.monotonic()
        job.communicate(timeout=90)
        print(f"ended after {time.monotonic() - begun:.0f} s")
        assert job.returncode != 0
        assert "process 0 of 2: process 1 " in logs_of(folder)
    finally:
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        job.kill()


@pytest.mark.slow
def test_an_error_in_the_first_process_ends_the_others(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    job = tiny_job.run(base / "tiny.yaml", folder, **{"data.corpus": str(tmp_path / "nothing")})
    begun = time.monotonic()
    output = job.communicate(timeout=120)[0]
    print(f"ended after {time.monotonic() - begun:.0f} s")
    assert job.returncode != 0
    assert str(tmp_path / "nothing") in output + logs_of(folder)
