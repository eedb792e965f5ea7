"""Metrics by the names that benchmark tasks give them, and a task's figures for its examples and predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import BenchmarkTask, Example, TextExample
from ms_plm.evaluation import classes

METRICS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": classes.accuracy,
    "f1": classes.f1,
    "macro_f1": classes.macro_f1,
    "matthews": classes.matthews,
    "pearson": classes.pearson,
    "spearman": classes.spearman,
    "pearson_spearman": classes.pearson_spearman,
    "multirc_f1a": classes.f1,
    "multirc_em": classes.exact_questions,
}
"""Name -> function of (predictions, labels); larger is better for all of them, 1 is the best value."""
GROUPED = ("multirc_em",)
"""Metrics whose labels are `(group, label)`."""


def score(
    task: BenchmarkTask,
    examples: Sequence[Example],
    predictions: Sequence[Any],
    labels: Sequence[str] | None = None,
) -> dict[str, float]:
    """A task's figures, in the order of its metrics: the first one decides.

    Args:
        task: names the metrics.
        examples: with their labels.
        predictions: one per example: the name of a class, a number.
        labels: classes in the order of their ids, where the task does not tell them (`Split.labels`).

    Raises:
        UserError: another number of predictions; an example without a label; an unknown metric.
    """
    if len(examples) != len(predictions) or not examples:
        raise UserError(f"{task.name}: {len(predictions)} predictions for {len(examples)} examples.")
    unknown = [name for name in task.metrics if name not in METRICS]
    if unknown:
        raise UserError(f"{task.name}: no metric {unknown[0]!r}; there are {', '.join(METRICS)}.")
    found, expected, groups = _comparable(task, examples, predictions, labels)
    return {
        name: METRICS[name](found, list(zip(groups, expected, strict=True)) if name in GROUPED else expected)
        for name in task.metrics
    }


def _comparable(
    task: BenchmarkTask, examples: Sequence[Example], predictions: Sequence[Any], labels: Sequence[str] | None
) -> tuple[Any, Any, list[str | None]]:
    """Predictions and labels as the metrics take them, and the examples' groups."""
    known: list[TextExample] = []
    for example in examples:
        if not isinstance(example, TextExample) or example.label is None:
            raise UserError(f"{task.name}: example {example.id} has no label to compare with.")
        known.append(example)
    groups = [example.group for example in known]
    if task.kind == "regression":
        return np.asarray(predictions, np.float64), np.array([example.label for example in known], np.float64), groups
    names = tuple(labels or task.labels or ())
    ids = {name: number for number, name in enumerate(names)}
    try:
        found = np.array([ids[name] for name in predictions])
        expected = np.array([ids[example.label] for example in known])
    except KeyError as error:
        raise UserError(
            f"{task.name}: class {error.args[0]!r}; expected one of {', '.join(map(repr, names))}."
        ) from error
    return found, expected, groups
