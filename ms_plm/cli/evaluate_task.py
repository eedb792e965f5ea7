"""What `ms-plm evaluate` does with a fine-tuned model: a task's figures, and files of predictions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_plm.cli.model_folder import open_model, trained_limits, trained_threshold
from ms_plm.cli.picture_files import check_picture
from ms_plm.cli.task_files import labels_of, task_and_files
from ms_plm.common.errors import UsageError, UserError
from ms_plm.common.files import write_json

if TYPE_CHECKING:
    from ms_plm.data.benchmarks import BenchmarkTask, Split


def evaluate_task(args: argparse.Namespace, folder: Path, head: str) -> int:
    """Score a model on splits of a task, whole; write predictions where asked.

    Raises:
        UserError: the task, its files or its classes do not fit the model.
    """
    from ms_plm.data.benchmarks import is_labelled, read_split, write_predictions
    from ms_plm.data.buckets import padded_lengths
    from ms_plm.tasks.confusion import told_confusion
    from ms_plm.tasks.kinds import KINDS
    from ms_plm.tasks.runner import TaskEvaluator
    from ms_plm.tasks.text import check_one_label

    if args.confusion:
        check_picture("--confusion", args.confusion, needed=False)
    if args.length is not None and args.length < 8:
        raise UsageError(f"--length: expected at least 8 tokens, found {args.length}.")
    task, data = task_and_files(args, folder, head)
    strategy = KINDS[task.kind]
    if strategy.head != head:
        raise UserError(
            f"{task.name} is a task of {task.kind.replace('_', ' ')}, but {folder} has a head for "
            f"{head.replace('_', ' ')}."
        )
    names = [args.split] if args.split else list(task.split_names("dev") or task.split_names("test"))
    model, tokenizer = open_model(folder, args.device, head=head)
    check_one_label(model)
    outputs = model.config.num_labels
    if strategy.labelled and (task.kind == "regression") != (outputs == 1):
        raise UserError(f"{task.name} is a task of {task.kind}, but {folder} has {outputs} outputs.")
    labels = labels_of(model, task, folder)
    if args.confusion and labels is None:
        raise UsageError(f"--confusion: {task.name} is a task of {task.kind.replace('_', ' ')}, which has no classes.")
    kind, found = strategy(task, labels, trained_limits(model, args.length)), {}
    splits = {name: read_split(task, data, name, labels) for name in names}
    if (model.config.provenance or {}).get("without_train_texts"):
        splits = _as_in_training(task, data, splits, labels)
    for name, split in splits.items():
        if not args.predictions and not any(is_labelled(example) for example in split.examples):
            raise UsageError(f"{name} of {task.name} has no labels to score by: give --predictions FOLDER.")
    for name, split in splits.items():
        samples = kind.samples(split.examples, tokenizer)
        lengths = padded_lengths(samples.rows.lengths)
        evaluator = TaskEvaluator(model, kind, {name: (split, samples)}, lengths, args.batch)
        known = task.may_lack_answers and not name.startswith("dev")
        threshold = trained_threshold(model) if known else None
        figures, predictions = evaluator.evaluated(name, threshold)
        if figures:
            found[name] = figures
            print(f"{name}: {len(split.examples)} examples  " + _told(figures))
        if args.confusion:
            print(told_confusion(task, split, predictions, args.confusion, several=len(names) > 1))
        if args.predictions:
            Path(args.predictions).mkdir(parents=True, exist_ok=True)
            print(f"predictions of {name}: {write_predictions(task, split, predictions, args.predictions)}")
    if args.json:
        write_json(args.json, {"model": str(folder), "task": task.name, "data": str(data), "figures": found})
    return 0


def _as_in_training(
    task: BenchmarkTask, data: Path, splits: Mapping[str, Split], labels: Sequence[str] | None
) -> dict[str, Split]:
    """Dev sets as the run scored them: without the examples that stand in the training set as well."""
    from ms_plm.data.benchmarks import read_split, without_train_texts

    made, names = dict(splits), [name for name in splits if name.startswith("dev")]
    try:
        train = read_split(task, data, "train", labels) if names else None
    except UserError as error:
        whole = ", ".join(names)
        print(f"{whole}: whole; the run left texts of its training set out (data.without_train_texts): {error}")
        return made
    for name in names:
        made[name] = without_train_texts(splits[name], train)
        left_out = len(splits[name].examples) - len(made[name].examples)
        print(f"{name}: {left_out} examples left out, which stand in the training set (data.without_train_texts)")
    return made


def _told(figures: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
