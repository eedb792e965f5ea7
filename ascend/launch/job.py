"""What is started: a recipe on so many devices of so many machines, and the msrun command and environment for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ms_plm.config.recipe import Recipe

PORT = 8118
"""msrun's own default."""
CLUSTER_SECONDS = 600
"""How long processes wait for each other when a job forms; a machine may still be starting."""
CONNECT_SECONDS = 600
"""HCCL_CONNECT_TIMEOUT: the first exchange waits for the slowest compilation before it; CANN's 120 s are short."""
EXECUTE_SECONDS = (68, 17340)
"""Least and largest HCCL_EXEC_TIMEOUT that CANN takes."""
RUN_MODULE = ("-m", "ms_plm", "run")


@dataclass(frozen=True)
class Job:
    """A job as this machine has to start its part of it.

    Attributes:
        name: of the recipe, as given.
        overrides: `key=value`, as given.
        recipe: the same, checked.
        device: ascend or cpu.
        devices: processes of each machine.
        nodes: machines.
        rank: number of this machine, from 0.
        master: address of machine 0.
        port: of its scheduler.
        logs: folder of logs; an attempt has its own in it.
        hccl: settings asked for, by variable.
        binding: value of msrun's `--bind_core`; empty: none.
        msrun: the program.
        added: overrides that the launcher adds, each with its reason.
    """

    name: str
    overrides: tuple[str, ...]
    recipe: Recipe
    device: str
    devices: int
    nodes: int = 1
    rank: int = 0
    master: str = "127.0.0.1"
    port: int = PORT
    logs: Path = Path("msrun_log")
    hccl: Mapping[str, str] = field(default_factory=dict)
    binding: str = ""
    msrun: str = "msrun"
    added: Mapping[str, str] = field(default_factory=dict)

    @property
    def processes(self) -> int:
        """Of the whole job."""
        return self.nodes * self.devices

    @property
    def folder(self) -> Path:
        """The run folder, as `ms-plm run` decides it."""
        return run_folder(self.recipe)


def run_folder(recipe: Recipe) -> Path:
    """Where a recipe's run goes."""
    return Path(recipe.output.folder or f"runs/{recipe.name}")


def attempt_folder(job: Job, attempt: int) -> Path:
    """Where msrun writes the logs of an attempt: scheduler.log, worker_0.log ..."""
    return job.logs / f"attempt-{attempt:02d}"


def command(job: Job, attempt: int, flags: tuple[str, ...] = ()) -> list[str]:
    """The msrun command line of this machine.

    Args:
        flags: of `ms-plm run`: `--resume` or `--overwrite`.
    """
    words = [
        job.msrun,
        f"--worker_num={job.processes}",
        f"--local_worker_num={job.devices}",
        f"--master_addr={job.master}",
        f"--master_port={job.port}",
        f"--node_rank={job.rank}",
        f"--log_dir={attempt_folder(job, attempt)}",
        f"--cluster_time_out={CLUSTER_SECONDS}",
        "--join=True",
        f"--tail_worker_log={job.rank * job.devices}",  # by its number in the job; all of them would be a babel
    ]
    if job.binding:
        words.append(f"--bind_core={job.binding}")
    # msrun starts programs called `python` and nothing else
    return [*words, "python", *RUN_MODULE, job.name, *job.overrides, *job.added, *flags]


def environment(job: Job, present: Mapping[str, str]) -> dict[str, str]:
    """Variables that a job needs beyond those present; a value of the user's own stays.

    What was asked for on the command line goes before both.
    """
    wanted = {"GLOG_v": "3"}  # msrun's own words and errors; MindSpore's compiler warns by the page
    if job.device == "ascend":
        wanted["HCCL_CONNECT_TIMEOUT"] = str(CONNECT_SECONDS)
        wanted["HCCL_EXEC_TIMEOUT"] = str(execute_seconds(job.recipe))
    chosen = {name: value for name, value in wanted.items() if name not in present}
    return {**chosen, **job.hccl}


def python_folder(path: str) -> str | None:
    """What has to stand first in PATH, so that msrun's `python` is this one; None: nothing."""
    folder = Path(sys.executable).parent
    return None if shutil.which("python", path=path) == str(folder / "python") else str(folder)


def execute_seconds(recipe: Recipe) -> int:
    """HCCL_EXEC_TIMEOUT: how long a device waits for the others inside an exchange.

    Our own watch between processes ends a job whose process died within `impl.parallel.timeout_seconds`, and knows when
    one only compiles or writes a checkpoint. HCCL does not, so it must be the more patient of the two.
    """
    low, high = EXECUTE_SECONDS
    return min(high, max(low, 2 * recipe.impl.parallel.compile_timeout_seconds))
