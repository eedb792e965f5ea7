"""Data parallel over processes that msrun started: who am I, sums of host numbers, and a watch over the others.

A blocked AllReduce never returns and never lets a signal handler run, so each process has a thread that exchanges
heartbeats with the first one over TCP; silence or a closed connection ends the job with a message.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import ParallelSection

log = logging.getLogger(__name__)
EXIT_CODE = 1
_BEAT_SECONDS = 1.0
_OWN_STORY_SECONDS = 5.0
"""When another process fails, this one may be about to fail of the same cause, and then says so itself."""

_COLLECTIVES = ("AllReduce", "AllGather", "Broadcast", "ollective")
"""Words in MindSpore's messages about an exchange between processes."""


def launched_ranks() -> int:
    """Number of processes of this job, from msrun's environment."""
    return int(os.environ.get("MS_WORKER_NUM", "1")) if os.environ.get("MS_ROLE") == "MS_WORKER" else 1


def launched_rank() -> int:
    """This process's number, known before the group is formed.

    Raises:
        UserError: msrun was not told which node this is, so processes cannot tell who is the first.
    """
    if launched_ranks() == 1:
        return 0
    number = os.environ.get("RANK_ID", os.environ.get("MS_NODE_ID"))
    if number is None:
        raise UserError(
            "msrun has not numbered the processes of this job. On several nodes give it --node_rank: 0 on the first, "
            "1 on the second, and so on."
        )
    return int(number)


def serve_as_scheduler() -> bool:
    """In the process that msrun starts beside the workers: bring them together until they are done.

    Returns:
        Whether this is that process; then there is nothing left to do.
    """
    if os.environ.get("MS_ROLE") != "MS_SCHED":
        return False
    import mindspore as ms
    from mindspore import communication

    ms.set_device("CPU")
    communication.init()
    return True


def join_messages(section: ParallelSection) -> None:
    """Let MindSpore's graph engine join gradients into messages of `fusion_mb` (Ascend only)."""
    import mindspore as ms

    options: dict[str, Any] = {}
    if section.fusion_mb:
        options["comm_fusion"] = {"allreduce": {"mode": "size", "config": section.fusion_mb}}
    ms.set_auto_parallel_context(parallel_mode="data_parallel", gradients_mean=False, **options)


class Parallel:
    """The group of processes; with one process everything here does nothing.

    Args:
        section: timeouts and switches.
        device: cpu, gpu or ascend.

    Raises:
        UserError: the group cannot be formed.
    """

    def __init__(self, section: ParallelSection, device: str) -> None:
        self.rank, self.ranks, self._watch = 0, launched_ranks(), None
        if self.ranks == 1:
            return
        from mindspore import communication

        try:
            communication.init()
        except (RuntimeError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(
                f"the {self.ranks} processes of this job could not find each other ({first}). Check --master_addr, a "
                "free --master_port, and the other processes' logs in msrun's --log_dir."
            ) from error
        self.rank, self.ranks = communication.get_rank(), communication.get_group_size()
        if device == "ascend":
            join_messages(section)
        try:
            self._watch = Watch(self, section)
        except OSError as error:
            raise UserError(
                f"process {self.rank} of {self.ranks} cannot watch the others: no connection to the first process "
                f"({error}). Free TCP ports must be reachable between the machines of a job."
            ) from error

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Sums over all processes, fp32 (whole numbers up to 2^24 are exact)."""
        if self.ranks == 1:
            return values
        return _collective("sum")(_tensor(np.array(values, np.float32))).asnumpy().astype(np.float64).tolist()

    def gather(self, values: list[int]) -> list[list[int]]:
        """Every process's numbers (int32), in the order of ranks."""
        return self.gather_arrays(np.array(values, np.int32)).tolist()

    def gather_arrays(self, array: np.ndarray) -> np.ndarray:
        """Every process's array `[n]` (fp32 or int32, n the same everywhere), in the order of ranks: `[ranks, n]`."""
        if self.ranks == 1:
            return array[None]
        return _collective("gather")(_tensor(array[None])).asnumpy().reshape(self.ranks, -1)

    def barrier(self) -> None:
        """Wait for all processes."""
        self.sum([1.0])

    @contextlib.contextmanager
    def blaming_peers(self) -> Iterator[None]:
        """Say what a failed collective means: MindSpore's own message names an operator, not the cause.

        Raises:
            UserError: a collective failed because another process is gone or hangs.
        """
        try:
            yield
        except RuntimeError as error:
            if self.ranks == 1 or not any(word in str(error) for word in _COLLECTIVES):
                raise
            time.sleep(3 * _BEAT_SECONDS)  # the watch knows who it was and ends the process with that
            raise UserError(
                f"process {self.rank} of {self.ranks}: another process ended or hangs, so an exchange with all failed. "
                "Its log is in msrun's --log_dir. The newest checkpoint is good: start again with --resume."
            ) from error

    def phase(self, name: str) -> None:
        """Tell the others what comes: `compile` and `save` may be silent for long, `train` may not."""
        if self._watch is not None:
            self._watch.announce(name)

    def close(self, failed: bool = False) -> None:
        """Leave without being taken for dead, or, after an error, so that the others do not wait for ever."""
        if self._watch is not None:
            self._watch.close("failed" if failed else "bye")
            self._watch = None


_cells: dict[str, Any] = {}


def _collective(name: str):
    from mindspore import nn, ops

    if name not in _cells:

        class Collective(nn.Cell):
            """AllReduce or AllGather as a compiled cell."""

            def __init__(self) -> None:
                super().__init__()
                self.operation = ops.AllReduce() if name == "sum" else ops.AllGather()

            def construct(self, values):
                return self.operation(values)

        _cells[name] = Collective()
    return _cells[name]


def _tensor(array: np.ndarray):
    from mindspore import Tensor

    return Tensor(array)


def _own_address(scheduler: str) -> list[int]:
    """The four bytes of the IPv4 address under which others of the job reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((scheduler, 1))  # sends nothing: the system chooses the interface
        return list(socket.inet_aton(probe.getsockname()[0]))


class Watch:
    """Heartbeats between the first process and each other one.

    Args:
        group: has rank, ranks and gather.
        section: timeouts.
    """

    def __init__(self, group: Parallel, section: ParallelSection) -> None:
        self.rank, self.ranks = group.rank, group.ranks
        patient = section.compile_timeout_seconds  # compiling or writing gigabytes may hold Python's lock for long
        self.limits = {"train": section.timeout_seconds, "compile": patient, "save": patient}
        self._phase, self._closing = "compile", threading.Event()
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()
        host = os.environ.get("MS_SCHED_HOST", "127.0.0.1")
        listener = socket.create_server(("", 0)) if self.rank == 0 else None
        own = [listener.getsockname()[1], *_own_address(host)] if listener else [0] * 5
        port, *address = group.gather(own)[0]
        if listener:
            listener.settimeout(section.timeout_seconds)
            self._connections = [listener.accept()[0] for _ in range(self.ranks - 1)]
            listener.close()
        else:
            peer = ".".join(map(str, address))
            self._connections = [socket.create_connection((peer, port), timeout=section.timeout_seconds)]
        for connection in self._connections:
            self._send(connection)
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def announce(self, phase: str) -> None:
        """Tell the others at once."""
        self._phase = phase
        for connection in self._connections:
            self._send(connection)

    def close(self, last_word: str = "bye") -> None:
        """Say goodbye, or `failed`, upon which the others end too."""
        self._closing.set()
        self._phase = last_word
        for connection in self._connections:
            self._send(connection)

    def _send(self, connection: socket.socket) -> None:
        message = json.dumps({"rank": self.rank, "phase": self._phase}).encode() + b"\n"
        with self._lock:
            try:
                connection.sendall(message)
            except OSError:
                return  # the listening thread reports a lost connection

    def _beat(self) -> None:
        while not self._closing.wait(_BEAT_SECONDS):
            for connection in self._connections:
                self._send(connection)

    def _listen(self, connection: socket.socket) -> None:
        """Follow one peer: time out by what it last said it was doing."""
        peer, phase, buffer, heard = "?", "compile", b"", time.monotonic()
        connection.settimeout(_BEAT_SECONDS)
        while not self._closing.is_set():
            try:
                data = connection.recv(4096)
                if not data:
                    return self._end(f"process {peer} ended without a goodbye")
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    peer, phase = message["rank"], message["phase"]
                heard = time.monotonic()
                if phase == "bye":
                    return None
                if phase == "failed" and not self._closing.wait(_OWN_STORY_SECONDS):
                    return self._end(f"process {peer} failed (its log says why)")
            except TimeoutError:
                silent = time.monotonic() - heard
                if silent > self.limits.get(phase, self.limits["train"]):
                    return self._end(f"process {peer} has been silent for {silent:.0f} s while in phase {phase!r}")
            except OSError as error:
                return self._end(f"the connection to process {peer} broke ({error})")
        return None

    def _end(self, what: str) -> None:
        if self._closing.is_set():
            return
        text = (
            f"process {self.rank} of {self.ranks}: {what}. The job ends; the newest checkpoint is good. "
            "Start it again with --resume."
        )
        log.error(text)
        for handler in logging.getLogger("ms_plm").handlers:
            handler.flush()
        os._exit(EXIT_CODE)  # the main thread may hang in a collective: nothing gentler ends it
