"""Where the kernels are compiled and interpreted: a Python environment of their own, made once and kept.

It holds triton-ascend without its dependencies, NumPy and pybind11, and beside it LLVM 22 out of Debian's packages,
unpacked, not installed, where the machine has none. MindSpore's environment stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from ms_plm.common.files import default_cache_folder, replacing_folder
from ms_plm_ascend.triton_kernels.execute import DEFAULT, FOLDER
from ms_plm_ascend.triton_kernels.lower import VERSION

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
VARIABLE = "MS_PLM_TRITON_ENV"
"""Environment variable: an environment to take instead of making one."""
PYTHONS = [(3, 9), (3, 10), (3, 11)]
"""What triton-ascend has wheels for."""
PACKAGES = ["mlir-22-tools", "llvm-22", "libllvm22", "libmlir-22", "libz3-4", "libpfm4"]
"""Debian's, with the libraries that a machine without LLVM lacks."""


@dataclass(frozen=True)
class Environment:
    """How to run programs there.

    Attributes:
        folder: the Python environment.
        llvm: LLVM's folder and where else its libraries are; None: not to be had.
        path: a folder of links to this checkout's packages.
        joined: a folder of links to Triton, for MindSpore's Python.
        no_llvm: why there is no LLVM.
    """

    folder: Path
    llvm: tuple[Path, Path] | None
    path: Path
    joined: Path
    no_llvm: str = ""

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess:
        """Run Python there with these arguments; LLVM is found."""
        if self.llvm:
            variables |= {FOLDER: str(self.llvm[0]), "LD_LIBRARY_PATH": str(self.llvm[1])}
        return self._run(self.folder / "bin" / "python", words, [self.path], variables)

    def run_with_mindspore(self, *words: str | Path) -> subprocess.CompletedProcess:
        """Run MindSpore's Python with Triton, interpreted, beside it."""
        helpers = [HERE, ROOT / "tests" / "kernels"]
        return self._run(sys.executable, words, [self.joined, self.path, *helpers], {"TRITON_INTERPRET": "1"})

    def _run(self, python, words, path: list[Path], variables: dict[str, str]) -> subprocess.CompletedProcess:
        search = {"PYTHONPATH": os.pathsep.join(map(str, path))}
        command = [str(word) for word in (python, *words)]
        ran = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | search | variables, cwd=self.path
        )
        return ran


def found_or_made(links: Path) -> Environment:
    """The environment; skips the test that asks for it where it cannot be had.

    Args:
        links: an empty folder.
    """
    folder = Path(os.environ[VARIABLE]) if VARIABLE in os.environ else _made()
    packages = next(folder.glob("lib/python*/site-packages"), None)
    if packages is None or not (packages / "triton").is_dir():
        pytest.skip(f"no triton in {folder}")
    path, joined = links / "path", links / "joined"
    for where in (path, joined):
        where.mkdir()
    (path / "ms_plm").symlink_to(ROOT / "ms_plm")
    (path / "ms_plm_ascend").symlink_to(ROOT / "ascend")
    for name in ("triton", "pybind11"):
        if (packages / name).is_dir():
            (joined / name).symlink_to(packages / name)
    llvm, reason = _llvm()
    return Environment(folder, llvm, path, joined, reason)


def _made() -> Path:
    folder = default_cache_folder() / f"triton_{VERSION}_{sysconfig.get_python_version()}"
    if folder.is_dir():
        return folder
    if sys.version_info[:2] not in PYTHONS:
        pytest.skip(f"triton-ascend {VERSION} has no wheel for Python {sysconfig.get_python_version()}; see {VARIABLE}")
    with replacing_folder(folder) as new:
        install = [str(new / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(new)],
            [*install, "numpy<2", "pybind11"],
            [*install, "--no-deps", f"triton-ascend=={VERSION}"],
        ):
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode:
                pytest.skip(f"no environment for Triton: {' '.join(command)}: {ran.stderr.strip()[-300:]}")
    return folder


def _llvm() -> tuple[tuple[Path, Path] | None, str]:
    """LLVM's folder and that of its libraries, or why there is none."""
    given = Path(os.environ.get(FOLDER, DEFAULT))
    if (given / "bin" / "mlir-opt").exists():
        return (given, Path(os.environ.get("LD_LIBRARY_PATH", str(given / "lib")))), ""
    folder = default_cache_folder() / "llvm_22"
    if not folder.is_dir() and (reason := _unpacked(folder)):
        return None, reason
    libraries = next((folder / "usr" / "lib").glob("*/libLLVM.so.22*")).parent
    return (folder / "usr" / "lib" / "llvm-22", libraries), ""


def _unpacked(folder: Path) -> str:
    """Fetch and unpack Debian's packages; the reason why that failed, or nothing."""

    def ran(command: list[str], where: Path) -> subprocess.CompletedProcess:
        return subprocess.run(command, capture_output=True, text=True, cwd=where)

    try:
        with replacing_folder(folder) as new:
            fetch = ["apt-get", "download", *PACKAGES]
            if ran(fetch, new).returncode:
                ran(["apt-get", "update"], new)
                got = ran(fetch, new)
                if got.returncode:
                    raise OSError(got.stderr.strip()[-300:])
            for package in new.glob("*.deb"):
                if (got := ran(["dpkg", "-x", str(package), str(new)], new)).returncode:
                    raise OSError(got.stderr.strip()[-300:])
                package.unlink()
    except OSError as error:
        return f"no LLVM 22: {error}; install mlir-22-tools and llvm-22, or name its folder in {FOLDER}"
    return ""
