"""What `report.md` of a run says: figures before and after, speed, examples; and the learning curves as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_plm.pictures.canvas import can_draw, save_figure
from ms_plm.pictures.curves import learning_curves
from ms_plm.training.log import duration, read_metrics
from ms_plm.training.session import TrainingResult


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


def draw_loss_curve(folder: Path, picture: Path, result: TrainingResult) -> bool:
    """Learning curves of a run as a PNG: losses, and below them the figure that decides (the masked accuracy of a
    pretraining); the run's best evaluation is marked.

    Args:
        folder: of the run.
        picture: the file to write.
        result: of the run.

    Returns:
        False, said in the log, without the extra `viz`.
    """
    if not can_draw("learning curves"):
        return False
    records, titles = read_metrics(folder), dict(result.titles)
    metric = "metric" if any("metric" in record for record in records) else "accuracy"
    titles.setdefault("metric", next((title for name, title in titles.items() if name != "loss"), "metric"))
    figure = learning_curves(
        records, folder.name, metric, titles.get(metric), result.progress.best_step, result.updates_per_epoch
    )
    save_figure(figure, picture)
    return True
