"""Opening the device that a recipe asks for: which one, why, and what is missing where it cannot be opened.

What is on the machine is told from files and nvcc, before MindSpore is asked: a failed attempt prints pages and loads
libraries.
MindSpore is imported inside functions only.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from ms_plm.common.errors import UserError
from ms_plm.common.processor import cpu_description
from ms_plm.config.chips import CHIPS, chip_of
from ms_plm.config.precision import DTYPES
from ms_plm.config.recipe import ImplSection

log = logging.getLogger(__name__)

DeviceName = Literal["cpu", "gpu", "ascend"]
_TARGETS = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}
_JIT_LEVELS = {"cpu": "O0", "gpu": "O0", "ascend": "O1"}
"""O1 fuses elementwise work on Ascend; on CPU it gains nothing. (O2 is deprecated since MindSpore 2.9.)"""

CUDA_LIBRARIES = {
    "libcublas.so.11": "nvidia-cublas-cu11",
    "libcurand.so.10": "nvidia-curand-cu11",
    "libcudnn.so.8": "nvidia-cudnn-cu11",
    "libcudart.so.11.0": "nvidia-cuda-runtime-cu11",
    "libcusolver.so.11": "nvidia-cusolver-cu11",
    "libcufft.so.10": "nvidia-cufft-cu11",
    "libcusparse.so.11": "nvidia-cusparse-cu11",
    "libnvrtc.so.11.2": "nvidia-cuda-nvrtc-cu11",
}
"""What MindSpore's GPU plugin loads beside the driver -> the package on PyPI that brings it (the extra `gpu`)."""
CUDA_RELEASES = ((11, 6), (12, 0))
"""First release of CUDA for which MindSpore takes the plugin that loads these libraries, and first that has none."""
SIMULATED_SOC = "MS_PLM_SIMULATED_SOC"
"""Environment variable: the chip that a compilation without hardware is for, such as Ascend910B2."""
GPU_INSTALL = "`pip install '.[gpu]'` in the project's folder"
GPU_ENVIRONMENT = '`eval "$(ms-plm env gpu)"`'


@dataclass(frozen=True)
class Device:
    """An opened device."""

    name: DeviceName
    description: str
    jit_level: str
    chip: str | None = None
    """Ascend only: 910A, 910B1 ... 910B4, 910C, 310P."""
    peak_flops: dict[str, float] = field(default_factory=dict)
    """FLOP/s by compute type (`float16`, `bfloat16`); empty where unknown."""


def open_device(impl: ImplSection) -> Device:
    """Open the device of `impl.device` in graph mode and say which one it is and why.

    `auto` takes the first of ascend, gpu and cpu that this machine can open.

    Raises:
        UserError: the device cannot be opened; the message names what is missing and how to get it.
    """
    if impl.device != "auto":
        device = _open(impl.device, impl.jit_level)
        log.info("device: %s (asked for by impl.device)", device.description)
        return device
    reasons = []
    for name in ("ascend", "gpu"):
        missing = MISSING[name]()
        if missing:
            reasons.append(missing[0])
            continue
        try:
            device = _open(name, impl.jit_level)
        except UserError as error:
            reasons.append(str(error))
            continue
        log.info("device: %s (impl.device auto: found)", device.description)
        return device
    device = _open("cpu", impl.jit_level)
    log.info("device: %s (impl.device auto; %s)", device.description, "; ".join(reasons))
    return device


def settle_threads() -> None:
    """Let OpenMP's threads sleep while they wait: about 5 % faster steps where cores are shared.

    It is read when OpenMP is loaded, so this does nothing once MindSpore is imported; a value of the user's own stays.
    The command line and `ms_plm.load`, `save` and `run` settle it in time.
    """
    if "mindspore" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _open(name: DeviceName, jit_level: str | None) -> Device:
    missing = MISSING[name]()
    if missing:
        raise UserError(f"impl.device: {name} cannot be opened: {'; '.join(missing)}. {_REMEDIES[name]}")
    settle_threads()
    import mindspore as ms

    level = jit_level or _JIT_LEVELS[name]
    try:
        ms.set_device(_TARGETS[name])
    except RuntimeError as error:
        reason = str(error).split("\n\n---")[0].strip()
        if "can not be modified" in reason:
            raise UserError(
                f"impl.device: {name} cannot be opened: this process already uses another device. Start a new one."
            ) from error
        raise UserError(f"impl.device: {name} cannot be opened: {reason} {_REMEDIES[name]}") from error
    ms.set_context(mode=ms.GRAPH_MODE, jit_config={"jit_level": level})
    if name == "cpu":
        return Device(name, cpu_description(), level)
    # a simulated device counts as none, so it has no name to ask for
    model = os.environ.get(SIMULATED_SOC) or ms.hal.get_device_name(0, _TARGETS[name])
    chip = chip_of(model) if name == "ascend" else None
    return Device(name, model, level, chip, peak_flops(chip))


def peak_flops(chip: str | None) -> dict[str, float]:
    """Peak FLOP/s of an Ascend chip by compute type; empty where unknown."""
    if chip is None:
        return {}
    return {DTYPES[name]: CHIPS[chip].tflops * 1e12 for name in CHIPS[chip].types}


def missing_for_cpu() -> list[str]:
    """Nothing: MindSpore always opens the CPU."""
    return []


def missing_for_ascend() -> list[str]:
    """What an Ascend device needs and this machine lacks, told from files; the device itself first."""
    if os.environ.get("MS_SIMULATION_LEVEL"):
        return []  # a dry run without hardware
    missing = []
    if not any(Path("/dev").glob("davinci[0-9]*")):
        missing.append("no Ascend device (no /dev/davinci*)")
    elif not Path("/dev/davinci_manager").exists():
        missing.append("the driver's /dev/davinci_manager is not there (in a container: pass it in)")
    homes = [os.environ.get(name) for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")]
    if not any(home and Path(home).is_dir() for home in homes):
        missing.append("CANN is not set up (ASCEND_HOME_PATH names no folder)")
    elif not loadable("libascendcl.so"):
        missing.append("libascendcl.so is not on LD_LIBRARY_PATH")
    return missing


def missing_for_gpu() -> list[str]:
    """What the GPU plugin needs and this machine lacks; the device itself first."""
    missing = []
    if not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/dxg").exists():
        missing.append("no NVIDIA device (no /dev/nvidia*)")
    if not loadable("libcuda.so.1"):
        missing.append("the driver's libcuda.so.1 is not found")
    absent = [name for name in CUDA_LIBRARIES if not loadable(name)]
    installed = cuda_folders() if absent else {}
    if lacking := [name for name in absent if name not in installed]:
        missing.append(f"not installed: {', '.join(lacking)} ({GPU_INSTALL})")
    if hidden := [name for name in absent if name in installed]:
        missing.append(f"installed, but not on LD_LIBRARY_PATH: {', '.join(hidden)} ({GPU_ENVIRONMENT})")
    if not has_plugin(nvcc_release(os.environ.get("CUDA_HOME", ""))):
        low, high = (".".join(map(str, bound)) for bound in CUDA_RELEASES)
        missing.append(
            f"CUDA_HOME names no folder whose bin/nvcc says release {low} or later, below {high}, by which MindSpore "
            f"chooses its plugin ({GPU_ENVIRONMENT})"
        )
    return missing


def cuda_folders() -> dict[str, Path]:
    """The libraries of `CUDA_LIBRARIES` that packages of this environment bring, each with its folder."""
    found = {}
    for library, package in CUDA_LIBRARIES.items():
        try:
            files = distribution(package).files or ()
        except PackageNotFoundError:
            continue
        for path in (Path(file.locate()).absolute() for file in files if file.name == library):
            if path.is_file():
                found[library] = path.parent
    return found


def nvcc_release(home: str | os.PathLike) -> tuple[int, int] | None:
    """The release that a folder's `bin/nvcc` gives as its own, such as (11, 6); None where there is no answer."""
    if not home:
        return None
    try:
        answer = subprocess.run([Path(home) / "bin" / "nvcc", "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"Cuda compilation tools, release (\d+)\.(\d+),", answer.stdout)
    return (int(found.group(1)), int(found.group(2))) if found else None


def has_plugin(release: tuple[int, int] | None) -> bool:
    """Whether MindSpore has a GPU plugin for a release of CUDA that loads the libraries of `CUDA_LIBRARIES`."""
    return release is not None and CUDA_RELEASES[0] <= release < CUDA_RELEASES[1]


MISSING: dict[str, Callable[[], list[str]]] = {
    "cpu": missing_for_cpu,
    "gpu": missing_for_gpu,
    "ascend": missing_for_ascend,
}
_REMEDIES = {
    "cpu": "Reinstall MindSpore.",
    "gpu": "README.md, `On a GPU`, has the commands to give before the start. Or set impl.device=cpu.",
    "ascend": "Install the Ascend driver and CANN of the version that MindSpore 2.10 asks for, then run `source "
    "/usr/local/Ascend/ascend-toolkit/set_env.sh` in this shell. Or set impl.device=cpu.",
}


def loadable(name: str) -> bool:
    """Whether the dynamic loader would find a library: LD_LIBRARY_PATH, its cache, or folders that are always tried."""
    folders = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    # the driver's in containers and under Windows; the GPU plugin's own search path
    folders += ["/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", "/usr/local/cuda/lib64"]
    if any((Path(folder) / name).exists() for folder in folders):
        return True
    try:
        cache = Path("/etc/ld.so.cache").read_bytes()  # names end in a zero byte, alone or as the tail of a path
    except OSError:
        return False
    return any(before + name.encode() + b"\0" in cache for before in (b"\0", b"/"))
