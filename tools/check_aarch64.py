"""Do the native operations compute on aarch64 what their tests expect? Compiles them for it and emulates the tests.

Needs Debian, its package server and PyPI, and two packages; no root beyond them, nothing of the system is changed:

    apt-get install g++-aarch64-linux-gnu qemu-user-static
    python tools/check_aarch64.py                                 # 3 to 5 minutes
    python tools/check_aarch64.py -- -k attention -m slow         # what follows -- goes to pytest

1. Fetches Python and its libraries as Debian packages, and what the tests need as wheels, all for aarch64, once,
   into --folder (165 MB).
2. Compiles ms_plm/kernels/native/src with build.py's flags; a warning is an error.
3. Runs the tests of tests/kernels/native in QEMU. MindSpore's oneDNN is not there: matrix products are NumPy's.

Exit code: that of pytest, or 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.common.files import default_cache_folder
from ms_plm.kernels.native import build

ROOT = Path(__file__).resolve().parents[1]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1")
WHEELS = ("numpy<2", "pydantic", "pytest", "hypothesis")
TESTS = tuple(
    f"tests/kernels/native/test_{name}.py" for name in ("linear", "normalization", "loss", "attention", "optimizer")
)


def fetch_system(folder: Path) -> None:
    """Unpack Python and what it needs into a folder, with an apt that knows nothing but aarch64."""
    with tempfile.TemporaryDirectory() as state:
        for name in ("lists/partial", "archives/partial"):
            (Path(state) / name).mkdir(parents=True)
        status = Path(state) / "status"
        status.touch()
        settings = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "true",
            "Dir::State": state,
            "Dir::State::status": status,
            "Dir::Cache": state,
        }
        apt = ["apt-get", "-qq", *(part for key, value in settings.items() for part in ("-o", f"{key}={value}"))]
        subprocess.run([*apt, "update"], check=True)
        subprocess.run([*apt, "--yes", "--download-only", "install", *PACKAGES], check=True)
        for package in sorted((Path(state) / "archives").glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, folder], check=True)


def python_of(system: Path) -> Path:
    """The interpreter in an unpacked system, such as usr/bin/python3.11."""
    return next((system / "usr/bin").glob("python3.*"))


def fetch_wheels(folder: Path, version: str) -> None:
    """Unpack Python packages for aarch64 and a version of Python, such as 3.11, into a folder."""
    platform = ["--platform", "manylinux2014_aarch64", "--python-version", version, "--only-binary=:all:"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    subprocess.run([*pip, *platform, *WHEELS], check=True)


def fetch(folder: Path) -> None:
    """Everything that is not of this project; nothing is left behind where a part cannot be had."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        whole = Path(temporary) / folder.name
        whole.mkdir()
        fetch_system(whole / "system")
        fetch_wheels(whole / "site", python_of(whole / "system").name.removeprefix("python"))
        whole.rename(folder)


def emulate(folder: Path, library: Path, arguments: list[str]) -> int:
    """Run the tests with a build of the library; the exit code."""
    settings = {
        "PYTHONPATH": str(folder / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MS_PLM_TEST_LIBRARY": str(library),
        "MS_PLM_TEST_GEMM": "numpy",
    }
    system = folder / "system"
    command = [EMULATOR, "-L", system, python_of(system), "-m", "pytest", "-p", "no:cacheprovider", *TESTS, *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | settings).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=default_cache_folder() / "aarch64", help="default: %(default)s")
    parser.add_argument("pytest", nargs="*", help="further arguments of pytest, after --")
    args = parser.parse_args()
    if missing := [name for name in (COMPILER, EMULATOR, "apt-get", "dpkg") if shutil.which(name) is None]:
        print(f"not on PATH: {', '.join(missing)}; see --help", file=sys.stderr)
        return 1
    to = next(target for target in build.TARGETS if target.name == "aarch64")
    try:
        if not args.folder.is_dir():
            fetch(args.folder)
        with tempfile.TemporaryDirectory() as temporary:
            library = Path(temporary) / "libms_plm.so"
            build._build(COMPILER, to, library, ("-Wall", "-Wextra", "-Werror"))
            return emulate(args.folder, library, args.pytest)
    except (subprocess.CalledProcessError, UserError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
