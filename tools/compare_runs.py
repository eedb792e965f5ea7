"""Draw the loss and the held-out accuracy of several runs into one picture, and print their last figures.

python tools/compare_runs.py runs/nezha_tiny_pretrain_zh runs/bert_tiny_pretrain_zh --output docs/tiny_zh.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from ms_plm.training.log import read_metrics


def main() -> None:
    """Read metrics.jsonl of each run folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--output", type=Path, required=True, help="the PNG to write")
    arguments = parser.parse_args()
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for number, run in enumerate(arguments.runs):
        records, colour = read_metrics(run), f"C{number}"
        train = [(r["step"], r["loss"]) for r in records if r["kind"] == "train"]
        held_out = [r for r in records if r["kind"] == "evaluate"]
        steps = [r["step"] for r in held_out]
        losses.plot(*zip(*train, strict=True), color=colour, lw=0.6, alpha=0.6)
        losses.plot(steps, [r["loss"] for r in held_out], color=colour, marker="o", ms=3, label=f"{run.name}, held out")
        for key, style in (("accuracy", "-"), ("accuracy_words", "--")):
            label = run.name + ("" if key == "accuracy" else ", without punctuation and [UNK]")
            accuracies.plot(steps, [r[key] for r in held_out], style, color=colour, marker="o", ms=3, label=label)
        last = held_out[-1]
        shown = ", ".join(f"{key} {value:.4f}" for key, value in last.items() if isinstance(value, float))
        print(f"{run.name}: step {last['step']}: {shown}")
    losses.set(xlabel="step", ylabel="masked-LM loss", title="training (thin) and held-out loss")
    accuracies.set(xlabel="step", ylabel="share of masked positions", title="held-out accuracy")
    for axes in (losses, accuracies):
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
