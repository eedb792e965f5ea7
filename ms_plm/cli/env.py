"""`ms-plm env`: the environment that a device needs and that is read when a process starts, as commands for a shell."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.common.files import default_cache_folder, replacing_folder

NAME = "env"
HELP = "print `export` lines for the shell: what MindSpore's GPU plugin looks for when a process starts"
EPILOG = """\
examples:
  pip install '.[gpu]'                                 the CUDA 11 libraries, 2.9 GB
  eval "$(ms-plm env gpu)"                             sets LD_LIBRARY_PATH and CUDA_HOME in this shell
  ms-plm doctor                                        what is still missing
  ms-plm run quickstart impl.device=gpu

Remarks go to stderr. Exit code 1, with nothing printed to stdout: libraries are missing.
"""

STAND_IN_RELEASE = (11, 6)
NVCC = """\
#!/bin/sh
# Written by `ms-plm env gpu`: MindSpore asks nvcc for the version of CUDA, and needs no more of it.
echo "Cuda compilation tools, release 11.6, V11.6.124"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", choices=("gpu",), help="the device to be used")


def run(args: argparse.Namespace) -> int:
    exports, remarks = gpu_environment()
    for remark in remarks:
        print(f"# {remark}", file=sys.stderr)
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def gpu_environment() -> tuple[dict[str, str], list[str]]:
    """The variables to set, and remarks.

    Raises:
        UserError: libraries are missing, or nothing can be written to the cache folder.
    """
    from ms_plm.training.hardware import CUDA_LIBRARIES, GPU_INSTALL, cuda_folders, loadable

    folders = cuda_folders()
    lacking = [name for name in CUDA_LIBRARIES if name not in folders and not loadable(name)]
    if lacking:
        raise UserError(f"CUDA 11 libraries that are not installed: {', '.join(lacking)}. Install them: {GPU_INSTALL}.")
    exports, remarks = {}, []
    if folders:
        exports["LD_LIBRARY_PATH"] = _library_path([str(folder) for folder in folders.values()])
    home, remark = _cuda_home()
    remarks.append(remark)
    if home:
        exports["CUDA_HOME"] = str(home)
    if not loadable("libcuda.so.1"):
        remarks.append("the driver's libcuda.so.1 is not found: it comes with the machine, not from a package")
    return exports, remarks


def _library_path(folders: list[str]) -> str:
    """These folders before those that LD_LIBRARY_PATH names already, each once."""
    for folder in folders:
        if ":" in folder or ";" in folder:
            raise UserError(f"{folder}: LD_LIBRARY_PATH cannot name a folder with `:` or `;`. Move the environment.")
    # an empty entry would be the current folder
    present = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    return ":".join(dict.fromkeys([*folders, *present]))


def _cuda_home() -> tuple[Path | None, str]:
    """The folder for CUDA_HOME, or None where the present one will do; and why."""
    from ms_plm.training.hardware import has_plugin, nvcc_release

    present = os.environ.get("CUDA_HOME")
    release = nvcc_release(present) if present else None
    told = f"nvcc says release {release[0]}.{release[1]}" if release else "there is no bin/nvcc that gives a release"
    if has_plugin(release):
        return None, f"CUDA_HOME={present} stays: {told}"
    home = _stand_in()
    return home, f"CUDA_HOME: {home} instead of {present} ({told})" if present else f"CUDA_HOME: {home}"


def _stand_in() -> Path:
    """A folder of our own whose nvcc gives the release that MindSpore's plugin was built for."""
    from ms_plm.training.hardware import nvcc_release

    home = default_cache_folder() / "cuda-11.6"
    try:
        if nvcc_release(home) != STAND_IN_RELEASE:
            with replacing_folder(home) as temporary:
                (temporary / "bin").mkdir()
                nvcc = temporary / "bin" / "nvcc"
                nvcc.write_text(NVCC, encoding="utf-8")
                nvcc.chmod(0o755)
    except OSError as error:
        raise UserError(f"{home}: cannot be written: {error}") from error
    if nvcc_release(home) != STAND_IN_RELEASE:
        raise UserError(f"{home}/bin/nvcc cannot be executed. Does its file system forbid that (noexec)?")
    return home
