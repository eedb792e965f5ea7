"""Building the native operations: at first use into a cache, or ahead by `ms-plm doctor --build`.

The library's file name holds a digest of sources, flags and the instructions it uses, so another version of the package
or another processor builds its own. Only a compiler is needed: matrix products are those of the oneDNN that MindSpore
ships, found when the library is opened.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.common.files import default_cache_folder, replacing_file
from ms_plm.common.processor import architecture, cpu_features

log = logging.getLogger(__name__)

SWITCH = "MS_PLM_NATIVE"
"""Environment variable: `off`, or the name of a target below what the processor can do."""

SOURCES = Path(__file__).parent / "src"
COMPILERS = ("g++", "c++", "clang++")
# -fno-math-errno and -fno-trapping-math let loops with square roots and comparisons become vector code; neither hides
# NaN or infinity
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math")


@dataclass(frozen=True)
class Target:
    """Instructions to build for.

    Attributes:
        name: short name.
        architecture: as in `processor.architecture`.
        needs: flags of /proc/cpuinfo that the processor must have.
        flags: for the compiler.
    """

    name: str
    architecture: str
    needs: frozenset[str]
    flags: tuple[str, ...]


_AVX2 = frozenset({"avx2", "fma"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
_AVX2_FLAGS = ("-mavx2", "-mfma")
_AVX512_FLAGS = (*_AVX2_FLAGS, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
TARGETS = (
    Target("avx512_bf16", "x86_64", _AVX512 | {"avx512_bf16"}, (*_AVX512_FLAGS, "-DPLM_BF16=1")),
    Target("avx512", "x86_64", _AVX512, _AVX512_FLAGS),
    Target("avx2", "x86_64", _AVX2, _AVX2_FLAGS),
    Target("x86_64", "x86_64", frozenset(), ()),
    Target("aarch64", "aarch64", frozenset(), ()),
)
"""The best first."""


def target() -> Target:
    """What to build for: the best that this processor can run, or that of `MS_PLM_NATIVE`.

    Raises:
        UserError: switched off, an unknown name, or nothing for this processor.
    """
    model, flags = cpu_features()
    fitting = [item for item in TARGETS if item.architecture == architecture() and item.needs <= flags]
    wanted = os.environ.get(SWITCH, "")
    if wanted == "off":
        raise UserError(f"switched off by {SWITCH}=off")
    if wanted:
        for item in fitting:
            if item.name == wanted:
                return item
        raise UserError(
            f"{SWITCH}={wanted}: expected off or one of {', '.join(item.name for item in fitting)} on this processor"
        )
    if not fitting:
        raise UserError(f"there are none for this processor ({architecture()}, {model})")
    return fitting[0]


def onednn() -> Path:
    """The oneDNN library inside MindSpore's package, found without importing it.

    Raises:
        UserError: there is none.
    """
    spec = importlib.util.find_spec("mindspore")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "lib" / "libdnnl.so.3"
        if path.is_file():
            return path
    raise UserError("MindSpore's package holds no lib/libdnnl.so.3, whose matrix products they use")


def compiler() -> str:
    """The C++ compiler: $CXX, or the first of g++, c++ and clang++ on PATH.

    Raises:
        UserError: there is none.
    """
    for name in (os.environ.get("CXX"), *COMPILERS):
        if name and (path := shutil.which(name)):
            return path
    raise UserError(
        "no C++ compiler is on PATH (looked for $CXX, g++, c++, clang++); install one (Debian, Ubuntu: `apt-get "
        "install g++`)"
    )


def sources() -> list[Path]:
    """All C++ files, headers included, in a fixed order."""
    return sorted(path for path in SOURCES.iterdir() if path.suffix in (".cc", ".h"))


def library_path(to: Target) -> Path:
    """Where the library for a target lies once it is built."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update("\0".join((*FLAGS, *to.flags)).encode())
    return default_cache_folder() / "native" / f"libms_plm_{to.name}_{digest.hexdigest()[:16]}.so"


def ensure(to: Target | None = None) -> Path:
    """The library for this processor (or a given target), built now if it is not in the cache.

    Raises:
        UserError: it cannot be had; the message says why, with the compiler's first error where there is one.
    """
    to = to or target()
    path = library_path(to)
    if path.is_file():
        return path
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(path.with_suffix(".lock")):
            if not path.is_file():  # another process may have built it meanwhile
                _build(compiler(), to, path)
    except OSError as error:
        raise UserError(f"they cannot be written to {path.parent}: {error}") from error
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes; it goes with its holder."""
    import fcntl

    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(program: str, to: Target, path: Path, more: Sequence[str] = ()) -> None:
    """Build for a target; `more` are flags for compiler and linker alike, such as those of a sanitizer."""
    units = [source for source in sources() if source.suffix == ".cc"]
    log.info("building the native CPU operations for %s with %s (once)", to.name, program)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        objects = [Path(folder) / f"{unit.stem}.o" for unit in units]
        compile_to = [program, *FLAGS, *to.flags, *more, "-c"]
        together([[*compile_to, str(unit), "-o", str(out)] for unit, out in zip(units, objects, strict=True)])
        with replacing_file(path) as temporary:
            command = [program, "-shared", "-fopenmp", *more, *map(str, objects), "-o", str(temporary), "-ldl"]
            together([command])
    log.info("built in %.0f s: %s", time.monotonic() - begun, path)


def together(commands: list[list[str]]) -> None:
    """Run compilers side by side.

    Raises:
        UserError: one failed; with its first error.
    """
    children = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        for command in commands
    ]
    answers = [child.communicate()[1] for child in children]
    for child, command, answer in zip(children, commands, answers, strict=True):
        if child.returncode != 0:
            raise UserError(f"{command[0]} failed: {first_error(answer)}")


def first_error(text: str) -> str:
    """The line of a compiler's output that says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), lines[0] if lines else "it gave no message")


@functools.cache
def unavailable() -> str | None:
    """None where the native operations can be used, else the reason; builds them if needed. Logged once."""
    try:
        onednn()
        ensure()
    except UserError as error:
        log.warning("native CPU operations are not used: %s; composed forms, which are slower, take their place", error)
        return str(error)
    return None
