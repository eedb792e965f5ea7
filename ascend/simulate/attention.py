"""`python -m ms_plm_ascend.simulate.attention`: planned memory and copies of one attention with its gradient, by form.

Compiled for the Ascend target without a device, as a dry run of a whole step is; see `stubs`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from ms_plm.common.errors import UserError
from ms_plm.config.chips import chip_named
from ms_plm_ascend.simulate.reading import FLASH, Graph, read_log
from ms_plm_ascend.simulate.stubs import build

RELATIVE = ("reference", "table", "rotation", "flash3")
"""Forms of `relative_attention`; `flash` is of `attention`, which has no relative positions."""
FORMS = (*RELATIVE, "flash")
REACH, SIZE, DROPPED = 64, 64, 0.1
COPIES = ("StridedSlice", "Slice", "Concat")


def plan(form: str, batch: int, length: int, heads: int, drops: bool, chip: str = "910B2") -> tuple[float, Graph]:
    """Planned peak in MB and the kernels of one attention of fp16 vectors `[B, S, N * 64]`.

    Raises:
        UserError: this machine lacks what compiling needs, or it could not be compiled.
    """
    stubs = build()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **stubs.environment(chip_named(chip), 1)}
        environment |= {"GLOG_v": "1", "MS_SUBMODULE_LOG_v": "{DEVICE:1}", "PYTHONUNBUFFERED": "1"}
        words = [sys.executable, "-m", "ms_plm_ascend.simulate.attention", "--child", form]
        words += [str(number) for number in (batch, length, heads, int(drops))]
        ran = subprocess.run(words, env=environment, capture_output=True, text=True, errors="replace", cwd=folder)
    lines = [*ran.stdout.splitlines(), *ran.stderr.splitlines()]
    told = [line for line in lines if line.startswith(ANSWER)]
    if not told:
        errors = [line for line in lines if "Error" in line or "[ERROR]" in line]
        raise UserError(f"{form} could not be compiled for Ascend: {(errors or lines or ['silently'])[0][:500]}")
    return json.loads(told[0].removeprefix(ANSWER)) / 2**20, read_log(lines)


ANSWER = "planned peak: "
"""Before the bytes that a child prints."""


def child(form: str, batch: int, length: int, heads: int, drops: bool) -> None:
    """Compile, in a process whose environment is that of `stubs.Stubs.environment`."""
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn, ops

    from ms_plm.config.recipe import ImplSection
    from ms_plm.kernels import Call, Kernels
    from ms_plm.kernels.attention import sinusoid_table
    from ms_plm.kernels.dropout import DropoutPlan
    from ms_plm.training.hardware import open_device

    class Attention(nn.Cell):
        """Gradients of query, key and value."""

        def __init__(self) -> None:
            super().__init__()
            device = open_device(ImplSection(device="ascend"))
            call = Call("ascend", "fp16", training=True, exact_dropout=False, chip=device.chip)
            operation, more = ("relative_attention", {"reach": REACH}) if form in RELATIVE else ("attention", {})
            site = DropoutPlan().scores(DROPPED if drops else 0.0, heads)
            kernels = Kernels(call, {operation: form})
            self.cell = kernels.build(operation, heads=heads, head_size=SIZE, site=site, **more)
            self.table, self.gradient = Tensor(sinusoid_table(REACH, SIZE)), ops.GradOperation(get_all=True)

        def _sum(self, query, key, value, mask, keys):
            positions = self.cell.positions(self.table, query.shape[1], key.shape[1])
            return self.cell(query, key, value, mask, positions, keys)[0].astype(ms.float32).sum()

        def construct(self, query, key, value, mask, keys):
            return self.gradient(self._sum)(query, key, value, mask, keys)[:3]

    attention = Attention()
    vectors = [Tensor(np.zeros((batch, length, heads * SIZE), np.float16)) for _ in range(3)]
    mask, keys = np.zeros((batch, 1, 1, length), np.float32), np.zeros((batch, 2), np.int32)
    attention(*vectors, Tensor(mask), Tensor(keys))
    print(f"{ANSWER}{int(ms.runtime.max_memory_allocated())}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for every form."""
    args = build_parser().parse_args(arguments)
    if args.child:
        child(args.child[0], *map(int, args.child[1:4]), args.child[4] == "1")
        return 0
    print(f"{args.batch} x {args.length} tokens, {args.heads} heads x {SIZE}, fp16, forward and gradients")
    print(f"{'form':<10} {'MB':>7} {'with dropout':>13} {'kernels':>8} {'flash':>6} {'slices, joins':>14}")
    for form in args.forms:
        try:
            (plain, graph), (drops, _) = (
                plan(form, args.batch, args.length, args.heads, on, args.chip) for on in (False, True)
            )
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        counts = f"{graph.size:>8} {graph.count(*FLASH):>6} {graph.count(*COPIES):>14}"
        print(f"{form:<10} {plain:>7.0f} {drops:>13.0f} {counts}", flush=True)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ms_plm_ascend.simulate.attention", description=__doc__.split("\n")[0].partition(": ")[2]
    )
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["reference", "flash3", "flash"])
    parser.add_argument("--batch", type=int, default=16, help="sequences (%(default)s)")
    parser.add_argument("--length", type=int, default=512, help="tokens of each (%(default)s)")
    parser.add_argument("--heads", type=int, default=12, help="%(default)s")
    parser.add_argument("--chip", default="910B2", help="%(default)s")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
