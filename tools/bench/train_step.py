"""Our training step beside Hugging Face's on PyTorch: time, peak memory and compilation, all alternating in one run.

All train masked LM and next sentence at NEZHA-base's width on the same batches: dropout 0.1, AdamW with decay groups,
global-norm clip 1.0, the same number of threads. Contestants (see CONTESTANTS):

    hf-{nezha,bert}-{fp32,bf16}[-compiled]   transformers, eager or with torch.compile, the fused AdamW and the head on
                                             masked positions only; bf16: autocast; bert: without relative positions,
                                             scaled_dot_product_attention
    ms-reference    our step from the plain definitions
    ms-composed     from the forms in stock operators that `auto` chooses where there are no native ones
    ms-native       with the native (C++) forms; ms-native-bf16: matrix products in bf16

The eager ones decode every position and ignore those without a label, all others decode the masked ones: the result is
the same. Ours also draw dropout from the seed, so that a run can be resumed exactly, and check gradients for
infinities. Times are set beside the first contestant, and beside what matrix products alone take at the rate that
MindSpore's oneDNN reaches in the same run (share of the limit; bf16 ones by the bf16 rate, where there is one).

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 "numpy<2.3"
    python tools/bench/train_step.py --torch-python peers/bin/python
    python tools/bench/train_step.py --torch-python peers/bin/python --lengths 128 --layers 12 \\
        --contestants hf-nezha-fp32 hf-bert-fp32-compiled ms-native
    python tools/bench/train_step.py --contestants ms-composed ms-native --optimizer lamb    # ours alone
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from _comparison import TIMES, add_arguments, against_first, finish, has_bf16, has_peer, machine, print_table, times
from _limit import gemm_rates, step_flop
from _step_data import SIZES, masked_count
from _workers import Contestant, Race


def _torch(family: str, precision: str, compiled: bool = False) -> Contestant:
    options = {"family": family, "precision": precision, "compiled": int(compiled)}
    return Contestant("_torch_step.py", options, torch=True)


def _ours(kernels: str, compute: str = "fp32") -> Contestant:
    return Contestant("_mindspore_step.py", {"kernels": kernels, "compute": compute})


CONTESTANTS = {
    "hf-nezha-fp32": _torch("nezha", "fp32"),
    "hf-bert-fp32": _torch("bert", "fp32"),
    "hf-nezha-bf16": _torch("nezha", "bf16"),
    "hf-bert-bf16": _torch("bert", "bf16"),
    "hf-nezha-fp32-compiled": _torch("nezha", "fp32", compiled=True),
    "hf-bert-fp32-compiled": _torch("bert", "fp32", compiled=True),
    "hf-nezha-bf16-compiled": _torch("nezha", "bf16", compiled=True),
    "hf-bert-bf16-compiled": _torch("bert", "bf16", compiled=True),
    "ms-reference": _ours("reference"),
    "ms-composed": _ours("composed"),
    "ms-native": _ours("native"),
    "ms-native-bf16": _ours("native", "bf16"),
}
NOT_BY_DEFAULT = ("hf-bert-bf16", "ms-reference")
COLUMNS = TIMES | {
    "of limit": ("share_of_limit", ".0%"),
    "loss first": ("first_loss", ".3f"),
    "last": ("last_loss", ".3f"),
}


def compare(args: argparse.Namespace, length: int) -> dict[str, Any]:
    """Let all take turns at one length; prints the table and returns its figures."""
    options = {name: getattr(args, name) for name in ("layers", "hidden", "vocabulary", "threads")}
    options |= {"batch": max(1, args.tokens // length), "length": length}
    sizes = f"B={options['batch']} S={length}, {args.layers} layers x {args.hidden}"
    print(f"\n{sizes}; ours with {args.optimizer}", flush=True)
    with Race(args.torch_python) as race:
        # without the instructions this library multiplies in bf16 by plain loops, hundreds of times slower
        for dtype in ("fp32", "bf16") if has_bf16() else ("fp32",):
            gemm = {"rows": options["batch"] * length, "hidden": args.hidden, "threads": args.threads}
            race.add(f"gemm-{dtype}", Contestant("_gemm_rate.py", {"dtype": dtype}), gemm)
        for name in args.contestants:
            contestant = CONTESTANTS[name]
            race.add(name, contestant, options if contestant.torch else {**options, "optimizer": args.optimizer})
        race.run(args.rounds, args.steps)
    return summarise(race, options)


def summarise(race: Race, options: dict[str, Any]) -> dict[str, Any]:
    """Print the table of one length and return its figures."""
    flop = step_flop(options, options["batch"] * masked_count(options["length"]))
    rates = {}
    for dtype in ("fp32", "bf16"):
        if f"gemm-{dtype}" in race.workers:
            answers = race.workers.pop(f"gemm-{dtype}").answers
            rates[dtype] = gemm_rates(answers, options["batch"] * options["length"], options["hidden"])
    limits = {dtype: 1e-6 * sum(flop.values()) / rate["layer"] for dtype, rate in rates.items()}
    figures = {name: row(worker, limits) for name, worker in race.workers.items()}
    against_first(figures)
    print_table(figures, COLUMNS)
    parts = ", ".join(f"{name} {work / 1e9:.1f}" for name, work in flop.items())
    print(f"  GFLOP of a step: {sum(flop.values()) / 1e9:.1f} ({parts})")
    for dtype, rate in rates.items():
        shapes = ", ".join(f"{shape} {value:.0f}" for shape, value in rate.items())
        print(f"  limit by GEMM alone, {dtype}: {limits[dtype]:.0f} ms (GF/s: {shapes})", flush=True)
    return {
        **options,
        "flop": flop,
        "gemm_gflops": rates,
        "limit_ms": limits,
        "contestants": figures,
        "left_out": race.left_out,
    }


def row(worker: Any, limits: dict[str, float]) -> dict[str, Any]:
    """The figures of one contestant.

    Raises:
        SystemExit: it did not train.
    """
    losses = [*worker.ready["answers"], *worker.answers]
    if not all(0.0 < loss < 100.0 for loss in losses):
        raise SystemExit(f"{worker.name}: a loss is not a sensible number: {losses}")
    figures = {**times(worker), "first_loss": losses[0], "last_loss": losses[-1]}
    limit = limits.get("bf16" if "bf16" in worker.name else "fp32")
    return figures | {"share_of_limit": limit / figures["min_ms"] if limit else None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, CONTESTANTS, NOT_BY_DEFAULT)
    parser.add_argument("--layers", type=int, default=SIZES["layers"])
    parser.add_argument("--hidden", type=int, default=SIZES["hidden"], help="multiple of 64 (%(default)s)")
    parser.add_argument("--vocabulary", type=int, default=SIZES["vocabulary"])
    parser.add_argument("--optimizer", choices=("adamw", "lamb"), default="adamw", help="of ours")
    args = parser.parse_args()
    if args.hidden % 64:
        parser.error(f"--hidden: expected a multiple of 64 (the size of a head), found {args.hidden}")
    if not has_peer(args, CONTESTANTS):
        return 2
    head = machine(args.threads)
    return finish(args, head, [compare(args, length) for length in args.lengths])


if __name__ == "__main__":
    sys.exit(main())
