"""Files of predictions as GLUE's, CLUE's and SQuAD's evaluations take them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file, write_json
from ms_plm.data.benchmarks.examples import Split
from ms_plm.data.benchmarks.tasks import BenchmarkTask


def write_predictions(task: BenchmarkTask, split: Split, predictions: Sequence[Any], folder: str | os.PathLike) -> Path:
    """Write the file that the benchmark's server takes.

    Args:
        task: what was predicted.
        split: its examples; the file follows their order.
        predictions: one per example: the name of a class, a number (cut to the task's bounds), an answer's text, the
            number of a choice.
        folder: where the file is written, under its official name.

    Returns:
        The file.

    Raises:
        UserError: no server takes this split; another number of predictions; a class that the task does not have.
    """
    if task.submission is None or split.name not in task.submission.files:
        there = ", ".join(task.submission.files) if task.submission else "none"
        raise UserError(f"{task.name}: no submission of split {split.name!r}; there is one for: {there}.")
    if len(predictions) != len(split.examples):
        raise UserError(f"{task.name}: {len(predictions)} predictions for {len(split.examples)} examples.")
    values = [_checked(task, prediction) for prediction in predictions]
    identifiers = [example.id for example in split.examples]
    path = Path(folder) / task.submission.files[split.name]
    if task.submission.format == "answers":
        write_json(path, dict(zip(identifiers, values, strict=True)))
        return path
    if task.submission.format == "glue":
        lines = ["index\tprediction", *(f"{name}\t{value}" for name, value in zip(identifiers, values, strict=True))]
    else:
        lines = [
            json.dumps({"id": int(name) if name.isdecimal() else name, "label": value}, ensure_ascii=False)
            for name, value in zip(identifiers, values, strict=True)
        ]
    with replacing_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _checked(task: BenchmarkTask, prediction: Any) -> Any:
    """The prediction as JSON and tables take it."""
    if task.kind == "regression":
        least, greatest = task.bounds or (float("-inf"), float("inf"))
        return round(min(max(float(prediction), least), greatest), 6)
    if task.kind == "multiple_choice":
        return int(prediction)
    if task.kind == "classification" and task.labels is not None and prediction not in task.labels:
        raise UserError(f"{task.name}: prediction {prediction!r}; expected one of {', '.join(map(repr, task.labels))}.")
    return str(prediction)
