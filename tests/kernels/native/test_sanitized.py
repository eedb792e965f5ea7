"""The native operations touch no memory but their own and rely on no undefined behaviour: their tests, sanitized.

The library takes every piece of working memory anew and of its exact size in this build, filled with NaN, and operands
of matrix products are looked up before NumPy takes them, so a number too many, or one read before it is written, shows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from symbols import GEMM, LIBRARY

from ms_plm.common.errors import UserError
from ms_plm.common.processor import architecture
from ms_plm.kernels.native import build

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
TESTS = ("linear", "normalization", "loss", "attention", "optimizer")
FLAGS = (
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-D_GLIBCXX_ASSERTIONS"),
    *("-O1", "-g", "-Wall", "-Wextra", "-Werror"),
)
SETTINGS = {
    "ASAN_OPTIONS": "detect_leaks=0:max_malloc_fill_size=2147483647:malloc_fill_byte=255",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "PYTHONMALLOC": "malloc",  # so that Python's own memory is watched as well
    "OPENBLAS_NUM_THREADS": "1",
    GEMM: "numpy",
}


def _beside_compiler(name: str) -> str:
    """A library of g++ by its whole path; the test is skipped where there is none."""
    program = shutil.which("g++")
    if program is None:
        pytest.skip("g++ is not on PATH")
    told = subprocess.run([program, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
    path = Path(told.strip()).resolve()
    if not path.is_file():
        pytest.skip(f"g++ has no {name}")
    return str(path)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A build with both sanitizers, for AVX2 where the processor is of that family."""
    _beside_compiler("libasan.so")
    with pytest.MonkeyPatch.context() as patch:
        if architecture() == "x86_64":
            patch.setenv(build.SWITCH, "avx2")
        try:
            to = build.target()
        except UserError as error:
            pytest.skip(str(error))
    path = tmp_path_factory.mktemp("sanitized") / "libms_plm.so"
    build._build("g++", to, path, FLAGS)
    return path


@pytest.mark.parametrize("name", TESTS)
def test_no_address_is_wrong_and_nothing_is_undefined(name, library):
    # libstdc++ has to be there when the sanitizer starts, or it cannot follow exceptions
    preloaded = f"{_beside_compiler('libasan.so')} {_beside_compiler('libstdc++.so')}"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", f"tests/kernels/native/test_{name}.py"],
        cwd=ROOT,
        env=os.environ | SETTINGS | {"LD_PRELOAD": preloaded, LIBRARY: str(library)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"^\d+ passed", ran.stdout, re.MULTILINE), ran.stdout
    assert "skipped" not in ran.stdout
