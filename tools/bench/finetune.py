"""A whole fine-tuning beside transformers': wall time from the start of the process to the saved model, alternating.

The same encoder, rows, epochs, optimizer and schedule (`_finetuning.py`), fp32, the whole dev set evaluated after every
epoch. transformers on PyTorch, eager, as its examples do it: every batch padded to its longest row. Ours: the shipped
recipe with all that it does: the compilation of every graph, an evaluation before the first update and a checkpoint
with the state of the optimizer are in its time.

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 "numpy<2.3"
    python tools/bench/finetune.py HF_FOLDER DATA --torch-python peers/bin/python
    python tools/bench/finetune.py HF_FOLDER DATA --torch-python peers/bin/python --rounds 1 data.lengths=3

HF_FOLDER is an encoder as transformers reads it, DATA has a folder MRPC. `key=value` change our recipe. Beside the
seconds stand medians of their parts, imports and compilations, and of the processor time on all cores, which other work
on the machine changes least.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from _comparison import INSTALL, machine, print_table
from _finetuning import OURS, TASKS, THEIRS, Trainer, work_folder

COLUMNS = {
    "min s": ("min_s", ".1f"),
    "median s": ("median_s", ".1f"),
    "x by min": ("faster_by_min", ".2f"),
    "x by median": ("faster_by_median", ".2f"),
    "cpu s": ("cpu_seconds", ".0f"),
    "imports s": ("import_seconds", ".1f"),
    "graphs": ("compiled", ".0f"),
    "compile s": ("compile_seconds", ".1f"),
    "peak MB": ("peak_mb", ".0f"),
    "dev figure": ("score", ".4f"),
}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one framework's trainings."""
    seconds = [run["seconds"] for run in runs]
    figures = {"min_s": min(seconds), "median_s": statistics.median(seconds), "runs": runs}
    for key in ("cpu_seconds", "import_seconds", "compiled", "compile_seconds", "peak_mb"):
        if key in runs[0]:
            figures[key] = statistics.median(run[key] for run in runs)
    figures["score"] = statistics.fmean(next(iter(run["scores"].values())) for run in runs)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Hugging Face folder of an encoder")
    parser.add_argument("data", type=Path, help="folder with the official files of every task in a folder of its own")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="changes of our recipe, such as data.lengths=3"
    )
    parser.add_argument("--torch-python", required=True, help="interpreter with torch and transformers: " + INSTALL)
    parser.add_argument("--task", choices=TASKS, default="mrpc", help="%(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="%(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="%(default)s")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_intermixed_args()
    changes = dict(item.split("=", 1) for item in args.overrides)
    head = machine(args.threads)
    runs: dict[str, list[dict[str, Any]]] = {THEIRS: [], OURS: []}
    with work_folder(None) as work:
        trainer = Trainer(
            args.folder,
            args.data,
            args.torch_python,
            work,
            args.threads,
            args.learning_rate,
            epochs=args.epochs,
            overrides=changes,
        )
        print(f"{args.task}: {trainer.settings(args.task)} {' '.join(args.overrides)}", flush=True)
        for number in range(args.rounds):
            for framework in list(runs) if number % 2 == 0 else list(runs)[::-1]:
                runs[framework].append(trainer.train(framework, args.task, args.seed, every_epochs=1))
                print(f"  {framework}: {runs[framework][-1]['seconds']:.1f} s", flush=True)
    figures = {f"{framework}: {made[0]['versions']}": summary(made) for framework, made in runs.items()}
    first = next(iter(figures.values()))
    for row in figures.values():
        row["faster_by_min"] = first["min_s"] / row["min_s"]
        row["faster_by_median"] = first["median_s"] / row["median_s"]
    print()
    print_table(figures, COLUMNS)
    head["load_after"] = round(os.getloadavg()[0], 2)
    print(f"\nload average {head['load_after']} after the run")
    if args.json:
        record = {"machine": head, "task": args.task, "overrides": changes, "contestants": figures}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
