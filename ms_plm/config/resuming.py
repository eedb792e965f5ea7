"""Which recipe a run that exists may go on with: the one it was started with, but for what does not change results."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe
from ms_plm.config.recipe import Recipe
from ms_plm.config.suite import Suite

_MAY_CHANGE = (
    *("impl", "log", "output", "description", "name", "evaluate", "train.budget_minutes"),
    *("train.checkpoint.every", "train.checkpoint.keep"),
    *("method.processes", "method.confirm", "method.evolution.evaluations"),
)
_MAY_MOVE = (
    "data.cache",
    "data.corpus",
    "data.text",
    "data.mindrecord",
    "data.tokenizer",
    *("data.folder", "data.augmented", "data.own.train", "data.own.dev", "data.own.test"),
    *("method.tasks.folder", "method.tasks.augmented"),
    *("method.tasks.own.train", "method.tasks.own.dev", "method.tasks.own.test"),
    "model.from",
    "method.teacher.from",
)
"""Keys that a resumed run may give other values: they do not change what is computed, or (where data and parent stand
now) a checkpoint's fingerprints guard what matters."""
_MAY_CHANGE_IN_SEVERAL = (
    *("impl", "log", "output", "description", "name", "suite", "grid", "data.cache"),
    *("train.repeats", "train.budget_minutes", "train.checkpoint.every", "train.checkpoint.keep"),
)
"""The same for a recipe of several runs: those that are done are not done again, so no run may differ from them in its
data, its parent or what decides; but there may be more runs."""

_FORMS = {"run": "one run", "repeats": "repeats (train.repeats)", "grid": "a grid", "suite": "a suite"}


def check_same(saved: Path, recipe: Recipe | Suite, beside_others: bool = False) -> None:
    """Whether a run that was started with the recipe in the file `saved` may go on with this one.

    Args:
        saved: recipe.yaml of its folder.
        recipe: what is asked for now.
        beside_others: it is set beside other runs and not done again where it is finished, so that its data, its parent
            and what decides must be the same as well.

    Raises:
        UserError: no; the message names the values that differ.
    """
    if not saved.is_file():
        raise UserError(f"{saved}: missing; this is not a run folder that can be resumed.")
    old = load_recipe(saved)
    if old.form != recipe.form:
        raise UserError(
            f"{saved}: was started as {_FORMS[old.form]} and is now {_FORMS[recipe.form]}. Resume with the same "
            "values, or start anew in another output.folder."
        )
    before, now = _flat(old), _flat(recipe)
    differing = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    free = _MAY_CHANGE_IN_SEVERAL if recipe.several or beside_others else (*_MAY_CHANGE, *_MAY_MOVE)
    differing = [key for key in differing if not _is_among(key, free)]
    if differing:
        shown = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in differing[:5])
        raise UserError(
            f"{saved}: the run was started with another recipe: {shown}. Resume with the same values, or start a new "
            "run in another output.folder."
        )


def _is_among(key: str, free: Sequence[str]) -> bool:
    """Whether a key, or a section around it, is one of these; which item of a list it belongs to does not matter."""
    plain = re.sub(r"\.\d+(?=\.)", "", key)
    return any(plain == one or plain.startswith(one + ".") for one in free)


def _flat(recipe: Recipe | Suite) -> dict[str, Any]:
    """Values by dotted keys; sections in a list are counted from 0."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", json.loads(recipe.model_dump_json(by_alias=True)))
    return flat
