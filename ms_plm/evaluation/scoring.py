"""Metrics by the names that benchmark tasks give them, and a task's figures for its examples and predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import (
    BenchmarkTask,
    ChoiceExample,
    Example,
    QuestionExample,
    TextExample,
    TokensExample,
    is_labelled,
)
from ms_plm.evaluation import answers, classes, entities

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
    "gender_parity": classes.gender_parity,
    "entity_f1": entities.entity_f1,
    "entity_macro_f1": entities.entity_macro_f1,
    "entity_precision": entities.entity_precision,
    "entity_recall": entities.entity_recall,
    "token_accuracy": entities.token_accuracy,
    "squad_f1": answers.squad_f1,
    "squad_em": answers.squad_em,
    "squad_has_answer_f1": answers.squad_has_answer_f1,
    "squad_no_answer_accuracy": answers.squad_no_answer_accuracy,
    "cmrc_f1": answers.cmrc_f1,
    "cmrc_em": answers.cmrc_em,
    "record_f1": answers.squad_f1,
    "record_em": answers.squad_em,
}
"""Name -> function of (predictions, labels); larger is better for all of them, 1 is the best value."""
GROUPED = ("multirc_em", "gender_parity")
"""Those whose labels come with the group that an example belongs to."""


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
        predictions: one per example, as `write_predictions` takes them: the name of a class, a number, the tags of the
            words, the text of an answer ("" for none), the number of a choice.
        labels: classes in the order of their ids, where the task does not tell them (`Split.labels`).

    Raises:
        UserError: another number of predictions; an example without a label; an unknown metric.
    """
    if len(examples) != len(predictions) or not examples:
        raise UserError(f"{task.name}: {len(predictions)} predictions for {len(examples)} examples.")
    unknown = [name for name in task.metrics if name not in METRICS]
    if unknown:
        raise UserError(f"{task.name}: no metric {unknown[0]!r}; there are {', '.join(METRICS)}.")
    compared = [_compared(task, example, guess) for example, guess in zip(examples, predictions, strict=True)]
    found, expected = [pair[0] for pair in compared], [pair[1] for pair in compared]
    if task.kind == "classification":
        names = tuple(task.labels or labels or ())  # f1 is that of the task's second class, however a model counts them
        if "f1" in task.metrics and len(names) != 2:
            raise UserError(f"{task.name}: f1 is of the second of two classes, and there are {len(names)}: macro_f1.")
        found, expected = _ids(task, found, names), _ids(task, expected, names)
    figures = {}
    for name in task.metrics:
        figures[name] = METRICS[name](found, _grouped(examples, expected) if name in GROUPED else expected)
    return figures


def _compared(task: BenchmarkTask, example: Example, guess: Any) -> tuple[Any, Any]:
    """What metrics of this kind of task compare: the prediction and the label of one example."""
    if not is_labelled(example):
        raise UserError(f"{task.name}: example {example.id} has no label to compare with.")
    if isinstance(example, QuestionExample):
        return guess, [text for text, _ in example.answers]
    if isinstance(example, TokensExample):
        return guess, example.tags
    if isinstance(example, ChoiceExample) and example.answers:
        return example.choices[int(guess)], example.answers
    return guess, example.label


def _ids(task: BenchmarkTask, given: Sequence[str], names: Sequence[str]) -> np.ndarray:
    ids = {name: number for number, name in enumerate(names)}
    unknown = [name for name in given if name not in ids]
    if unknown:
        expected = ", ".join(map(repr, names))
        raise UserError(f"{task.name}: class {unknown[0]!r}; expected one of {expected}.")
    return np.array([ids[name] for name in given])


def _grouped(examples: Sequence[Example], expected: Sequence[Any]) -> list[tuple[str | None, Any]]:
    """Labels with what is scored together: the question of an answer, the pair of a sentence."""
    groups = [example.group if isinstance(example, TextExample) else None for example in examples]
    return list(zip(groups, expected, strict=True))
