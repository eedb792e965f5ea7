"""What `ms-plm evaluate` does with a fine-tuned model: a task's figures, and files of predictions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ms_plm.cli.model_folder import open_model
from ms_plm.common.errors import UsageError, UserError
from ms_plm.common.files import read_json, write_json


def evaluate_task(args: argparse.Namespace, folder: Path) -> int:
    """Score a model on splits of a task, whole; write predictions where asked.

    Raises:
        UserError: the task, its files or its classes do not fit the model.
    """
    from ms_plm.data.benchmarks import read_split, write_predictions
    from ms_plm.data.buckets import padded_lengths
    from ms_plm.evaluation.scoring import score
    from ms_plm.tasks.text import TextLogits, all_logits, mean_loss, named_task, predictions, samples_of

    if not args.corpus:
        raise UsageError(f"{folder} is a classifier: name the folder with the files of its task.")
    task = named_task(_task_name(args, folder))
    data = Path(args.corpus).expanduser()
    names = [args.split] if args.split else list(task.split_names("dev"))
    model, tokenizer = open_model(folder, args.device, head="sequence_classification")
    labels = None if task.kind == "regression" else model.config.labels
    outputs = model.config.num_labels
    if (labels is None) != (outputs == 1):
        raise UserError(f"{task.name} is a task of {task.kind}, but {folder} has {outputs} outputs.")
    length = min(args.length or 128, model.limit or args.length or 128)
    graph, found = TextLogits(model), {}
    for name in names:
        split = read_split(task, data, name, labels)
        samples = samples_of(split.examples, labels, tokenizer, length)
        logits = all_logits(graph, samples, padded_lengths(samples.lengths), args.batch, outputs)
        made = predictions(logits, labels, task)
        if not name.startswith("test"):
            found[name] = {"loss": mean_loss(logits, samples), **score(task, split.examples, made, labels)}
            print(f"{name}: {len(samples)} examples  " + _told(found[name]))
        if args.predictions:
            Path(args.predictions).mkdir(parents=True, exist_ok=True)
            print(f"predictions of {name}: {write_predictions(task, split, made, args.predictions)}")
        elif name.startswith("test"):
            raise UsageError(f"{name} of {task.name} has no labels to score by: give --predictions FOLDER.")
    if args.json:
        write_json(args.json, {"model": str(folder), "task": task.name, "data": str(data), "figures": found})
    return 0


def _task_name(args: argparse.Namespace, folder: Path) -> str:
    """Of `--task`, else of the recipe that trained the model."""
    trained = (read_json(folder / "config.json").get("provenance") or {}).get("task")
    name = args.task or trained
    if name in (None, "own"):
        raise UsageError(
            f"--task: which task? {folder} does not say it"
            + (": it was trained on files of your own, whose dev figures are in its run's report." if trained else ".")
        )
    return name


def _told(figures: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
