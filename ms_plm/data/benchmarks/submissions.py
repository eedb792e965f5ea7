"""Files of predictions as the evaluations of GLUE, SuperGLUE, CLUE and SQuAD take them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm.data.benchmarks.examples import ChoiceExample, Split
from ms_plm.data.benchmarks.tasks import BenchmarkTask, Submission
from ms_plm.data.tags import entities


def write_predictions(task: BenchmarkTask, split: Split, predictions: Sequence[Any], folder: str | os.PathLike) -> Path:
    """Write the file that the benchmark's server takes.

    Args:
        task: what was predicted.
        split: its examples; the file follows their order.
        predictions: one per example: the name of a class, a number (cut to the task's bounds), the tags of the
            words, an answer's text, the number of a choice.
        folder: where the file is written, under its official name; of a split that no server takes, as JSON objects of
            `id` and `prediction`, one a line, `SPLIT_predictions.jsonl`.

    Returns:
        The file.

    Raises:
        UserError: another number of predictions; a class that the task does not have.
    """
    if len(predictions) != len(split.examples):
        raise UserError(f"{task.name}: {len(predictions)} predictions for {len(split.examples)} examples.")
    made = task.submission
    if made is None or split.name not in made.files:
        made = Submission("plain", {split.name: f"{split.name}_predictions.jsonl"})
    lines = _LINES[made.format](task, split, [_checked(task, made, prediction) for prediction in predictions])
    path = Path(folder) / made.files[split.name]
    with replacing_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _checked(task: BenchmarkTask, submission: Submission, prediction: Any) -> Any:
    """The prediction as JSON and tables take it."""
    if task.kind == "regression":
        least, greatest = task.bounds or (float("-inf"), float("inf"))
        return round(min(max(float(prediction), least), greatest), 6)
    if task.kind == "multiple_choice":
        return int(prediction)
    if task.kind == "tokens":
        return list(prediction)
    if task.kind == "classification" and task.labels is not None and prediction not in task.labels:
        raise UserError(f"{task.name}: prediction {prediction!r}; expected one of {', '.join(map(repr, task.labels))}.")
    return submission.spelling.get(prediction, prediction)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(identifier: str) -> int | str:
    return int(identifier) if identifier.isdecimal() else identifier


def _glue(task: BenchmarkTask, split: Split, values: Sequence[Any]) -> Iterator[str]:
    yield "index\tprediction"
    for example, value in zip(split.examples, values, strict=True):
        yield f"{example.id}\t{value}"


def _plain(task: BenchmarkTask, split: Split, values: Sequence[Any]) -> Iterator[str]:
    for example, value in zip(split.examples, values, strict=True):
        yield _json({"id": _number(example.id), "prediction": value})


def _records(task: BenchmarkTask, split: Split, values: Sequence[Any]) -> Iterator[str]:
    for example, value in zip(split.examples, values, strict=True):
        yield _json({"id": _number(example.id), "label": value})


def _answers(task: BenchmarkTask, split: Split, values: Sequence[Any]) -> Iterator[str]:
    found = {example.id: value for example, value in zip(split.examples, values, strict=True)}
    if len(found) < len(values):
        raise UserError(
            f"{task.name}: {len(values)} questions, but only {len(found)} different ids; each needs its own."
        )
    yield json.dumps(found, ensure_ascii=False, indent=2)


def _entities(task: BenchmarkTask, split: Split, values: Sequence[Any]) -> Iterator[str]:
    """CLUENER: `{type: {text: [[first, last], ...]}}`."""
    for example, tags in zip(split.examples, values, strict=True):
        label: dict[str, dict[str, list[list[int]]]] = {}
        for kind, begin, stop in entities(tags):
            places = label.setdefault(kind, {}).setdefault("".join(example.words[begin:stop]), [])
            places.append([begin, stop - 1])
        yield _json({"id": _number(example.id), "label": label})


def _superglue(task: BenchmarkTask, split: Split, values: Sequence[Any]) -> Iterator[str]:
    """One object an example; MultiRC's answers are gathered by passage and question, ReCoRD's are texts."""
    passages: dict[int, dict[int, list[dict[str, int]]]] = {}
    for example, value in zip(split.examples, values, strict=True):
        if "multirc_em" in task.metrics:
            passage, question, answer = map(int, example.id.split("-"))
            answers = passages.setdefault(passage, {}).setdefault(question, [])
            answers.append({"idx": answer, "label": int(value)})
        else:
            texts = isinstance(example, ChoiceExample) and "record_em" in task.metrics
            yield _json({"idx": _number(example.id), "label": example.choices[value] if texts else value})
    for passage, questions in passages.items():
        found = [{"idx": question, "answers": answers} for question, answers in questions.items()]
        yield _json({"idx": passage, "passage": {"questions": found}})


_LINES: dict[str, Callable[[BenchmarkTask, Split, Sequence[Any]], Iterator[str]]] = {
    "plain": _plain,
    "glue": _glue,
    "records": _records,
    "superglue": _superglue,
    "entities": _entities,
    "answers": _answers,
}
