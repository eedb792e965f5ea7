"""`python -m ms_plm_ascend.simulate`: planned memory of a recipe's step for several settings, as a table.

The largest batch that fits each chip is told from the plans: memory grows with the batch in a straight line, whose two
constants are fitted to the settings that were compiled. A batch beyond them is marked `extrapolated`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.common.files import write_json
from ms_plm.config.chips import CHIPS
from ms_plm.config.loading import load_recipe
from ms_plm_ascend.simulate.dry_run import NOT_TOLD, DryRun, dry_run
from ms_plm_ascend.writing import need_file

FORMS = {"composed": "auto", "flash3": {"relative_attention": "flash3"}, "flash": {"attention": "flash"}}
"""`--forms` -> `impl.kernels`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile every combination and print a line for each; one that fails does not keep the others from it."""
    args = build_parser().parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if args.json:
            need_file(args.json, "--json")
        failed = _table(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(NOT_TOLD)
    return 1 if failed else 0


def _table(args: argparse.Namespace) -> int:
    """Print the table, and write what was found after every plan; how many could not be made."""
    runs: list[DryRun] = []
    failed = 0
    _print_row("form", "recompute", "length", "batch", "peak GB", "state GB", "kernels", "flash", "casts", "s")
    for form, recompute, length in itertools.product(args.forms, args.recompute, args.lengths):
        group = []
        for batch in args.batches:
            try:
                group.append(_one(args, form, recompute, length, batch))
            except UserError as error:
                failed += 1
                print(f"error: {form}, recompute {recompute}, {batch} x {length}: {error}", file=sys.stderr)
                continue
            runs.append(group[-1])
            _print_run(form, group[-1])
            if args.json:
                write_json(args.json, [run.as_dict() for run in runs])
        print(f"    {largest_batches(group)}", flush=True)
    return failed


def largest_batches(runs: Sequence[DryRun]) -> str:
    """The largest forward that fits each chip that trains, by a straight line through the plans of some batches."""
    if len(runs) < 2:
        return "largest batch: it takes plans of two --batches or more"
    batches, peaks = [run.found["micro_batch"] for run in runs], [run.peak for run in runs]
    slope, start = np.polyfit(batches, peaks, 1)
    if slope < 1e-6:  # a kilobyte a sequence
        return "largest batch: memory does not grow with these batches, what it needs is the update's; give larger ones"
    off = max(abs(start + slope * batch - peak) / peak for batch, peak in zip(batches, peaks, strict=True))
    told = []
    for memory in sorted({chip.memory for chip in CHIPS.values() if chip.trains}):
        room = next(run.room / run.chip.memory * memory for run in runs)
        batch = int((room - start) / slope)
        told.append(f"{batch} in {memory} GB" + (" (extrapolated)" if batch > max(batches) else ""))
    return f"largest batch: {', '.join(told)}; {slope * 1000:.1f} MB a sequence, line off by {100 * off:.1f} %"


def _one(args: argparse.Namespace, form: str, recompute: str, length: int, batch: int) -> DryRun:
    overrides = {
        "data.max_length": length,
        "impl.micro_batch": batch,
        "train.batch": batch * args.devices * args.micro_batches,
        "impl.kernels": FORMS[form],
        "impl.recompute": recompute == "on",
    }
    given = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return dry_run(load_recipe(args.recipe, [*given, *args.overrides]), args.chip, args.devices)


def _print_run(form: str, run: DryRun) -> None:
    graph = run.graph
    _print_row(
        form,
        "on" if run.recipe.impl.recompute else "off",
        run.recipe.data.max_length,
        run.found["micro_batch"],
        f"{run.peak:.2f}",
        f"{run.state:.2f}",
        graph.size,
        graph.count("FlashAttentionScore", "FlashAttentionScoreGrad"),
        graph.casts + graph.fused_casts,
        f"{run.found['seconds']:.0f}",
    )


def _print_row(*cells: object) -> None:
    print("  ".join(f"{cell!s:>9}" for cell in cells), flush=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, found {text!r}")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ms_plm_ascend.simulate", description=__doc__.split("\n")[0])
    parser.add_argument("recipe", help="name of a shipped recipe, or a file")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--chip", default="910B2", help="which chip (default 910B2); its memory is not a limit here")
    parser.add_argument("--devices", type=_count, default=1, help="devices that train together (default 1)")
    parser.add_argument("--micro-batches", type=_count, default=1, help="forwards an update (default 1)")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64], help="sequences of a forward")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128], help="tokens of a sequence")
    parser.add_argument("--forms", nargs="+", choices=sorted(FORMS), default=["composed"], help="attention")
    parser.add_argument("--recompute", nargs="+", choices=("off", "on"), default=["off"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found, after every plan")
    return parser


if __name__ == "__main__":
    sys.exit(main())
