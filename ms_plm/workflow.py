"""Carrying out a recipe: the run folder, the module of its kind, then what `output` asks for."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm.config.loading import load_recipe, save_resolved
from ms_plm.config.recipe import Recipe
from ms_plm.training.log import start_logging
from ms_plm.training.parallel import launched_rank, serve_as_scheduler

log = logging.getLogger(__name__)
KINDS = {"pretrain": "ms_plm.training.workflow"}
"""The module whose `run(recipe, folder, resume)` carries out a kind."""

_MAY_CHANGE = ("impl", "log", "output", "description", "name")
"""Sections that a resumed run may give other values: they do not change what is computed."""


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
    if main:
        _claim(folder, recipe, resume, overwrite)
    start_logging(folder, main)
    log.info("run folder: %s", folder)
    result = importlib.import_module(KINDS[recipe.kind]).run(recipe, folder, resume)
    if not result.main:
        return RunResult(folder, None, result.outcome.finished, 0, "")
    if not result.outcome.finished:
        return _cut(recipe, folder, result)
    return _finish(recipe, folder, result)


def _claim(folder: Path, recipe: Recipe, resume: bool, overwrite: bool) -> None:
    """Make the run folder, or check that this recipe may continue in it."""
    saved = folder / "recipe.yaml"
    if folder.exists() and any(folder.iterdir()):
        if resume:
            return _check_same(saved, recipe)
        if not overwrite:
            raise UserError(
                f"{folder}: this run folder exists. Continue it with --resume, start anew with --overwrite (removes "
                "it), or choose another with output.folder=NAME."
            )
        if not saved.is_file():
            raise UserError(f"{folder}: not a run folder (no recipe.yaml); it is not removed. Choose another folder.")
        shutil.rmtree(folder)
    elif resume:
        raise UserError(f"{folder}: there is no run to resume. Start it without --resume.")
    folder.mkdir(parents=True, exist_ok=True)
    save_resolved(recipe, saved)
    return None


def _check_same(saved: Path, recipe: Recipe) -> None:
    if not saved.is_file():
        raise UserError(f"{saved}: missing; this is not a run folder that can be resumed.")
    before, now = _flat(load_recipe(saved)), _flat(recipe)
    differing = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    differing = [key for key in differing if key.split(".")[0] not in _MAY_CHANGE and key != "train.budget_minutes"]
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


def _cut(recipe: Recipe, folder: Path, result: Any) -> RunResult:
    by_budget = "budget" in result.outcome.reason
    summary = (
        f"Stopped at step {result.progress.step}: {result.outcome.reason}. A checkpoint is in {folder}/checkpoints. "
        f"Continue with: ms-plm run {folder} --resume"
    )
    return RunResult(folder, None, False, 0 if by_budget else 1, summary)


def _finish(recipe: Recipe, folder: Path, result: Any) -> RunResult:
    """Examples, export, report, and the last line: what was made and the next command."""
    from ms_plm.training.report import draw_loss_curve, examples_text, figures_table

    parts = [figures_table(result)]
    if recipe.output.examples:
        import ms_plm
        from ms_plm.tasks.fill_mask import fill_masks

        model, tokenizer = ms_plm.load(result.model_folder, head="masked_lm")
        filled = fill_masks(model, tokenizer, list(recipe.output.examples))
        parts.append("Filled in:\n\n" + examples_text(filled))
    export = recipe.output.export
    if export is not None:
        from ms_plm.export import export_mindir

        target = folder / f"{export.head}.mindir"
        report = export_mindir(result.model_folder, target, export.head, export.batch, export.length)
        parts.append(f"Exported: {report.describe()}")
    draw_loss_curve(folder, folder / "loss.png")
    with replacing_file(folder / "report.md") as temporary:
        title = f"# {recipe.name}\n\n{recipe.description}\n\n"
        temporary.write_text(title + "\n\n".join(parts) + "\n", encoding="utf-8")
    parts.append(
        f"The model is in {result.model_folder}, the report in {folder}/report.md. Next: "
        f"ms-plm predict {result.model_folder} 'a text with [MASK]'"
    )
    summary = "\n\n".join(parts)
    return RunResult(folder, result.model_folder, True, 0, summary, dict(result.progress.last_evaluation or {}))
