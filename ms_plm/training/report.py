"""What `report.md` of a run says: figures before and after, speed, examples; and the loss curve as a picture."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_plm.training.log import duration, read_metrics
from ms_plm.training.session import TrainingResult

log = logging.getLogger(__name__)


def figures_table(result: TrainingResult, step: int | None = None, chosen: Mapping[str, float] | None = None) -> str:
    """Held-out figures before and after as a Markdown table, then speed.

    Args:
        result: of the run.
        step: whose weights are the result.
        chosen: its figures, which are told where it is not the last step.
    """
    before, after = result.progress.first_evaluation, result.progress.last_evaluation
    lines = []
    if before and after:
        columns = {"before": before, "after": after}
        if chosen and step != result.progress.step:
            columns[f"result (step {step})"] = chosen
        lines += [f"| held out | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
        for name, title in result.titles.items():
            if name in before:
                cells = " | ".join(f"{figures.get(name, math.nan):.4f}" for figures in columns.values())
                lines.append(f"| {title} | {cells} |")
        lines.append("")
    outcome = result.outcome
    lines += [
        "| run | |",
        "|---|---:|",
        f"| device | {result.device.description} |",
        f"| steps | {result.progress.step} |",
        f"| tokens seen | {result.progress.tokens:,} |",
        f"| time of training | {duration(result.progress.elapsed)} |",
    ]
    if outcome.tokens_per_second:  # nothing was left to do in a finished run that is resumed
        lines += [
            f"| tokens/s | {outcome.tokens_per_second:,.0f} |",
            f"| first update, graph compilation included | {outcome.compile_seconds:.1f} s |",
        ]
    return "\n".join(lines)


def examples_text(filled: Sequence[Mapping[str, Any]]) -> str:
    """Fill-mask examples, one a line."""
    lines = []
    for example in filled:
        answers = " ".join(
            "[" + ", ".join(f"{c['token']} {c['probability']:.2f}" for c in mask["candidates"][:3]) + "]"
            for mask in example["masks"]
        )
        lines.append(f"  {example['text']}  ->  {answers}")
    return "\n".join(lines)


def draw_loss_curve(folder: Path, picture: Path) -> bool:
    """Training and held-out loss over the steps as a PNG; False (said once) without the extra `viz`."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no loss curve: the extra viz is not installed (pip install matplotlib)")
        return False
    records = read_metrics(folder)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for kind, label, style in (("train", "training", {"lw": 0.8}), ("evaluate", "held out", {"marker": "o", "ms": 3})):
        points = [(r["step"], r["loss"]) for r in records if r["kind"] == kind]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
    axes.set(xlabel="step", ylabel="loss (all terms)", title=folder.name)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    return True
