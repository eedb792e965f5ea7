"""`grid:` of a recipe: keys of the recipe, each with values to try; every combination of them is a run.

Keys may be written dotted (`train.batch: [16, 32]`) or as sections; they are kept as sections, so that a recipe's file,
its base and the command line can each set some of them.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ms_plm.common.errors import UserError

KeyPath = tuple[str, ...]

LIMIT = 64
"""Most combinations of one grid."""
FIXED: dict[str, str] = {
    "kind": "runs of one grid are of one kind",
    "name": "the folders of the runs are named by what is varied",
    "description": "the folders of the runs are named by what is varied",
    "grid": "a grid holds no grid",
    "train.seed": "set train.repeats for several seeds",
    "train.repeats": "set train.repeats outside of grid; it holds for every combination",
    "train.budget_minutes": "it holds for the whole command",
    "train.checkpoint": "it says by which figure the combinations are compared",
    "output": "the result is the best run's",
    "log": "it changes nothing that could be compared",
}
"""Keys that cannot be varied, and why."""


def nested(values: Mapping[str, Any], where: str = "grid") -> dict[str, Any]:
    """Dotted keys as sections: `{"train.batch": [16]}` -> `{"train": {"batch": [16]}}`.

    Raises:
        UserError: a key is given in both forms.
    """
    made: dict[str, Any] = {}
    for path, value in flat(values):
        section = made
        for part in path[:-1]:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                break
        if not isinstance(section, dict) or path[-1] in section:
            raise UserError(f"{where}: {'.'.join(path)} is given twice. Keep one of them.")
        section[path[-1]] = value
    return made


def flat(values: Mapping[str, Any], prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Key paths of everything in sections that is no section itself."""
    for key, value in values.items():
        path = (*prefix, *str(key).split("."))
        if isinstance(value, dict) and value:
            yield from flat(value, path)
        else:
            yield path, value


def faults(grid: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with a nested grid of known keys: key path within the grid and what to write instead."""
    counts = []
    for path, values in flat(grid):
        key = ".".join(path)
        fixed = next((why for name, why in FIXED.items() if key == name or key.startswith(name + ".")), None)
        if fixed:
            yield path, f"cannot be varied: {fixed}."
        elif not isinstance(values, (list, tuple)) or not values:
            yield path, f"expected a list of values to try, such as [1, 2], found {values!r}."
        elif twice := [v for number, v in enumerate(values) if v in values[:number]]:
            yield path, f"{twice[0]!r} stands twice. Keep one of them."
        else:
            counts.append(len(values))
    if math.prod(counts) > LIMIT:
        product = " x ".join(map(str, counts))
        yield (), f"{product} = {math.prod(counts)} combinations; at most {LIMIT} are run. Leave some values out."


def points(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All combinations in order, the last key varying fastest: dotted key -> value."""
    varied = [(".".join(path), values) for path, values in flat(grid)]
    names = [key for key, _ in varied]
    combinations = itertools.product(*(values for _, values in varied))
    return [dict(zip(names, combination, strict=True)) for combination in combinations]


def point_name(point: Mapping[str, Any], grid: Mapping[str, Any]) -> str:
    """A folder's name, such as `learning_rate-2e-05_batch-16`; different points have different names."""
    tried = {".".join(path): list(values) for path, values in flat(grid)}
    short = _short_keys(list(tried))
    return "_".join(f"{short[key]}-{_value_name(value, tried[key])}" for key, value in point.items())


def _short_keys(keys: list[str]) -> dict[str, str]:
    """The last part of every key, or as many as tell it from the others."""
    made = {}
    for key in keys:
        parts = key.split(".")
        length = next(
            n
            for n in range(1, len(parts) + 1)
            if n == len(parts) or sum(other.split(".")[-n:] == parts[-n:] for other in keys) == 1
        )
        made[key] = ".".join(parts[-length:])
    return made


def _value_name(value: Any, tried: list[Any]) -> str:
    """A plain value as one would write it, anything else by its number in the list."""
    names = [_plain_name(other) for other in tried]
    name = _plain_name(value)
    return name if name and names.count(name) == 1 else str(tried.index(value) + 1)


def _plain_name(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    if isinstance(value, str):
        return re.sub(r"[^\w.+-]+", "-", value).strip("-.")[-40:]
    return ""
