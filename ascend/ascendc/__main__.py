"""`python -m ms_plm_ascend.ascendc`: check the operators on the twin, or build their package with CANN."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm_ascend.ascendc import vendor

EPILOG = """\
examples:
  python -m ms_plm_ascend.ascendc --check
  python -m ms_plm_ascend.ascendc --build --vendor-name ms_plm --dry-run
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ms_plm_ascend.ascendc",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="run every operator on the CPU twin, against float64")
    what.add_argument(
        "--build", action="store_true", help="make the package that CANN installs (needs CANN, no device)"
    )
    parser.add_argument("--vendor-name", default="ms_plm", help="name of the package (ms_plm)")
    parser.add_argument("--output", type=Path, default=Path("build_out"), help="folder for the package (build_out)")
    parser.add_argument("--soc", default=vendor.CHIPS, help=f"chips to build for ({vendor.CHIPS})")
    parser.add_argument("--cann", type=Path, help="the CANN toolkit ($ASCEND_HOME_PATH)")
    parser.add_argument("--dry-run", action="store_true", help="say what --build would do, and do nothing")
    return parser


def _check() -> int:
    from ms_plm_ascend.ascendc.check import check
    from ms_plm_ascend.ascendc.library import Fault, library

    try:
        good = check(library())
    except Fault as fault:
        print(f"the twin stopped a kernel: {fault}", file=sys.stderr)
        return 1
    print("all is as float64 says" if good else "some results are too far from float64")
    return 0 if good else 1


def _build(package: vendor.Package, dry: bool) -> int:
    cann = vendor.find_cann(package.cann)
    if dry or cann is None:
        vendor.describe(package, cann)
    if dry:
        return 0
    for path in vendor.build(package):
        print(f"made {path}; install it with: bash {path} --install-path=FOLDER")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run; 0, or 1 where something failed."""
    args = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if args.check:
            return _check()
        return _build(vendor.Package(args.vendor_name, args.output, args.soc, args.cann), args.dry_run)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
