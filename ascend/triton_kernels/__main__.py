"""`python -m ms_plm_ascend.triton_kernels`: lower the kernels, or check them, without a device."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm_ascend.triton_kernels.check import checked, lowered, summary
from ms_plm_ascend.triton_kernels.execute import Tools
from ms_plm_ascend.triton_kernels.lower import INSTALL, SOC, require
from ms_plm_ascend.writing import need_folder


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ms_plm_ascend.triton_kernels",
        description="Triton kernels for Ascend, without a device; in an environment of its own, without MindSpore.",
        epilog=f"The environment: {INSTALL}; for --check also LLVM 22 (Debian: apt-get install mlir-22-tools llvm-22).",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--lower", metavar="DIR", type=Path, help="write Triton's IR and the lowered Linalg of each kernel"
    )
    what.add_argument("--check", action="store_true", help="lower, look through, and run on the CPU against float64")
    how = parser.add_argument_group("with --lower")
    how.add_argument("--soc", metavar="CHIP", help=f"chip to lower for ({SOC})")
    how.add_argument("--compute", choices=("fp16", "bf16", "fp32"), help="dtype of products (fp16)")
    how.add_argument("--size", metavar="D", type=int, help="numbers of a head (64)")
    how.add_argument("--hidden", metavar="H", type=int, help="numbers of a token (768)")
    how.add_argument("--drops", choices=("yes", "no"), help="with dropout or without (yes)")
    return parser


OPTIONS = ("soc", "compute", "size", "hidden", "drops")
"""Of `--lower`, and of `check.lowered`."""


def _lower(folder: Path, options: dict[str, Any]) -> int:
    require()  # before a kernel's module imports Triton
    need_folder(folder, "--lower")
    for one in lowered(**options):
        for form, text in (("ttir", one.ttir), ("linalg", one.linalg)):
            with replacing_file(folder / f"{one.name}.{form}.mlir") as path:
                path.write_text(text, encoding="utf-8")
        print(summary(one), flush=True)
    print(f"written to {folder}")
    return 0


def _check() -> int:
    Tools.found()
    require()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for report in checked(Path(folder)):
            print(report.text, flush=True)
            wrong += report.wrong
    for words in wrong:
        print(f"WRONG {words}", file=sys.stderr)
    print(f"{len(wrong)} wrong" if wrong else "all as expected")
    return 1 if wrong else 0


def main(words: list[str] | None = None) -> int:
    """Run the command; 0: as expected."""
    parser = build_parser()
    asked = parser.parse_args(words)
    options = {name: getattr(asked, name) for name in OPTIONS if getattr(asked, name) is not None}
    if asked.check and options:
        parser.error(f"--check has its own sizes: --{next(iter(options))} goes with --lower")
    try:
        return _check() if asked.check else _lower(asked.lower, options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
