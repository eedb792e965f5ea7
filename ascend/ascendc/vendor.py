"""The package that CANN installs: all operators through MindSpore's own `custom_compiler`, which calls CANN's compiler.

That tool takes one flat folder each for host and kernel and writes beside itself: both are made in a folder of their
own, with a copy of the tool. None of CANN's files is kept here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm_ascend.ascendc.operators import COMMON, OPERATORS
from ms_plm_ascend.writing import need_folder

CHIPS = "ascend910b;ascend910_93"
"""Atlas A2 and A3."""
PLACES = ("/usr/local/Ascend/cann", "/usr/local/Ascend/ascend-toolkit/latest")
"""Where CANN is usually installed."""
TEMPLATES = (
    "tools/op_project_templates/ascendc/customize",
    "tools/msopgen/template/operator_demo_projects/ascendc_operator_sample",
)
"""Folders of CANN, one of which custom_compiler makes its project from, by the version."""


@dataclass(frozen=True)
class Package:
    """What is to be built.

    Attributes:
        vendor: name of the package.
        output: folder for the result.
        chips: as custom_compiler names them, joined by semicolons.
        cann: where CANN is; None: where it is usually.
    """

    vendor: str
    output: Path
    chips: str = CHIPS
    cann: Path | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.vendor):
            raise UserError(
                f"--vendor-name {self.vendor!r}: expected lower-case letters, digits and underscores, such as ms_plm"
            )


def custom_compiler() -> Path:
    """MindSpore's tool, found without importing MindSpore.

    Raises:
        UserError: there is none.
    """
    spec = importlib.util.find_spec("mindspore")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "lib" / "plugin" / "ascend" / "custom_compiler"
        if (path / "setup.py").is_file():
            return path
    raise UserError("MindSpore's package holds no lib/plugin/ascend/custom_compiler; install mindspore 2.10")


def find_cann(given: Path | None) -> Path | None:
    """Where CANN is, or None: given, $ASCEND_HOME_PATH, or one of `PLACES`.

    Raises:
        UserError: it is not where it was said to be.
    """
    if given is not None:
        if not _has_templates(given):
            raise UserError(f"--cann {given}: expected a CANN toolkit with the folder {' or '.join(TEMPLATES)}")
        return given
    for place in (os.environ.get("ASCEND_HOME_PATH"), *PLACES):
        if place and _has_templates(Path(place)):
            return Path(place)
    return None


def _has_templates(cann: Path) -> bool:
    return any((cann / template).is_dir() for template in TEMPLATES)


def stage(folder: Path) -> dict[str, list[str]]:
    """Lay the sources out as custom_compiler takes them; names of the files in `op_host` and `op_kernel`."""
    for operator in OPERATORS:
        for part in (operator.host, operator.kernel):
            to = folder / part.name
            to.mkdir(parents=True, exist_ok=True)
            for path in (*part.iterdir(), *COMMON.glob("*.h")):
                shutil.copyfile(path, to / path.name)
    return {name: sorted(path.name for path in (folder / name).iterdir()) for name in ("op_host", "op_kernel")}


def command(package: Package, folder: Path, cann: Path) -> list[str]:
    """How the copy of custom_compiler in `folder` is called."""
    return [
        sys.executable,
        "setup.py",
        *("--op_host_path", str(folder / "op_host"), "--op_kernel_path", str(folder / "op_kernel")),
        *("--soc_version", package.chips, "--vendor_name", package.vendor, "--ascend_cann_package_path", str(cann)),
    ]


def describe(package: Package, cann: Path | None, say: Callable[[str], None] = print) -> None:
    """Say what `build` would do."""
    with tempfile.TemporaryDirectory() as folder:
        files = stage(Path(folder))
    work = Path("WORK")
    for name, found in files.items():
        say(f"copy to {work / name}: {', '.join(found)}")
    say(f"copy {custom_compiler()} to {work / 'compiler'}; there:")
    say(f"  {shlex.join(command(package, work, cann or Path('CANN')))}")
    say(f"move {work}/compiler/CustomProject/build_out/*.run to {package.output}")
    say("install it on every machine with: bash custom_opp_*.run --install-path=FOLDER")
    say(f"and set: ASCEND_CUSTOM_OPP_PATH=FOLDER/vendors/{package.vendor}:$ASCEND_CUSTOM_OPP_PATH")


def build(package: Package) -> list[Path]:
    """Build the package; the files that install it.

    Raises:
        UserError: there is no CANN, the output folder cannot be written, or the compiler failed; with the end of its
            log.
    """
    cann, tool = find_cann(package.cann), custom_compiler()
    if cann is None:
        raise UserError(
            f"there is no CANN here (looked at $ASCEND_HOME_PATH, {', '.join(PLACES)}); source its set_env.sh, name it "
            "by --cann, or see by --dry-run what would be done"
        )
    need_folder(package.output, "--output")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve()
        stage(work)
        shutil.copytree(tool, work / "compiler", ignore=shutil.ignore_patterns("__pycache__", "CustomProject"))
        ran = subprocess.run(
            command(package, work, cann), cwd=work / "compiler", capture_output=True, text=True, errors="replace"
        )
        made = sorted((work / "compiler" / "CustomProject" / "build_out").glob("*.run"))
        if ran.returncode != 0 or not made:
            log = work / "compiler" / "build.log"
            text = log.read_text(errors="replace") if log.is_file() else ran.stdout + ran.stderr
            raise UserError(f"{tool}: building with {cann} failed:\n" + "\n".join(text.splitlines()[-20:]))
        return [_handed_over(path, package.output / path.name) for path in made]


def _handed_over(made: Path, to: Path) -> Path:
    with replacing_file(to) as temporary:
        shutil.copyfile(made, temporary)
    return to
