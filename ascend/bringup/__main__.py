"""`python -m ms_plm_ascend.bringup`: what to run first on a machine with an Ascend device."""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from ms_plm import __version__
from ms_plm.common.errors import UserError
from ms_plm.common.releases import cann_release, mindspore_release
from ms_plm.config.chips import CHIPS
from ms_plm.config.recipe import ImplSection
from ms_plm.kernels.verified import Record, file_path
from ms_plm.training.hardware import missing_for_ascend, open_device
from ms_plm_ascend.bringup.check import Check, Verdict
from ms_plm_ascend.bringup.flash_checks import CHECKS
from ms_plm_ascend.bringup.forms_check import form_checks
from ms_plm_ascend.bringup.operators import AscendOperators
from ms_plm_ascend.bringup.report import Answer, closing_words, write_report, write_verified
from ms_plm_ascend.writing import need_folder

PROGRAM = "python -m ms_plm_ascend.bringup"
ANSWER = "bring-up answer: "
"""Before the JSON that a child prints."""
SECONDS = 900
OPENING = Check(
    "device",
    "Does the device open, and which chip is it?",
    "set_device in graph mode, and one product of matrices",
    "`ms-plm doctor` names what is missing",
    lambda operators: opens(),
)
EPILOG = f"""\
examples:
  {PROGRAM} --dry-run           the plan, without a device
  {PROGRAM}                     everything; the list goes where `auto` reads it (~/.config/ms_plm)
  {PROGRAM} --out bringup       everything, into another folder

Every check runs in a process of its own: one that takes the device down is an answer too. Both files are written anew
after each answer. A form counts as verified where it and what it rests on (named in the plan) are as needed. Exit code
1: something is not as our code needs it.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Ask a real Ascend device what documentation leaves open, and verify our implementations on it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan of checks and end")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where bringup.md and verified.json go")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these checks, and what they rest on, alone")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "DTYPE", "CHIP"), help=argparse.SUPPRESS)
    return parser


def plan(dtypes: Sequence[str]) -> list[tuple[str, Check]]:
    """All checks in order, each with the compute type that it is asked in."""
    return [("fp16", OPENING), *(("fp16", check) for check in CHECKS), *form_checks(dtypes)]


def opens() -> Verdict:
    """Open the device; the answer is the chip's name."""
    import numpy as np
    from mindspore import Tensor, ops

    device = open_device(ImplSection(device="ascend"))
    x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    found = ops.MatMul()(Tensor(x.astype(np.float16)), Tensor(x.astype(np.float16))).asnumpy()
    off = float(np.abs(found - x @ x).max())
    if device.chip is None:
        return Verdict(False, f"{device.description}: a chip that ms_plm/config/chips.py does not know", {"off": off})
    return Verdict(off < 0.5, device.chip, {"off": off})


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. (argparse itself leaves with 2 by SystemExit.)"""
    args = build_parser().parse_args(argv)
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if args.child:
            return child(*args.child)
        if args.dry_run:
            print("\n".join(describe(plan(("fp16", "bf16")))))
            return 0
        selected(plan(("fp16", "bf16")), args.only)  # a name that is misspelt is told without a device, too
        if missing := missing_for_ascend():
            raise UserError(f"{'; '.join(missing)}. What would be asked, --dry-run prints.")
        return bring_up(args.out or file_path().parent, args.only)
    except UserError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1


def describe(checks: Sequence[tuple[str, Check]]) -> list[str]:
    """The plan, for people."""
    lines = [f"{len(checks)} checks, in this order:"]
    for number, (dtype, check) in enumerate(checks, 1):
        lines += [f"{number:>3}. {check.name} ({dtype})", f"     asks  {check.question}", f"     by    {check.how}"]
        lines.append(f"     else  {check.otherwise}")
        if check.gates:
            lines.append(f"     and   not verified: {', '.join(check.gates)}")
    return lines


def selected(checks: Sequence[tuple[str, Check]], only: Sequence[str] | None) -> list[tuple[str, Check]]:
    """The checks of `--only`, and those that the forms among them rest on; None: all.

    Raises:
        UserError: one of them is none.
    """
    if only is None:
        return list(checks)
    names = [check.name for _, check in checks]
    for name in only:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UserError(f"--only {name}: there is no such check.{hint} Expected: {', '.join(names)}.")
    forms = {name.rpartition("-")[0] for name in only}  # what stands behind is the dtype
    return [(dtype, check) for dtype, check in checks if check.name in only or forms & {*check.gates}]


def bring_up(out: Path, only: Sequence[str] | None) -> int:
    """Ask everything; both files hold what was answered so far, whatever comes after it."""
    need_folder(out, "--out")
    first = ask("fp16", OPENING, "unknown")
    chip = first.answer if first.passed else None
    answers: list[Answer] = [(OPENING, first)]
    made = tell(out, chip, answers)
    for dtype, check in selected(plan(CHIPS[chip].types), only) if chip else ():
        if check is not OPENING:
            answers.append((check, ask(dtype, check, chip)))
            made = tell(out, chip, answers)
    print("\n".join([f"the report is {out / 'bringup.md'}", *closing_words(out / "verified.json", made)]))
    return 1 if any(verdict.passed is False for _, verdict in answers) else 0


def tell(out: Path, chip: str | None, answers: Sequence[Answer]) -> list[Record]:
    """Print the newest answer and write both files anew; the records of now."""
    print(line(*answers[-1]), flush=True)
    machine = {
        "chip": chip or "unknown",
        "MindSpore": str(mindspore_release()),
        "CANN": cann_release() or "unknown",
        "ms_plm": __version__,
        "system": platform.platform(),
    }
    write_report(out / "bringup.md", machine, answers)
    return write_verified(out / "verified.json", answers, chip) if chip else []


def line(check: Check, verdict: Verdict) -> str:
    """An answer in one line."""
    return f"{ {True: 'ok', False: 'NOT OK', None: '-'}[verdict.passed]:<7}{check.name:<36} {verdict.answer}"


def ask(dtype: str, check: Check, chip: str) -> Verdict:
    """Run a check in a process of its own, which may die."""
    words = [sys.executable, "-m", "ms_plm_ascend.bringup", "--child", check.name, dtype, chip]
    python_path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    variables = {"GLOG_v": "3", **os.environ, "PYTHONPATH": python_path}
    with tempfile.TemporaryDirectory() as folder:  # a failed compile drops files where it stands
        try:
            ran = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, env=variables, cwd=folder)
        except subprocess.TimeoutExpired:
            return Verdict(False, f"no answer within {SECONDS} s")
    for text in reversed(ran.stdout.splitlines()):
        if text.startswith(ANSWER):
            return Verdict(**json.loads(text.removeprefix(ANSWER)))
    said = [text for text in (ran.stderr or ran.stdout).splitlines() if text.strip()]
    return Verdict(False, f"the process ended with code {ran.returncode}: {said[-1] if said else 'silently'}")


def child(name: str, dtype: str, chip: str) -> int:
    """One check, in its own process; prints the answer."""
    wanted = [check for kind, check in plan((dtype,)) if check.name == name and kind == dtype]
    if not wanted:
        raise UserError(f"--child {name} {dtype}: there is no such check.")
    try:
        if name != OPENING.name:
            open_device(ImplSection(device="ascend"))
        verdict = wanted[0].run(AscendOperators(chip, dtype))
    except Exception as error:  # whatever the device throws is the answer
        traceback.print_exc()
        first = str(error).strip().splitlines()[:1]
        verdict = Verdict(False, f"failed: {type(error).__name__}: {first[0] if first else ''}")
    print(ANSWER + json.dumps(verdict.to_json()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
