"""`ms-plm doctor`: what this machine and this installation can do, and what is missing."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from ms_plm import __version__

NAME = "doctor"
HELP = "check versions, extras, CPU and devices, and carry out a small training step"
EPILOG = """\
examples:
  ms-plm doctor
  ms-plm doctor --quick        without opening devices and without the training step

Exit code 1: something that training needs is missing or broken.
"""

REQUIRED = {"mindspore": ((2, 10), (2, 11)), "numpy": ((1, 25), (2, 0))}
"""Package -> first version that works and first that does not."""
OTHERS = ("pydantic", "PyYAML", "safetensors", "tokenizers", "sentencepiece", "onnx", "scikit-learn", "tqdm")
EXTRAS = {
    "zh": (("rjieba",), "Chinese words for whole-word masking"),
    "runtime": (("onnxruntime",), "running exported ONNX files"),
    "viz": (("tensorboardX", "matplotlib"), "TensorBoard and pictures"),
    "probing": (("conllu",), "treebanks"),
}
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MS_DEV_RUNTIME_CONF")
OPEN_DEVICE = """\
from ms_plm.config.recipe import ImplSection
from ms_plm.training.hardware import open_device
print(open_device(ImplSection(device={name!r})).description)
"""
SMALL_STEP = "from ms_plm.training.selftest import small_step; print(small_step())"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="only what needs no MindSpore process")


def run(args: argparse.Namespace) -> int:
    healthy = _versions()
    _extras()
    _machine()
    if not args.quick:
        healthy &= _devices()
        healthy &= _training_step()
    print("\nall that training needs is here" if healthy else "\nsomething that training needs is missing: see above")
    return 0 if healthy else 1


def _line(label: str, state: str, text: str) -> None:
    print(f"  {label:<16} {state:<8} {text}")


def _versions() -> bool:
    print(f"ms_plm {__version__}, Python {platform.python_version()}, {platform.platform()}")
    healthy = (3, 10) <= sys.version_info[:2] <= (3, 12)
    if not healthy:
        _line("python", "WRONG", "MindSpore 2.10 runs on Python 3.10 to 3.12")
    for name in REQUIRED:
        problem = version_problem(name, _version(name))
        healthy &= not problem
        _line(name, "WRONG" if problem else "ok", problem or _version(name))
    for name in OTHERS:
        found = _version(name)
        healthy &= found is not None
        _line(name, "ok" if found else "MISSING", found or f"pip install {name}")
    return healthy


def version_problem(name: str, found: str | None) -> str:
    """What is wrong with the version of a required package, and the remedy; empty if nothing is."""
    low, high = (".".join(map(str, bound)) for bound in REQUIRED[name])
    wanted = f"{name}>={low},<{high}"
    if found is None:
        return f"not installed: pip install '{wanted}'"
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if REQUIRED[name][0] <= numbers < REQUIRED[name][1]:
        return ""
    why = "; MindSpore is compiled against NumPy 1 and breaks in several places with 2" if name == "numpy" else ""
    return f"{found} does not fit{why}: pip install '{wanted}'"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extras() -> None:
    print("extras")
    for extra, (packages, purpose) in EXTRAS.items():
        absent = [name for name in packages if _version(name) is None]
        text = f"for {purpose}: pip install {' '.join(absent)}" if absent else purpose
        _line(extra, "absent" if absent else "ok", text)


def _machine() -> None:
    from ms_plm.training.hardware import cores, cpu_features

    model, flags = cpu_features()
    print("processor")
    _line("model", "", model)
    _line("cores", "", f"{cores()} for this process")
    _line("features", "", " ".join(name for name in FEATURES if name in flags) or "none of those that are used")
    _line("threads", "", " ".join(f"{name}={os.environ[name]}" for name in THREADS if name in os.environ) or "defaults")


def _devices() -> bool:
    from ms_plm.training.hardware import MISSING

    print("devices")
    healthy = True
    for name, missing_for in MISSING.items():
        missing = missing_for()
        if missing:
            _line(name, "absent", "; ".join(missing))
            continue
        works, text = _in_child(OPEN_DEVICE.format(name=name))
        healthy &= works
        _line(name, "ok" if works else "BROKEN", text)
    return healthy


def _training_step() -> bool:
    print("a small training step")
    works, text = _in_child(SMALL_STEP)
    _line("nezha", "ok" if works else "BROKEN", text)
    return works


def _in_child(code: str, seconds: int = 300) -> tuple[bool, str]:
    """Run Python code in a process of its own, which may die: whether it ended well, and its last line."""
    environment = {**os.environ, "GLOG_v": "3", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        child = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {seconds} s"
    lines = [line for line in (child.stdout if child.returncode == 0 else child.stderr).splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "no output"
    return child.returncode == 0, last if child.returncode >= 0 else f"killed by signal {-child.returncode}: {last}"
