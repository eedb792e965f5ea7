"""What verbs that score a fine-tuned model share: its task, and where that task's files lie."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ms_plm.cli.model_folder import recipe_of
from ms_plm.common.errors import UsageError, UserError
from ms_plm.common.files import read_json

if TYPE_CHECKING:
    from ms_plm.data.benchmarks import BenchmarkTask
    from ms_plm.models.model import Model


def task_and_files(args: argparse.Namespace, folder: Path, head: str) -> tuple[BenchmarkTask, Path]:
    """The task to score by, from `args.task`, `args.corpus`, `args.split` and what the model was trained on.

    Raises:
        UsageError: nothing says which task, or where its files are.
    """
    return _own(args, folder) or _benchmark(args, folder, head)


def labels_of(model: Model, task: BenchmarkTask, folder: Path) -> tuple[str, ...] | None:
    """Classes in the order of a model's outputs; None where the task has none.

    Labels that have no names (`LABEL_0` ...) are taken in the order of the task.

    Raises:
        UserError: they have no names, and the task does not tell them.
    """
    from ms_plm.tasks.kinds import KINDS

    outputs = model.config.num_labels
    if not KINDS[task.kind].labelled or outputs == 1:
        return None
    if model.config.labels:
        return model.config.labels
    if len(task.labels or ()) != outputs:
        raise UserError(
            f"{folder}: its {outputs} labels have no names, and {task.name} has {len(task.labels or ()) or 'no fixed'} "
            "labels: write the classes into id2label of its config.json, in the order of its outputs."
        )
    print(f"the labels of {folder} have no names: taken in the order of {task.name}, {', '.join(task.labels)}.")
    return task.labels


def _benchmark(args: argparse.Namespace, folder: Path, head: str) -> tuple[BenchmarkTask, Path]:
    """The task of `--task`, else the one that the model was trained on, and where its files lie."""
    from ms_plm.data.benchmarks import OWN
    from ms_plm.tasks.kinds import named_task

    if not args.corpus:
        raise UsageError(f"{folder} has a head for {head.replace('_', ' ')}: name the folder with its task's files.")
    name = args.task or _trained_on(folder)
    if name in (None, OWN):
        raise UsageError(
            f"--task: which task? {folder} does not say it"
            + (": it was trained on files of your own, but its run's recipe.yaml is not beside it." if name else ".")
        )
    return named_task(name), Path(args.corpus).expanduser()


def _own(args: argparse.Namespace, folder: Path) -> tuple[BenchmarkTask, Path] | None:
    """A task of your own as the run's recipe has it; DATA is a file to read instead of the split's."""
    from ms_plm.config.loading import load_recipe
    from ms_plm.config.places import place
    from ms_plm.data.benchmarks import OWN
    from ms_plm.tasks.kinds import own_task

    recipe = recipe_of(folder)
    if args.task or recipe is None or _trained_on(folder) != OWN:
        return None
    own = load_recipe(recipe).data.own
    files = {name: str(place(file)) for name in ("train", "dev", "test") if (file := getattr(own, name))}
    if args.corpus:
        files[args.split or "dev"] = str(Path(args.corpus).expanduser())
    if not args.split and "dev" not in files:
        raise UsageError(f"{recipe} names no dev file: name a file with labels, or another --split.")
    return own_task(own, files), Path()


def _trained_on(folder: Path) -> str | None:
    return (read_json(folder / "config.json").get("provenance") or {}).get("task")
