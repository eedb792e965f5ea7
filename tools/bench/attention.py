"""Relative attention alone, forward and gradients: our forms beside PyTorch's, alternating in one run.

From query, key and value `[B, S, 12*64]`, without projections, dropout 0.1, nothing masked. Positions that the layers
of a model share are made before (transformers keeps them as well). Contestants:

    ms-reference, ms-naive, ms-table, ms-rotation    forms in stock operators
    ms-native, ms-native-bf16                        C++ (bf16: products)
    hf-nezha-fp32, hf-nezha-bf16                     NezhaSelfAttention of transformers, eager; bf16: autocast
    hf-nezha-fp32-compiled                           the same with torch.compile
    sdpa-fp32, sdpa-bf16                             scaled_dot_product_attention, WITHOUT relative positions

Peak memory is that of the worker above what it held after a tiny call, before inputs and positions were made: both,
all that the gradient needs, and what compilation leaves behind. The first step is the second compilation, the tiny call
was the first. dq: one entry of the first step's gradient of the query; ours draw the same dropout, so theirs agree.

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 "numpy<2.3"
    python tools/bench/attention.py --torch-python peers/bin/python
    python tools/bench/attention.py --contestants ms-naive ms-native --lengths 128    # ours alone
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from _attention_sizes import SIZES
from _comparison import TIMES, add_arguments, against_first, finish, has_peer, machine, print_table, times
from _workers import Contestant, Race


def _ours(form: str, compute: str = "fp32") -> Contestant:
    return Contestant("_mindspore_attention.py", {"form": form, "compute": compute})


def _torch(kind: str, precision: str, compiled: bool = False) -> Contestant:
    options = {"kind": kind, "precision": precision, "compiled": int(compiled)}
    return Contestant("_torch_attention.py", options, torch=True)


CONTESTANTS = {
    "hf-nezha-fp32": _torch("nezha", "fp32"),
    "hf-nezha-bf16": _torch("nezha", "bf16"),
    "hf-nezha-fp32-compiled": _torch("nezha", "fp32", compiled=True),
    "sdpa-fp32": _torch("sdpa", "fp32"),
    "sdpa-bf16": _torch("sdpa", "bf16"),
    "ms-reference": _ours("reference"),
    "ms-naive": _ours("naive"),
    "ms-table": _ours("table"),
    "ms-rotation": _ours("rotation"),
    "ms-native": _ours("native"),
    "ms-native-bf16": _ours("native", "bf16"),
}
NOT_BY_DEFAULT = ("sdpa-bf16",)
COLUMNS = TIMES | {"dq": ("first_gradient", ".6f")}


def compare(args: argparse.Namespace, length: int) -> dict[str, Any]:
    """Let all take turns at one length; prints the table and returns its figures."""
    options = {"batch": max(1, args.tokens // length), "length": length, "heads": args.heads, "threads": args.threads}
    print(f"\nB={options['batch']} S={length}, {args.heads} heads x 64", flush=True)
    with Race(args.torch_python) as race:
        for name in args.contestants:
            race.add(name, CONTESTANTS[name], options)
        race.run(args.rounds, args.steps)
    figures = {name: times(worker) for name, worker in race.workers.items()}
    for name, worker in race.workers.items():
        figures[name]["first_gradient"] = worker.ready["answers"][0]
    against_first(figures)
    print_table(figures, COLUMNS)
    return {**options, "contestants": figures, "left_out": race.left_out}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, CONTESTANTS, NOT_BY_DEFAULT)
    parser.add_argument("--heads", type=int, default=SIZES["heads"], help="of 64 (%(default)s)")
    args = parser.parse_args()
    if not has_peer(args, CONTESTANTS):
        return 2
    head = machine(args.threads)
    return finish(args, head, [compare(args, length) for length in args.lengths])


if __name__ == "__main__":
    sys.exit(main())
