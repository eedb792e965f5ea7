"""What the comparisons have in common beside their workers: options, the machine, the table, the file of figures."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from _workers import Contestant, Worker

from ms_plm.common.processor import cores, cpu_features

INSTALL = 'python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 "numpy<2.3"'
VECTOR_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
TIMES = {
    "min ms": ("min_ms", ".1f"),
    "median ms": ("median_ms", ".1f"),
    "x by min": ("faster_by_min", ".2f"),
    "x by median": ("faster_by_median", ".2f"),
    "peak MB": ("peak_mb", ".0f"),
    "memory": ("memory_ratio", ".2f"),
    "first step s": ("first_step_s", ".1f"),
}
"""Columns of every table: title, then the name of the figure and its format."""

Contestants = Mapping[str, Contestant]


def add_arguments(parser: argparse.ArgumentParser, contestants: Contestants, not_by_default: Collection[str]) -> None:
    """Who takes part, how long, and where figures go. In bf16 by default only where the processor can."""
    default = [name for name in contestants if name not in not_by_default and (has_bf16() or "bf16" not in name)]
    parser.add_argument("--torch-python", help="interpreter of an environment with torch and transformers 4.46.3")
    parser.add_argument(
        "--contestants",
        nargs="+",
        choices=contestants,
        default=default,
        metavar="NAME",
        help=f"of {', '.join(contestants)}; all but {', '.join(not_by_default)}, and those in bf16 only where the "
        "processor has instructions for it, unless named",
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--tokens", type=int, default=1024, help="tokens in a batch: B = tokens / S (%(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each contestant (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")


def has_peer(args: argparse.Namespace, contestants: Contestants) -> bool:
    """Whether there is an interpreter for those who need PyTorch; says how to make one."""
    if not any(contestants[name].torch for name in args.contestants):
        return True
    command = [args.torch_python or "", "-c", "from transformers import NezhaModel"]
    try:
        if subprocess.run(command, capture_output=True).returncode == 0:
            return True
    except OSError:
        pass
    print(f"--torch-python: expected an interpreter with torch and transformers 4.46.3, found {args.torch_python}. "
          f"Make one:\n  {INSTALL}\nthen give --torch-python peers/bin/python", file=sys.stderr)  # fmt: skip
    return False


def has_bf16() -> bool:
    """Whether this processor multiplies in bf16."""
    return bool(BF16_FLAGS & cpu_features()[1])


def machine(threads: int) -> dict[str, Any]:
    """What the figures depend on; printed as the head of the tables."""
    model, flags = cpu_features()
    figures = {
        "processor": model,
        "cores": cores(),
        "flags": [flag for flag in VECTOR_FLAGS if flag in flags],
        "bf16_instructions": has_bf16(),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
    }
    bf16 = "yes" if figures["bf16_instructions"] else "none on this processor: bf16 is emulated, its times say little"
    print(f"{model}, {figures['cores']} cores ({' '.join(figures['flags'])}), {threads} threads a contestant")
    print(f"bf16 instructions: {bf16}; load average {figures['load_before']} before the run", flush=True)
    return figures


def times(worker: Worker) -> dict[str, Any]:
    """The figures that every contestant has."""
    return {
        "about": worker.ready["ready"],
        "min_ms": 1e3 * min(worker.seconds),
        "median_ms": 1e3 * statistics.median(worker.seconds),
        "first_step_s": worker.ready["first_step_seconds"],
        "peak_mb": worker.peak_mb,
        "steps": len(worker.seconds),
    }


def against_first(figures: dict[str, dict[str, Any]]) -> None:
    """Add to each: how many times as fast as the first it is, by min and by median, and its share of its memory."""
    first = next(iter(figures.values()), {})
    for row in figures.values():
        row["faster_by_min"] = first["min_ms"] / row["min_ms"]
        row["faster_by_median"] = first["median_ms"] / row["median_ms"]
        row["memory_ratio"] = row["peak_mb"] / first["peak_mb"] if first["peak_mb"] else None


def print_table(figures: dict[str, dict[str, Any]], columns: dict[str, tuple[str, str]]) -> None:
    """One line a contestant; `columns`: title to (key, format). A missing figure is a dash."""
    width = max(map(len, figures), default=0)
    print("  " + " " * width + "".join(f"  {title:>{max(len(title), 7)}}" for title in columns))
    for name, row in figures.items():
        cells = []
        for title, (key, form) in columns.items():
            text = "-" if row.get(key) is None else format(row[key], form)
            cells.append(f"  {text:>{max(len(title), 7)}}")
        print(f"  {name:<{width}}" + "".join(cells), flush=True)


def finish(args: argparse.Namespace, head: dict[str, Any], runs: list[dict[str, Any]]) -> int:
    """Write the figures if they are wanted; the exit status: 1 if a contestant was left out."""
    head["load_after"] = round(os.getloadavg()[0], 2)
    print(f"\nload average {head['load_after']} after the run")
    if args.json:
        args.json.write_text(json.dumps({"machine": head, "runs": runs}, indent=2) + "\n", encoding="utf-8")
    return 1 if any(set(run["left_out"]) & set(args.contestants) for run in runs) else 0
