"""Libraries that let MindSpore's Ascend plugin load on a machine without CANN.

They export only the names that the plugin of the installed wheel imports, or looks up by `dlsym`, and that nobody
ships: some 1,600, all of which return 0 except for those written out in `src/`. No file of the vendor's is used. Built
once for a wheel into the cache, in half a minute; needs gcc, g++ and binutils.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import mmap
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.common.files import default_cache_folder
from ms_plm.common.processor import architecture
from ms_plm.config.chips import Chip
from ms_plm.training.hardware import SIMULATED_SOC

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent / "src"
TOOLS = ("gcc", "g++", "nm", "readelf")
LIBRARY = "libascendstub.so"
SYSTEM = re.compile(
    r"(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt|libgomp|libz|libutil|libcrypto|libssl|libnuma|ld-linux.*)\.so"
)
"""Libraries that a Linux brings along."""
LOOKED_UP = re.compile(
    rb"(?<![ -~])((?:acl|aclnn|aclop|aclrt|aclprof|acltdt|aclmdl|rt|Hccl|Hcom|hal|drv)[A-Z][A-Za-z0-9_]+"
    rb"|InitHugeMemThreadLocal|UnInitHugeMemThreadLocal|ReleaseHugeMem)\0"
)
"""Names that the plugin resolves by `dlsym` stand in it as plain strings."""
NOT_FUNCTIONS = re.compile(r"_ZT[VIST]|_ZN.*E_data$|_ZGV")
OPENED_BY_NAME = (
    *("libruntime", "libascendcl", "libplatform", "libc_sec", "libnnopbase", "libascend_hal", "libprofapi"),
    *("libregister", "libmmpa", "libascendalog", "libatb", "libmsprofiler", "libhccl", "libgraph", "libge_runner"),
    *("libacl_op_compiler", "libopapi", "libacl_tdt_channel"),
)
"""Needed by others of these, or opened under ASCEND_HOME_PATH."""


@dataclass(frozen=True)
class Stubs:
    """Built libraries: `folder` holds `cann/`, laid out like CANN's own folder."""

    folder: Path

    def environment(self, chip: Chip, devices: int = 1) -> dict[str, str]:
        """Variables for a process that is to compile for `chip`, as the first of `devices`.

        The loader reads LD_LIBRARY_PATH when a process starts, so they do nothing in this one.
        """
        cann, package = self.folder / "cann", _mindspore()
        libraries = (cann / "lib64", *(package / part for part in ("lib", "lib/plugin", "lib/plugin/ascend")))
        values = {
            "ASCEND_HOME_PATH": str(cann),
            "ASCEND_OPP_PATH": str(cann / "opp"),
            "LD_LIBRARY_PATH": _joined(map(str, libraries), os.environ.get("LD_LIBRARY_PATH")),
            "PYTHONPATH": _joined([str(cann / "python")], os.environ.get("PYTHONPATH")),
            "MS_SIMULATION_LEVEL": "1",  # 0: nothing runs, so memory is not planned; 2 and 3 ask the driver
            SIMULATED_SOC: driver_name(chip),
        }
        if devices > 1:
            values |= {"RANK_SIZE": str(devices), "RANK_ID": "0"}
        return values


def driver_name(chip: Chip) -> str:
    """What the driver calls a chip."""
    return {"910A": "Ascend910A", "910C": "Ascend910_9392", "310P": "Ascend310P3"}.get(chip.name, f"Ascend{chip.name}")


def build() -> Stubs:
    """The libraries for this wheel, built now if they are not in the cache.

    Raises:
        UserError: not on x86-64 Linux, no compiler, or MindSpore's wheel has no Ascend plugin.
    """
    if architecture() != "x86_64":
        raise UserError(f"compiling for Ascend without CANN works on x86-64 only, not on {architecture()}.")
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise UserError(
            f"compiling for Ascend without CANN needs {', '.join(absent)}, which this machine lacks. Debian, Ubuntu: "
            "`apt-get install gcc g++ binutils`."
        )
    digest = hashlib.sha256(f"{importlib.metadata.version('mindspore')} {_mindspore()}".encode())
    for path in (Path(__file__), *sorted(SOURCES.iterdir())):
        digest.update(path.read_bytes())
    folder = default_cache_folder() / "ascend_stubs" / digest.hexdigest()[:16]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        log.info("building stub libraries for MindSpore's Ascend plugin (once, half a minute)")
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / "made"
            _build(made)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    return Stubs(folder)


def _mindspore() -> Path:
    spec = importlib.util.find_spec("mindspore")
    if spec is None or spec.origin is None:
        raise UserError("MindSpore is not installed: `pip install 'mindspore>=2.10,<2.11'`.")
    return Path(spec.origin).parent


def _joined(first: Iterable[str], then: str | None) -> str:
    return os.pathsep.join([*first, *([then] if then else [])])


def _build(folder: Path) -> None:
    plugin, shipped = _plugin(), list(_mindspore().rglob("*.so*"))
    names = {path.name for path in shipped}
    missing = sorted(name for name in _needed(plugin) if name not in names and not SYSTEM.match(name))
    wanted = _undefined(plugin) - _defined([*shipped, *_system_libraries()])
    wanted = {name for name in wanted if not re.match(r"_?Py[A-Z_]|__tls_get_addr$|__gmon_start__$|_ITM_", name)}
    looked_up = set(_looked_up(plugin))
    wanted |= looked_up | {
        f"{name}GetWorkspaceSize"
        for name in looked_up
        if name.startswith("aclnn") and not name.endswith("WorkspaceSize")
    }
    libraries = folder / "cann" / "lib64"
    (libraries / "driver").mkdir(parents=True)
    _link(wanted, libraries / LIBRARY)
    for name in {*missing, *(f"{stem}.so" for stem in OPENED_BY_NAME)}:
        (libraries / name).symlink_to(LIBRARY)
    (libraries / "driver" / "libascend_hal.so").symlink_to(f"../{LIBRARY}")
    _surroundings(folder / "cann")


def _surroundings(cann: Path) -> None:
    """What else the plugin looks for: versions. (No package `te`: its presence starts the tensor compiler.)"""
    for name in ("opp/built-in/op_impl/ai_core/tbe", "compiler", "python/hccl"):
        (cann / name).mkdir(parents=True)
    (cann / "compiler" / "version.info").write_text("Version=8.3.0\n")
    (cann / "python" / "hccl" / "__init__.py").write_text("")
    (cann / "python" / "hccl" / "sys_version.py").write_text("__sys_version__ = '8.3.0'\n")


def _plugin() -> list[Path]:
    """The plugin's own libraries for this processor."""
    folder = _mindspore() / "lib" / "plugin"
    found = [*folder.glob("libmindspore_ascend.so.*"), *folder.glob("libmindspore_ops_ascend.so")]
    found += [p for p in (folder / "ascend").rglob("*.so*") if p.is_file() and "/custom_" not in str(p)]
    fitting = [path for path in found if "X86-64" in _output(["readelf", "-h", str(path)], may_fail=True)]
    if not fitting:
        raise UserError(f"{folder}: MindSpore's package holds no Ascend plugin for x86-64; reinstall MindSpore 2.10.")
    return sorted(set(fitting))


def _output(command: list[str], may_fail: bool = False) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if ran.returncode != 0 and not may_fail:
        raise UserError(f"{command[0]} failed: {(ran.stderr.strip().splitlines() or ['it gave no message'])[0]}")
    return ran.stdout


def _needed(libraries: list[Path]) -> set[str]:
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", _output(["readelf", "-d", *map(str, libraries)], may_fail=True)))


def _symbols(libraries: list[Path], kind: str) -> Iterator[list[str]]:
    for line in _output(["nm", "-D", kind, *map(str, libraries)], may_fail=True).splitlines():
        yield line.split()


def _undefined(libraries: list[Path]) -> set[str]:
    rows = _symbols(libraries, "--undefined-only")
    return {words[1].split("@")[0] for words in rows if len(words) == 2 and words[0] == "U"}


def _defined(libraries: list[Path]) -> set[str]:
    files = [path for path in libraries if path.is_file() and "gpu" not in str(path)]
    return {words[2].split("@")[0] for words in _symbols(files, "--defined-only") if len(words) == 3}


def _system_libraries() -> list[Path]:
    """Files of the system's libraries and of Python's."""
    listed = dict(re.findall(r"^\s*(\S+) \(.*x86-64.*\) => (\S+)", _output(["/sbin/ldconfig", "-p"]), re.MULTILINE))
    found = [Path(path) for name, path in listed.items() if SYSTEM.match(name)]
    python = Path(sysconfig.get_config_var("LIBDIR") or "") / (sysconfig.get_config_var("LDLIBRARY") or "")
    return [*found, python] if python.suffix == ".so" or ".so." in python.name else found


def _looked_up(libraries: list[Path]) -> Iterator[str]:
    for path in libraries:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield from (match.group(1).decode() for match in LOOKED_UP.finditer(content))


def _link(wanted: set[str], to: Path) -> None:
    """One library with the functions of `src/` and a `return 0` for every other name."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        _output(["gcc", "-fPIC", "-O1", "-c", str(SOURCES / "acl.c"), "-o", str(work / "acl.o")])
        flags = ["-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0", "-fPIC", "-O1"]
        _output(["g++", *flags, "-c", str(SOURCES / "ge.cc"), "-o", str(work / "ge.o")])
        rows = _output(["nm", "--defined-only", str(work / "acl.o"), str(work / "ge.o")]).splitlines()
        own = {words[2] for words in map(str.split, rows) if len(words) == 3}
        (work / "rest.s").write_text(_assembly(sorted(wanted - own)))
        _output(["gcc", "-c", str(work / "rest.s"), "-o", str(work / "rest.o")])
        objects = [str(work / name) for name in ("acl.o", "ge.o", "rest.o")]
        _output(["g++", "-shared", *objects, "-o", str(to)])


def _assembly(names: list[str]) -> str:
    lines = [".text"]
    for name in names:
        if NOT_FUNCTIONS.match(name):
            lines += [".data", f".globl {name}", f".type {name},@object", ".balign 16"]
            lines += [f"{name}: .zero 512", f".size {name},512", ".text"]
        else:
            lines += [f".globl {name}", f".type {name},@function", ".balign 16"]
            lines += [f"{name}: xorl %eax,%eax", "ret", f".size {name},.-{name}"]
    return "\n".join([*lines, '.section .note.GNU-stack,"",@progbits', ""])
