"""Recipes of kind `search_layer_map`: the search, and what it leaves in the run folder.

`search.jsonl` holds every evaluation, `layer_map.json` the best map, `search.png` the generations.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, sha256_file, write_json
from ms_plm.common.processor import cores
from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.config.sections import Section
from ms_plm.distill.search.baselines import baselines, needs_losses
from ms_plm.distill.search.cache import EvaluationCache, fingerprint
from ms_plm.distill.search.proxy import open_task, open_text
from ms_plm.distill.search.report import draw_search
from ms_plm.distill.search.searching import Evaluator, Found, search
from ms_plm.distill.search.space import Space
from ms_plm.distill.search.workers import Stopped, Workers
from ms_plm.tokenization import Tokenizer
from ms_plm.training.loop import stop_signals

log = logging.getLogger(__name__)
CACHE, CONTRIBUTION, RESULT = "search.jsonl", "contribution.json", "layer_map.json"
_LATE = "train.budget_minutes is used up"


@dataclass(frozen=True)
class Ended:
    """How a search ended.

    Attributes:
        found: what it came to; None: it was cut.
        seconds: that it took, over all starts.
        processes: that evaluated maps.
        reason: why it was cut.
        by_budget: it was the time it was given, so nothing failed.
    """

    found: Found | None = None
    seconds: float = 0.0
    processes: int = 0
    reason: str = ""
    by_budget: bool = False


def carry_out(recipe: Recipe, folder: Path, started: Callable[[], None]) -> Ended:
    """Search, or go on with a search that was cut.

    Args:
        recipe: of kind `search_layer_map`, saved in the folder.
        folder: of the run.
        started: called when the first evaluation is there.

    Raises:
        UserError: recipe, models, text and tasks do not fit each other; the folder holds evaluations of another
            setting; a worker ended; no map came to anything.
    """
    method = recipe.method
    deep, shallow = _depths(recipe)
    baselines(deep, shallow, [0.0] * deep)  # says at once if the student is too deep
    setting = fingerprint(setting_of(recipe))
    cache = EvaluationCache(folder / CACHE, setting)
    count = method.processes or cores()
    begun = time.monotonic()

    def stop() -> str:
        if signals:
            return f"{signals[0]} received"
        minutes = recipe.train.budget_minutes
        return _LATE if minutes is not None and time.monotonic() - begun >= 60 * minutes else ""

    def open_workers() -> Workers:
        threads = max(1, cores() // count)
        return Workers(count, "ms_plm.distill.search.proxy:open_proxy", [str(folder)], threads)

    space = Space(deep, shallow, method.evolution.monotone)
    log.info(
        "%d of %d maps from %d layers to %d are evaluated, %d at a time (%d known); each process compiles first",
        min(method.evolution.evaluations, space.size),
        space.size,
        deep,
        shallow,
        count,
        len(cache),
    )
    with stop_signals() as signals, Evaluator(open_workers, cache, stop, started) as evaluate:
        try:
            skipped = _skipped(folder / CONTRIBUTION, setting, evaluate) if needs_losses(deep, shallow) else None
            named = baselines(deep, shallow, skipped)
            log.info("baselines: %s", "; ".join(f"{name} {gene}" for name, gene in named.items()))
            found = search(space, method.evolution, recipe.train.seed, named, evaluate, method.confirm)
        except Stopped as stopped:
            evaluate.begin()  # or the folder that is to be continued would go
            return Ended(reason=str(stopped), by_budget=str(stopped) == _LATE)
    if math.isnan(found.evaluations[found.best].fitness):
        raise UserError(
            f"{folder / CACHE}: no map came to a figure on every task: some of them are nan. See which, and lower "
            "train.optimizer.learning_rate or that of the task, or give it more steps."
        )
    ended = Ended(found, cache.seconds, count)
    _write(folder, recipe, ended)
    return ended


def _depths(recipe: Recipe) -> tuple[int, int]:
    """Layers of teacher and student."""
    model = recipe.model
    teacher = ModelConfig.load(place(recipe.method.teacher.from_))
    student = ModelConfig.load(place(model.from_)) if model.from_ else model
    return teacher.num_hidden_layers, student.num_hidden_layers


def setting_of(recipe: Recipe) -> dict[str, Any]:
    """Everything that the fitness of a map depends on; files by their content, wherever they stand.

    Keys without a value are left out, so that one that a later version adds changes nothing.
    """
    method, train = recipe.method, recipe.train

    def given(section: Section, **which: set[str]) -> dict[str, Any]:
        return section.model_dump(exclude_none=True, **which)

    values = {
        "teacher": [*_content(method.teacher.from_), Tokenizer.load(place(method.teacher.from_)).fingerprint],
        "model": _content(recipe.model.from_) if recipe.model.from_ else given(recipe.model),
        "fresh": recipe.model.fresh,
        "text": open_text(recipe).fingerprint,
        "data": given(recipe.data, include={"max_length", "nsp", "short_sample_probability", "masking"}),
        "train": given(train, include={"steps", "batch", "seed", "clip_norm", "optimizer", "schedule"}),
        "method": given(method, include={"losses", "projection", "parity", "initial_layers"}),
        "tasks": [],
    }
    for task in method.tasks:
        data, dev = open_task(recipe, task)
        examples = repr((data.kind.labels, data.train.examples, dev.examples)).encode()
        shown = given(task, exclude={"folder", "own", "augmented"})
        values["tasks"].append({**shown, "examples": hashlib.sha256(examples).hexdigest()})
    return values


def _content(folder: str) -> list[str]:
    return [sha256_file(place(folder) / name) for name in ("config.json", "model.safetensors")]


def _skipped(path: Path, setting: str, evaluate: Evaluator) -> Sequence[float]:
    """Losses of the teacher without one layer each, from an earlier start or from a worker."""
    if path.is_file() and (known := read_json(path)).get("setting") == setting:
        return known["skipped"]
    ((_, losses),) = evaluate.answers([{"skipped": True}])
    write_json(path, {"skipped": losses, "setting": setting})
    return losses


def _write(folder: Path, recipe: Recipe, ended: Ended) -> None:
    """The best map for programs and the picture; the report is written by whoever tells of the run."""
    found = ended.found
    evaluation = found.evaluations[found.best]
    write_json(
        folder / RESULT,
        {
            "layer_map": list(found.best),
            "teacher": recipe.method.teacher.from_,
            "fitness": evaluation.fitness,
            "figures": dict(evaluation.figures),
            "confirmed": [e.fitness for e in found.confirmed[found.best]],
            "baselines": {name: list(gene) for name, gene in found.baselines.items()},
            "maps": len(found.evaluations),
            "seconds": ended.seconds,
            "processes": ended.processes,
        },
    )
    draw_search(folder / "search.png", found, recipe.name)
