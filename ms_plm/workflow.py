"""Carrying out a recipe: the run folder, the module of its kind, then what `output` asks for."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UsageError, UserError
from ms_plm.common.files import read_json, replacing_file
from ms_plm.config.loading import load_recipe, save_resolved
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.config.resuming import check_same
from ms_plm.config.suite import Suite
from ms_plm.series.figures import FIGURES
from ms_plm.training.log import run_logging
from ms_plm.training.parallel import launched_rank, launched_ranks, serve_as_scheduler

log = logging.getLogger(__name__)
KINDS = {
    "pretrain": "ms_plm.training.pretraining",
    "finetune": "ms_plm.training.finetuning",
    "general_distill": "ms_plm.distill.general",
    "task_distill": "ms_plm.distill.task",
    "elastic": "ms_plm.elastic.training",
}
"""The module whose `open_job` opens what a kind of training needs."""
_NEXT = {
    None: "'a text with [MASK]'",
    "sequence_classification": "'a text'",
    "token_classification": "'a text'",
    "question_answering": r"$'a question\ta text'",
    "multiple_choice": r"$'a text\ta question\ta choice\tanother one'",
}
"""What to give to `ms-plm predict` after a run, as a shell takes it, by the head of the result."""


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
    recipe: Recipe | Suite | str | Path,
    overrides: Mapping[str, Any] | Iterable[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    plan: bool = False,
) -> RunResult:
    """Carry out a recipe.

    Args:
        recipe: a recipe, its name or its file.
        overrides: values to change, where a name or file is given.
        resume: continue the run in the existing folder.
        overwrite: remove the existing run folder and start anew.
        plan: of a recipe of several runs, make their folders and recipes only.

    Raises:
        UserError: with what is wrong and the remedy.
    """
    if not isinstance(recipe, (Recipe, Suite)):
        recipe = load_recipe(recipe, overrides)
    folder = Path(recipe.output.folder or f"runs/{recipe.name}")
    if recipe.several:
        return _run_several(recipe, folder, resume, overwrite, plan)
    if plan:
        raise UsageError(f"--plan: {recipe.name} is one run (no train.repeats, no grid, no suite).")
    if recipe.kind == "search_layer_map":
        return _search(recipe, folder, resume, overwrite)
    if serve_as_scheduler():
        return RunResult(folder, None, True, 0, "")
    main = launched_rank() == 0
    claim = _claimed(folder, recipe, resume, overwrite) if main else nullcontext(_nothing)
    with claim as started, run_logging(folder, main):
        log.info("run folder: %s", folder)
        result = _train(recipe, folder, resume, started)
        if not result.main:
            return RunResult(folder, None, result.outcome.finished, 0, "")
        if not result.outcome.finished:
            return _cut(folder, result)
        return _finish(recipe, folder, result)


def _train(recipe: Recipe, folder: Path, resume: bool, started: Callable[[], None]) -> Any:
    from ms_plm.training.session import carry_out

    return carry_out(recipe, folder, resume, started, importlib.import_module(KINDS[recipe.kind]).open_job)


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
        check_same(saved, recipe)
        if not recipe.several and (folder / FIGURES).is_file() and not (folder / "checkpoints").is_dir():
            raise UserError(
                f"{folder}: this run is finished and its checkpoints were removed (output.checkpoints: false): there "
                "is nothing to resume. Start anew with --overwrite."
            )
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
    from ms_plm.series.figures import result_step, run_summary, write_run_figures
    from ms_plm.training.report import draw_loss_curve, figures_table

    made, failed = _made_of(recipe, folder, result.model_folder)
    measured = run_summary(recipe, folder).repeats[0].figures
    parts = [figures_table(result, result_step(folder), measured), *made]
    draw_loss_curve(folder, folder / "loss.png", result)
    with replacing_file(folder / "report.md") as temporary:
        title = f"# {recipe.name}\n\n{recipe.description}\n\n"
        temporary.write_text(title + "\n\n".join(parts) + "\n", encoding="utf-8")
    write_run_figures(recipe, folder)
    if not recipe.output.checkpoints:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    parts.append(_last_line(folder))
    return RunResult(folder, result.model_folder, True, int(failed), "\n\n".join(parts), dict(measured))


def _last_line(folder: Path) -> str:
    from ms_plm.models.names import task_head

    model = folder / "model"
    classes = read_json(model / "config.json").get("architectures") or ()
    made = f"The model is in {model}, the report in {folder}/report.md. Next: ms-plm"
    if any(name.endswith("Model") for name in classes):  # an encoder alone
        return f"{made} run RECIPE model.from={model}, with a recipe that teaches it a task (ms-plm list)"
    return f"{made} predict {model} {_NEXT[task_head(classes)]}"


def _made_of(recipe: Recipe, folder: Path, model_folder: Path) -> tuple[list[str], bool]:
    """What `output` asks to be made of a model: what to say of it, and whether something failed."""
    parts, failed = [], False
    wanted = [("Filled in", _fill_in)] if recipe.output.examples else []
    wanted += [("Exported", _export)] if recipe.output.export else []
    wanted += [("Teacher and student", _compare)] if recipe.output.compare else []
    for title, make in wanted:
        try:
            parts.append(f"{title}: {make(recipe, folder, model_folder)}")
        except UserError as error:
            failed = True
            log.error("%s", error)
            parts.append(f"{title}: FAILED: {error}")
    return parts, failed


def _search(recipe: Recipe, folder: Path, resume: bool, overwrite: bool) -> RunResult:
    """Carry out the search for a layer map, whose evaluations run in processes of their own."""
    from ms_plm.distill.search.report import compared_table, report_text
    from ms_plm.distill.search.run import carry_out

    if os.environ.get("MS_ROLE"):
        raise UserError(f"{recipe.name} starts its processes itself (method.processes); start it without msrun.")
    with _claimed(folder, recipe, resume, overwrite) as started, run_logging(folder, True):
        log.info("run folder: %s", folder)
        ended = carry_out(recipe, folder, started)
        if ended.found is None:
            summary = f"Stopped: {ended.reason}. Continue with: ms-plm search-layer-map {folder} --resume"
            return RunResult(folder, None, False, 0 if ended.by_budget else 1, summary)
        best, text = list(ended.found.best), report_text(ended.found, ended.seconds, ended.processes)
        with replacing_file(folder / "report.md") as temporary:
            temporary.write_text(f"# {recipe.name}\n\n{recipe.description}\n\n{text}\n", encoding="utf-8")
    summary = (
        f"{compared_table(ended.found)}\n\nThe map is in {folder}/layer_map.json, every map in {folder}/report.md. "
        f"Next: ms-plm run RECIPE method.layer_map='{best}', RECIPE being of kind general_distill"
    )
    figures = {"fitness": ended.found.evaluations[ended.found.best].fitness}
    return RunResult(folder, None, True, 0, summary, figures)


def _run_several(recipe: Recipe | Suite, folder: Path, resume: bool, overwrite: bool, plan_only: bool) -> RunResult:
    """Carry out a recipe of several runs, each in a process and a folder of its own."""
    from ms_plm.series.plan import plan, write_recipes
    from ms_plm.series.running import carry_out

    if os.environ.get("MS_ROLE"):
        raise UserError(
            f"{recipe.name} is made of several runs, which one process starts one after the other; it cannot be "
            "started by msrun. Make their folders with `ms-plm run ... --plan`, start each by `msrun ... -m ms_plm run "
            "FOLDER --resume`, then `ms-plm run` the whole with --resume, which sums them up."
        )
    top = plan(recipe, folder)
    with _claimed(folder, recipe, resume, overwrite) as started, run_logging(folder, True):
        log.info("run folder: %s; %s", folder, top.describe())
        for run_name, why in top.absent.items():
            log.warning("%s is skipped: %s", run_name, why)
        write_recipes(top)
        if plan_only:
            started()
            lines = [f"  ms-plm run {leaf.folder} --resume" for leaf in top.leaves()]
            summary = "\n".join(["Planned:", *lines, f"All of them, and the summary: ms-plm run {folder} --resume"])
            return RunResult(folder, None, False, 0, summary)
        ended = carry_out(top, started)
        if ended.reason:
            summary = f"Stopped: {ended.reason}. Continue with: ms-plm run {folder} --resume"
            return RunResult(folder, None, False, 0 if ended.by_budget else 1, summary)
        return _sum_up(recipe, folder, ended.failed)


def _sum_up(recipe: Recipe | Suite, folder: Path, failures: Mapping[str, str]) -> RunResult:
    """The end of several runs, whose summary is written: what is made of the result, and the last line."""
    from ms_plm.series.figures import read_summary
    from ms_plm.series.result import add_to_report, report_text

    failed, figures, model_folder = bool(failures), {}, None
    if isinstance(recipe, Recipe) and (summary := read_summary(folder)):
        model_folder = folder / "model"
        figures = {name: summary.mean(name) for name in summary.repeats[0].figures}
        made, broken = _made_of(recipe, folder, model_folder)
        add_to_report(folder, made)
        failed = failed or broken
    parts = [report_text(folder), *(f"{name} failed: {how}" for name, how in failures.items())]
    if failures:
        parts.append(
            f"The report is in {folder}/report.md. Next: ms-plm run {folder} --resume, which tries those again"
        )
    elif model_folder:
        parts.append(_last_line(folder))
    else:
        parts.append(
            f"The row is in {folder}/report.md and figures.json, each task's model in its folder. Next: "
            f"ms-plm evaluate {folder}/TASK FILES --split test --predictions FOLDER"
        )
    return RunResult(folder, model_folder, not failures, int(failed), "\n\n".join(parts), figures)


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


def _compare(recipe: Recipe, folder: Path, model_folder: Path) -> str:
    from ms_plm.export import comparison_table

    return "\n\n" + comparison_table([place(recipe.method.teacher.from_), model_folder])
