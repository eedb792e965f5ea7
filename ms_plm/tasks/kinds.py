"""The kinds of task by name, and which one a benchmark's task or a model folder is of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from ms_plm.common.errors import UserError
from ms_plm.config.finetuning import OwnTaskSection
from ms_plm.data.benchmarks import TASKS, BenchmarkTask, own_questions, own_texts, own_tokens
from ms_plm.tasks.choices import ChoiceKind
from ms_plm.tasks.kind import TaskKind
from ms_plm.tasks.questions import QuestionKind
from ms_plm.tasks.tagging import TagKind
from ms_plm.tasks.text import TextKind

KINDS: dict[str, type[TaskKind]] = {
    "classification": TextKind,
    "regression": TextKind,
    "tokens": TagKind,
    "question_answering": QuestionKind,
    "multiple_choice": ChoiceKind,
}
"""By `BenchmarkTask.kind`."""


def named_task(name: str) -> BenchmarkTask:
    """A benchmark's task.

    Raises:
        UserError: there is none of that name.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"task: no task {name!r}.{hint} There are {', '.join(sorted(TASKS))}.")
    return TASKS[name]


def own_task(own: OwnTaskSection, paths: Mapping[str, str]) -> BenchmarkTask:
    """A task of your own whose splits are read from `paths`: split -> file."""
    metrics = {"metrics": own.metrics} if own.metrics else {}
    if own.kind == "tokens":
        return own_tokens(paths, own.word, own.tag, labels=own.labels, **metrics)
    if own.kind == "question_answering":
        return own_questions(paths, **metrics)
    return own_texts(paths, own.text, own.pair, own.label, own.kind, own.labels, own.metrics, own.header)
