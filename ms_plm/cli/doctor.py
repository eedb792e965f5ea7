"""`ms-plm doctor`: what this machine and this installation can do, and what is missing."""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version

from ms_plm import __version__
from ms_plm.cli.doctor_chip import describe
from ms_plm.cli.doctor_kernels import NATIVE, TABLE

NAME = "doctor"
HELP = "check versions, extras, CPU, devices and kernels, and carry out a small training step"
EPILOG = """\
examples:
  ms-plm doctor
  ms-plm doctor --quick             without opening devices, the table of kernels and the training step
  ms-plm doctor --precision bf16    which kernels a run with impl.precision=bf16 gets, and why
  ms-plm doctor --quick --build     build the native CPU operations now, as for an image without a compiler
  ms-plm doctor --soc Ascend910B3   what that chip computes in, from tables: no device is needed

Exit code 1: something that training needs is missing or broken, or what --build asks for.
"""

REQUIRED = {"mindspore": ((2, 10), (2, 11)), "numpy": ((1, 25), (2, 0))}
"""Package -> first version that works and first that does not."""
OTHERS = ("pydantic", "PyYAML", "safetensors", "tokenizers", "sentencepiece", "onnx", "scikit-learn", "tqdm")
EXTRAS = {
    "zh": (("rjieba",), "Chinese words for whole-word masking"),
    "runtime": (("onnxruntime",), "running exported ONNX files"),
    "viz": (("tensorboardX", "matplotlib"), "TensorBoard and pictures"),
    "probing": (("conllu",), "treebanks"),
    "torch": (("torch",), "converting PyTorch files"),
    "tf": (("tensorflow",), "converting TensorFlow checkpoints"),
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
    parser.add_argument("--build", action="store_true", help="build the native CPU operations ahead of their first use")
    parser.add_argument("--soc", metavar="NAME", help="only describe an Ascend chip: precision, overflow, peak, memory")
    table = parser.add_argument_group("the table of kernels")
    table.add_argument("--device", choices=("cpu", "gpu", "ascend"), help="default: what impl.device=auto takes here")
    table.add_argument("--precision", choices=("fp32", "fp16", "bf16"), default="fp32", help="default: fp32")


def run(args: argparse.Namespace) -> int:
    if args.soc:
        print("\n".join(describe(args.soc)))
        return 0
    healthy = _versions()
    _extras()
    _machine()
    native = _native() if args.build or not args.quick else False
    if not args.quick:
        opened, works = _devices()
        healthy &= works
        healthy &= _kernels(args.device or opened, args.precision)
        healthy &= _training_step()
    print("\nall that training needs is here" if healthy else "\nsomething that training needs is missing: see above")
    if args.build and not native:
        print("the native CPU operations that --build asks for are not there: see above")
        return 1
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
    from ms_plm.common.processor import cores, cpu_features

    model, flags = cpu_features()
    print("processor")
    _line("model", "", model)
    _line("cores", "", f"{cores()} for this process")
    _line("features", "", " ".join(name for name in FEATURES if name in flags) or "none of those that are used")
    _line("threads", "", " ".join(f"{name}={os.environ[name]}" for name in THREADS if name in os.environ) or "defaults")


def _native() -> bool:
    """The native CPU operations, built if they are not yet there; training does without them, slower."""
    works, lines = _in_child(NATIVE, seconds=900)
    state, text = lines[-2:] if works else ("BROKEN", lines[-1])
    _line("native ops", state, text)
    return state == "ok"


def _devices() -> tuple[str, bool]:
    """The device that `impl.device=auto` takes, and whether all that are there can be opened."""
    from ms_plm.training.hardware import MISSING

    print("devices")
    opened, healthy = [], True
    for name, missing_for in MISSING.items():
        missing = missing_for()
        if missing:
            _line(name, "absent", "; ".join(missing))
            continue
        works, lines = _in_child(OPEN_DEVICE.format(name=name))
        healthy &= works
        opened += [name] if works else []
        _line(name, "ok" if works else "BROKEN", lines[-1])
    return next((name for name in ("ascend", "gpu") if name in opened), "cpu"), healthy


def _kernels(device: str, precision: str) -> bool:
    print(f"kernels (training on {device} in {precision})")
    works, lines = _in_child(TABLE.format(device=device, precision=precision))
    if works:
        print("\n".join(lines))
    else:
        _line("table", "BROKEN", lines[-1])
    return works


def _training_step() -> bool:
    print("a small training step")
    works, lines = _in_child(SMALL_STEP)
    _line("nezha", "ok" if works else "BROKEN", lines[-1])
    return works


def _in_child(code: str, seconds: int = 300) -> tuple[bool, list[str]]:
    """Run Python code in a process of its own, which may die.

    Returns:
        Whether it ended well, and the lines that it printed, or the one that says what went wrong.
    """
    environment = {**os.environ, "GLOG_v": "3", "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    command = [sys.executable, "-c", code]
    with tempfile.TemporaryDirectory() as folder:  # a failed compile drops files where it stands
        try:
            child = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, env=environment, cwd=folder
            )
        except subprocess.TimeoutExpired:
            return False, [f"no answer within {seconds} s"]
    works = child.returncode == 0
    lines = [line.rstrip() for line in (child.stdout if works else child.stderr).splitlines() if line.strip()]
    lines = lines or ["no output"]
    if works:
        return True, lines
    killed = f"killed by signal {-child.returncode}: " if child.returncode < 0 else ""
    errors = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception): ", line)]
    return False, [killed + (errors or lines)[-1].strip()]  # MindSpore ends on where to read more
