"""Carrying out a recipe: the run folder, the module of its kind, then what `output` asks for."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, replacing_file
from ms_plm.config.loading import load_recipe, save_resolved
from ms_plm.config.recipe import Recipe
from ms_plm.training.log import run_logging
from ms_plm.training.parallel import launched_rank, launched_ranks, serve_as_scheduler

log = logging.getLogger(__name__)
KINDS = {"pretrain": "ms_plm.training.pretraining", "finetune": "ms_plm.training.finetuning"}
"""The module whose `run(recipe, folder, resume)` carries out a kind."""
_NEXT = {
    None: "'a text with [MASK]'",
    "sequence_classification": "'a text'",
    "token_classification": "'a text'",
    "question_answering": r"$'a question\ta text'",
    "multiple_choice": r"$'a text\ta question\ta choice\tanother one'",
}
"""What to give to `ms-plm predict` after a run, as a shell takes it, by the head of the result."""

_MAY_CHANGE = ("impl", "log", "output", "description", "name", "evaluate", "train.checkpoint", "train.budget_minutes")
_MAY_MOVE = (
    "data.cache",
    "data.corpus",
    "data.text",
    "data.mindrecord",
    "data.tokenizer",
    "data.folder",
    "data.own",
    "model.from",
)
"""Keys that a resumed run may give other values: they do not change what is computed, or (where data and parent stand
now) a checkpoint's fingerprints guard what matters."""


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes:
        folder: the run folder.
        model_folder: the trained model, or None where the run was cut.
        finished: all steps were done.
        exit_code: for the command line: 1 after a signal.
        figures: held-out figures after training.
        summary: for people.
    """

    folder: Path
    model_folder: Path | None
    finished: bool
    exit_code: int
    summary: str
    figures: dict[str, float] = field(default_factory=dict)


def run(
    recipe: Recipe | str | Path,
    overrides: Mapping[str, Any] | Iterable[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> RunResult:
    """Carry out a recipe.

    Args:
        recipe: a recipe, its name or its file.
        overrides: values to change, where a name or file is given.
        resume: continue the run in the existing folder.
        overwrite: remove the existing run folder and start anew.

    Raises:
        UserError: with what is wrong and the remedy.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides)
    folder = Path(recipe.output.folder or f"runs/{recipe.name}")
    if serve_as_scheduler():
        return RunResult(folder, None, True, 0, "")
    main = launched_rank() == 0
    claim = _claimed(folder, recipe, resume, overwrite) if main else nullcontext(_nothing)
    with claim as started, run_logging(folder, main):
        log.info("run folder: %s", folder)
        result = importlib.import_module(KINDS[recipe.kind]).run(recipe, folder, resume, started)
        if not result.main:
            return RunResult(folder, None, result.outcome.finished, 0, "")
        if not result.outcome.finished:
            return _cut(folder, result)
        return _finish(recipe, folder, result)


def _nothing() -> None:
    """What processes but the first do when training starts."""


@contextmanager
def _claimed(folder: Path, recipe: Recipe, resume: bool, overwrite: bool) -> Iterator[Callable[[], None]]:
    """Make the run folder, or check that this recipe may continue in it.

    Yields a function to be called when training starts. If that never happens, because the data or the model cannot be
    opened, the folder is as before: a new one goes, one that was to be overwritten comes back.
    """
    saved = folder / "recipe.yaml"
    exists = folder.exists() and any(folder.iterdir())
    if resume:
        if not exists:
            raise UserError(f"{folder}: there is no run to resume. Start it without --resume.")
        _check_same(saved, recipe)
        save_resolved(recipe, saved)
        yield _nothing
        return
    if exists and not overwrite:
        raise UserError(
            f"{folder}: this run folder exists. Continue it with --resume, start anew with --overwrite (removes "
            "it), or choose another with output.folder=NAME."
        )
    if exists and not saved.is_file():
        raise UserError(f"{folder}: not a run folder (no recipe.yaml); it is not removed. Choose another folder.")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old") if exists else None
    if aside:
        folder.rename(aside)
    training = False

    def started() -> None:
        nonlocal training
        training = True
        if aside:
            shutil.rmtree(aside)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_resolved(recipe, saved)
        yield started
    finally:
        if not training:
            shutil.rmtree(folder, ignore_errors=True)
            if aside:
                aside.rename(folder)


def _check_same(saved: Path, recipe: Recipe) -> None:
    if not saved.is_file():
        raise UserError(f"{saved}: missing; this is not a run folder that can be resumed.")
    before, now = _flat(load_recipe(saved)), _flat(recipe)
    differing = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    free = (*_MAY_CHANGE, *_MAY_MOVE)
    differing = [key for key in differing if not any(key == f or key.startswith(f + ".") for f in free)]
    if differing:
        shown = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in differing[:5])
        raise UserError(
            f"{saved}: the run was started with another recipe: {shown}. Resume with the same values, or start a new "
            "run in another output.folder."
        )


def _flat(recipe: Recipe) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", json.loads(recipe.model_dump_json(by_alias=True)))
    return flat


def _cut(folder: Path, result: Any) -> RunResult:
    again = "the same msrun command" if launched_ranks() > 1 else f"ms-plm run {folder}"
    summary = (
        f"Stopped at step {result.progress.step}: {result.outcome.reason}. A checkpoint is in {folder}/checkpoints. "
        f"Continue with: {again} --resume"
    )
    return RunResult(folder, None, False, 0 if result.outcome.by_budget else 1, summary)


def _finish(recipe: Recipe, folder: Path, result: Any) -> RunResult:
    """Report, examples, export, and the last line: what was made and the next command.

    What fails here is named in the report and makes the exit code 1; the model is trained and stays.
    """
    from ms_plm.models.names import task_head
    from ms_plm.training.report import draw_loss_curve, figures_table

    parts, failed = [figures_table(result)], False
    wanted = [("Filled in", _fill_in)] if recipe.output.examples else []
    wanted += [("Exported", _export)] if recipe.output.export else []
    for title, make in wanted:
        try:
            parts.append(f"{title}: {make(recipe, folder, result.model_folder)}")
        except UserError as error:
            failed = True
            log.error("%s", error)
            parts.append(f"{title}: FAILED: {error}")
    draw_loss_curve(folder, folder / "loss.png")
    with replacing_file(folder / "report.md") as temporary:
        title = f"# {recipe.name}\n\n{recipe.description}\n\n"
        temporary.write_text(title + "\n\n".join(parts) + "\n", encoding="utf-8")
    head = task_head(read_json(result.model_folder / "config.json").get("architectures") or ())
    parts.append(
        f"The model is in {result.model_folder}, the report in {folder}/report.md. Next: "
        f"ms-plm predict {result.model_folder} {_NEXT[head]}"
    )
    figures = dict(result.progress.last_evaluation or {})
    return RunResult(folder, result.model_folder, True, int(failed), "\n\n".join(parts), figures)


def _fill_in(recipe: Recipe, folder: Path, model_folder: Path) -> str:
    import ms_plm
    from ms_plm.tasks.fill_mask import fill_masks
    from ms_plm.training.report import examples_text

    model, tokenizer = ms_plm.load(model_folder, head="masked_lm")
    return "\n\n" + examples_text(fill_masks(model, tokenizer, list(recipe.output.examples)))


def _export(recipe: Recipe, folder: Path, model_folder: Path) -> str:
    from ms_plm.export import export_mindir

    export = recipe.output.export
    target = folder / f"{export.head}.mindir"
    return export_mindir(model_folder, target, export.head, export.batch, export.length).describe()
