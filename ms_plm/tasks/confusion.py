"""Which classes of a task a model confuses, from a split and what was predicted for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ms_plm.data.benchmarks import BenchmarkTask, Split, TextExample, TokensExample
from ms_plm.pictures.confusion import confused_text, draw_confusion
from ms_plm.tasks.runner import TaskEvaluator


def draw_split_confusion(
    task: BenchmarkTask, split: Split, predictions: Sequence[Any], path: str | Path
) -> list[dict[str, Any]] | None:
    """`ms_plm.pictures.confusion.draw_confusion` of a split; of tags, every word counts.

    Args:
        task: where its labels are numbers that have names (TNEWS), the names are shown.
        split: with classes; examples without a label are left out.
        predictions: one per example, as `ms_plm.evaluation.scoring.score` takes them.
        path: the picture.

    Returns:
        The most confused pairs; None, and nothing is written, where the split has no classes or no labels.
    """
    expected, predicted = [], []
    for example, guess in zip(split.examples, predictions, strict=True):
        if isinstance(example, TextExample) and example.label is not None:
            expected.append(example.label)
            predicted.append(guess)
        elif isinstance(example, TokensExample) and example.tags is not None:
            expected.append(example.tags)
            predicted.append(guess)
    if split.labels is None or not expected:
        return None
    if isinstance(split.examples[0], TokensExample):
        expected, predicted = list(chain(*expected)), list(chain(*predicted))
    names = {label: name for name, label in task.aliases.items()}
    shown = ([names.get(label, label) for label in labels] for labels in (split.labels, expected, predicted))
    return draw_confusion(*shown, path, f"{split.task}, {split.name}:")


def told_confusion(
    task: BenchmarkTask, split: Split, predictions: Sequence[Any], path: str | Path, several: bool = False
) -> str:
    """Draw the confusion of a split, and say what is confused most and where the rest is.

    Args:
        task, split, predictions: see `draw_split_confusion`.
        path: the picture.
        several: of several splits: the file's name gets the split's.
    """
    path = Path(path)
    if several:
        path = path.with_stem(f"{path.stem}_{split.name}")
    pairs = draw_split_confusion(task, split, predictions, path)
    if pairs is None:
        return f"no confusion of {split.name}: it has no labels."
    files = " and ".join(str(file) for file in (path, path.with_suffix(".json")) if file.is_file())
    if not pairs:
        return f"nothing is confused in {split.name} ({files})."
    return f"confused most in {split.name} (all in {files}):\n{confused_text(pairs)}"


def draw_result(evaluator: TaskEvaluator, folder: Path) -> None:
    """`confusion.png` and `confusion.json` of the first split, for a task with classes, into a run folder.

    The process that calls this does the whole split by itself; the others need not take part.
    """
    name, (split, _) = next(iter(evaluator.splits.items()))
    if split.labels:
        predictions = evaluator.by_itself().evaluated(name)[1]
        draw_split_confusion(evaluator.task, split, predictions, folder / "confusion.png")
