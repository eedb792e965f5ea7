"""Does fine-tuning reach what transformers and PyTorch reach? Tasks of GLUE, several seeds, dropout on.

The same encoder, rows, numbers of epochs, optimizer and schedule; every training draws its own head, order and dropout
from its seed. The last state is scored on the whole dev set, by the same code. Runs in our environment; torch and
transformers are in another one, whose Python is named:

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 safetensors "numpy<2.3"
    python tools/compare_finetuning.py HF_FOLDER DATA --peer peers/bin/python --results finetuning.jsonl

HF_FOLDER is an encoder as transformers reads it (`tools/check_conversion.py` tells of one), DATA has folders SST-2,
MRPC, CoLA and STS-B. Every finished training is a line of --results; those there are not done again. Exit code 1: a
mean is more than 2 pooled standard errors away from the other, or a task has fewer than two seeds of each.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from bench._finetuning import OURS, TASKS, THEIRS, Trainer, work_folder

BOUND = 2.0
"""Pooled standard errors between means."""


def finished(path: Path) -> list[dict[str, Any]]:
    """The trainings of a file of results; a last line that was cut is left out, and taken off the file."""
    if not path.exists():
        return []
    *lines, cut = path.read_text(encoding="utf-8").split("\n")
    if cut:
        print(f"{path}: its last line is cut, as by a kill: that training is done again", file=sys.stderr)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [json.loads(line) for line in lines]


def compared(rows: list[dict[str, Any]], names: list[str]) -> tuple[list[str], bool]:
    """Lines of a table over what both have finished, and whether all means are there and within the bound."""
    lines = [
        f"| task | dev figure | {OURS} | {THEIRS} | difference | in pooled s.e. | seeds |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    good = True
    for name, task in ((name, TASKS[name]) for name in names):
        for metric in task.metrics:
            values: dict[str, list[float]] = {OURS: [], THEIRS: []}
            for row in rows:
                if row["task"] == name:
                    values[row["framework"]].append(row["scores"][metric])
            if min(map(len, values.values())) < 2:
                lines.append(f"| {task.folder} | {metric} | two seeds of each at least are needed | | | | |")
                good = False
                continue
            ours, theirs = (mean_and_error(values[framework]) for framework in (OURS, THEIRS))
            difference, pooled = ours[0] - theirs[0], math.hypot(ours[1], theirs[1])
            ratio = difference / pooled if pooled else math.copysign(math.inf, difference) if difference else 0.0
            good &= abs(ratio) <= BOUND
            shown = " | ".join(f"{mean:.4f} ± {error:.4f}" for mean, error in (ours, theirs))
            seeds = "/".join(str(len(values[framework])) for framework in (OURS, THEIRS))
            lines.append(f"| {task.folder} | {metric} | {shown} | {difference:+.4f} | {ratio:+.2f} | {seeds} |")
    return lines, good


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error, from the sample's deviation."""
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Hugging Face folder of an encoder")
    parser.add_argument("data", type=Path, help="folder with the official files of every task in a folder of its own")
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="of an environment with torch and transformers")
    parser.add_argument("--results", type=Path, required=True, metavar="FILE", help="a JSON line a finished training")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="%(default)s")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="for what is made on the way; default: a temporary folder")
    args = parser.parse_args()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(args.work) as work:
        trainer = Trainer(args.folder, args.data, args.peer, work, args.threads, args.learning_rate)
        rows = finished(args.results)
        for seed in args.seeds:
            for name in args.tasks:
                settings = trainer.settings(name)
                for framework in (OURS, THEIRS):
                    key = {"task": name, "seed": seed, "framework": framework}
                    same = [row for row in rows if row.items() >= key.items()]
                    if any(row["settings"] != settings for row in same):
                        raise SystemExit(f"{args.results}: {key} was trained otherwise; name another file")
                    if same:
                        continue
                    row = {**key, **trainer.train(framework, name, seed), "settings": settings}
                    rows.append(row)
                    with open(args.results, "a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    scores = ", ".join(f"{metric} {value:.4f}" for metric, value in row["scores"].items())
                    print(f"{name}, seed {seed}, {framework}: {scores}; {row['seconds']:.0f} s", flush=True)
    lines, good = compared([row for row in rows if row["seed"] in args.seeds], args.tasks)
    print("\n".join(["", *lines]))
    print("\nmean ± standard error over seeds; pooled: the root of the sum of both squared")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
