"""What has to be in order on this machine before a job starts; everything that is wrong is found at once."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ms_plm.cli.doctor import REQUIRED, version_problem
from ms_plm.common.releases import cann_release
from ms_plm.config.distillation import DistillMethod
from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.data.updates import sizes_that_would_do
from ms_plm.training.hardware import missing_for_ascend
from ms_plm_ascend.launch.job import Job

CANN_RELEASES = ("8.2", "8.3", "8.5", "9.0", "9.1")
"""What MindSpore 2.10 says it fits (its run_check/_check_version.py)."""
DRIVER_FILES = ("/dev/devmm_svm", "/dev/hisi_hdc")
"""Beside /dev/davinci_manager, what a process needs of the driver; containers are often started without."""
DRIVER_VERSION = "/usr/local/Ascend/driver/version.info"
PORTS = (1024, 65535)


def problems(job: Job, resume: bool, overwrite: bool, root: Path = Path("/")) -> list[str]:
    """Everything that would stop this job on this machine, each with its remedy.

    Args:
        resume, overwrite: how the run is started.
        root: of the file system, for what is told from fixed places.
    """
    found = _software(job) + _network(job) + _data(job.recipe) + _folder(job, resume, overwrite)
    if job.device == "ascend":
        found += _devices(job, root)
    micro_batch = job.recipe.impl.micro_batch or max(1, job.recipe.train.batch // job.processes)
    if job.recipe.train.batch % (micro_batch * job.processes):
        found.append(sizes_that_would_do(job.recipe.train.batch, micro_batch, job.processes))
    return found


def _devices(job: Job, root: Path) -> list[str]:
    missing = missing_for_ascend()
    found = [f"{text}. `source /usr/local/Ascend/ascend-toolkit/set_env.sh` sets CANN up" for text in missing]
    present = [path for path in _below(root, "/dev").glob("davinci[0-9]*") if path.name[7:].isdigit()]
    visible = [part for part in os.environ.get("ASCEND_RT_VISIBLE_DEVICES", "").split(",") if part.strip()]
    usable = min(len(present), len(visible)) if visible else len(present)
    if present and usable < job.devices:
        limit = " (ASCEND_RT_VISIBLE_DEVICES)" if usable < len(present) else ""
        found.append(f"--devices {job.devices}: this machine has {usable}{limit}")
    if present:
        absent = [name for name in DRIVER_FILES if not _below(root, name).exists()]
        if absent:
            found.append(f"the driver's {', '.join(absent)} is not there (in a container: pass it in with --device)")
        if not _below(root, DRIVER_VERSION).is_file():
            found.append(f"{DRIVER_VERSION}: missing (in a container: mount /usr/local/Ascend/driver)")
    release = cann_release()
    if release and ".".join(release.split(".")[:2]) not in CANN_RELEASES:
        found.append(f"CANN {release}: MindSpore 2.10 is made for {', '.join(CANN_RELEASES)}; install one of them")
    return found


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _software(job: Job) -> list[str]:
    found = []
    for name in REQUIRED:
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = None
        if problem := version_problem(name, installed):
            found.append(f"{name}: {problem}")
    if not (shutil.which(job.msrun) or Path(job.msrun).is_file()):
        found.append("msrun is not on PATH and not beside this Python; it comes with MindSpore: pip install mindspore")
    folder = Path(sys.executable).parent
    if not (folder / "python").exists():
        found.append(f"{folder}: holds no program called `python`, the one name that msrun starts; make a link to it")
    if job.binding and not shutil.which("taskset"):
        found.append("taskset is not installed, with which msrun binds processes to cores: install it, or --bind none")
    return found


def _network(job: Job) -> list[str]:
    found = []
    try:
        address = socket.getaddrinfo(job.master, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        return [f"--master-addr {job.master}: not an address and not a name that this machine knows ({error})"]
    if job.nodes > 1 and address.startswith("127."):
        found.append(
            f"--master-addr {job.master} is {address} here, which other machines cannot reach. Give the address of its "
            "network, or mend /etc/hosts"
        )
    if not PORTS[0] <= job.port <= PORTS[1]:
        found.append(f"--master-port {job.port}: expected a number from {PORTS[0]} to {PORTS[1]}")
    elif job.rank == 0 and not port_free(job.port):
        found.append(f"--master-port {job.port} is in use on this machine. Give another, the same on all machines")
    return found


def port_free(port: int) -> bool:
    """Whether a scheduler could listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


Wanted = tuple[str, str, str]  # key of a recipe, what it names, a file that must be inside


def _of_pretraining(recipe: Recipe) -> list[Wanted]:
    data, wanted = recipe.data, []
    if data.corpus:
        wanted.append(("data.corpus", data.corpus, "manifest.json"))
    if data.mindrecord:
        wanted.append(("data.mindrecord", data.mindrecord, ""))
    for section in data.text or ():
        wanted += [("data.text.files", name, "") for name in section.files]
    if data.tokenizer:
        wanted.append(("data.tokenizer", data.tokenizer, ""))
    if recipe.evaluate.corpus:
        wanted.append(("evaluate.corpus", recipe.evaluate.corpus, "manifest.json"))
    return wanted


def _of_finetuning(recipe: Recipe) -> list[Wanted]:
    data = recipe.data
    if data.folder:
        return [("data.folder", data.folder, "")]
    files = (("train", data.own.train), ("dev", data.own.dev), ("test", data.own.test))
    return [(f"data.own.{name}", file, "") for name, file in files if file]


_OF_DATA = {
    "pretrain": _of_pretraining,
    "general_distill": _of_pretraining,
    "finetune": _of_finetuning,
    "task_distill": _of_finetuning,
    "elastic": _of_finetuning,
}


def _data(recipe: Recipe) -> list[str]:
    if recipe.kind not in _OF_DATA:
        return [f"{recipe.name}: recipes of kind {recipe.kind} start their processes themselves; use ms-plm run"]
    wanted, found = _OF_DATA[recipe.kind](recipe), []
    teacher = recipe.method.teacher if isinstance(recipe.method, (DistillMethod, ElasticMethod)) else None
    if teacher is not None:
        wanted.append(("method.teacher.from", teacher.from_, "config.json"))
    if recipe.model.from_:
        wanted.append(("model.from", recipe.model.from_, "config.json"))
    for key, value, inside in wanted:
        path = place(value) / inside
        if not path.exists():
            found.append(f"{key} {value}: no {path} on this machine; every machine has to see it under the same path")
    return found


def _folder(job: Job, resume: bool, overwrite: bool) -> list[str]:
    folder = job.folder
    above = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    found = []
    if not os.access(above, os.W_OK):
        found.append(f"output.folder {folder}: {above} may not be written to")
    exists = folder.is_dir() and any(folder.iterdir())
    if resume and not exists:
        found.append(
            f"--resume: there is no run in {folder} on this machine. Start without --resume; with several machines it "
            "has to be on a disk that all share"
        )
    elif exists and not resume and not overwrite and job.rank == 0:  # the others may come when the first has made it
        found.append(f"{folder}: this run folder exists. Continue it with --resume, or start anew with --overwrite")
    return found
