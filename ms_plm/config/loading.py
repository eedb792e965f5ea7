"""From a recipe's name to a checked `Recipe`: files, `base:` inheritance, overrides, and where each value came from.

Layers are laid over each other: the base's file, the recipe's file, the command line. Mappings are merged, lists and
plain values replaced. All complaints about a recipe are reported together, each with file, line and full key path.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UsageError, UserError
from ms_plm.config.check import Complaint, check
from ms_plm.config.grid import flat, nested, point_name, points
from ms_plm.config.places import find_recipe, list_recipes, place
from ms_plm.config.recipe import Recipe
from ms_plm.config.suite import Suite, SuiteTask
from ms_plm.config.yaml_files import parse_value, read_yaml, write_yaml

__all__ = [
    "Origin",
    "ResolvedRecipe",
    "changed",
    "list_recipes",
    "load_recipe",
    "place",
    "resolve_recipe",
    "save_resolved",
    "task_recipe",
]

KeyPath = tuple[str, ...]
COMMAND_LINE = "command line"

EXCLUSIVE: tuple[frozenset[KeyPath], ...] = (
    frozenset({("train", "steps"), ("train", "epochs")}),
    frozenset({("data", "text"), ("data", "corpus"), ("data", "mindrecord")}),
    frozenset({("data", "task"), ("data", "own")}),
    frozenset({("train", "schedule", "warmup_steps"), ("train", "schedule", "warmup_ratio")}),
)
"""Keys of which a recipe gives one: setting one in a higher layer clears the others below it."""


@dataclass(frozen=True)
class Origin:
    """Where a value was set: a file and its line, or the command line."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class ResolvedRecipe:
    """A checked recipe and the origin of every value that was set (defaults have none)."""

    recipe: Recipe | Suite
    path: Path
    origins: dict[KeyPath, Origin]


@dataclass
class _Layer:
    """Nested values and, for every key path in them, its origin."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | Iterable[str] | None = None) -> Recipe | Suite:
    """A checked recipe; a `Suite` where its kind is `suite`.

    Args:
        name_or_path: a file, a run folder, or the name of a shipped recipe (`quickstart`, `nezha/quickstart`).
        overrides: `{"train.steps": 100}` or `["train.steps=100"]`; lists are given whole.

    Raises:
        UserError: with everything that is wrong, at once.
    """
    return resolve_recipe(name_or_path, overrides).recipe


def resolve_recipe(
    name_or_path: str | Path, overrides: Mapping[str, Any] | Iterable[str] | None = None
) -> ResolvedRecipe:
    """Like `load_recipe`, with the origin of each value."""
    path = find_recipe(str(name_or_path))
    layer, above = _read_layers(path), _override_layer(overrides)
    if Path(name_or_path).is_dir():  # a run folder, wherever it stands now
        layer.values["output"] = {**(layer.values.get("output") or {}), "folder": str(name_or_path)}
    if layer.values.get("kind") == "suite":
        _settle_tasks(layer, above, path)
    _lay_over(layer, above, str(path))
    layer.values.setdefault("name", path.stem)
    recipe, complaints = check(layer.values)
    if recipe is None:
        raise UserError(_report(path, complaints, layer.origins))
    if complaints := _several(recipe):
        raise UserError(_report(path, complaints, layer.origins))
    return ResolvedRecipe(recipe, path, layer.origins)


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with other values by dotted keys, and without its grid.

    Raises:
        UserError: with everything that is wrong then.
    """
    layer = _Layer({**_written(recipe), "grid": {}})
    _lay_over(layer, _override_layer(changes), recipe.name)
    made, complaints = check(layer.values)
    if made is None:
        raise UserError("; ".join(f"{'.'.join(c.path)}: {c.text}" for c in complaints))
    return made


def task_recipe(suite: Suite, task: SuiteTask) -> Recipe:
    """The recipe of one task of a suite: its own, below what the suite changes for all, below what it changes for it,
    below what it takes of tasks before it.

    Raises:
        UserError: with everything that is wrong.
    """
    path = find_recipe(task.recipe)
    layer = _read_layers(path)
    shared = suite.shared()
    if suite.root is not None:
        names = task.folder or (task.run,)
        there = [name for name in names if place(f"{suite.root}/{name}").is_dir()]
        chosen = (there or names)[0]
        shared["data.folder"] = suite.root if chosen == "." else f"{suite.root}/{chosen}"
    try:
        used = suite.used(task)
    except ValueError as error:
        raise UserError(f"{suite.name}: {error}.") from error
    for changes in (shared, {".".join(key): value for key, value in flat(task.overrides)}, used):
        _lay_over(layer, _override_layer(changes, suite.name), str(path))
    layer.values.setdefault("name", path.stem)
    if layer.values.get("kind") == "suite":
        raise UserError(f"{path}: is a suite itself; name the recipes of its tasks.")
    recipe, complaints = check(layer.values)
    complaints = complaints if recipe is None else _several(recipe)
    if complaints:
        raise UserError(_report(path, complaints, layer.origins))
    return recipe


def _several(recipe: Recipe | Suite) -> list[Complaint]:
    """What is wrong with the runs that a recipe is made of: the points of its grid, the tasks of a suite."""
    found: dict[str, Complaint] = {}
    if isinstance(recipe, Suite):
        for number, task in enumerate(recipe.suite.tasks, 1):
            try:
                task_recipe(recipe, task)
            except UserError as error:  # what is wrong with the shared part is wrong in all of them: told once
                where = f"{number} ({task.run})"
                found.setdefault(str(error), Complaint(("suite", "tasks"), f"task {where}: {error}"))
        return list(found.values())
    for point in points(recipe.grid) if recipe.grid else ():
        try:
            changed(recipe, point)
        except UserError as error:
            name = point_name(point, recipe.grid)
            found.setdefault(str(error), Complaint(("grid",), f"{name}: {error}"))
    return list(found.values())


def _settle_tasks(layer: _Layer, above: _Layer, path: Path) -> None:
    """Recipes beside the suite's file by their path; what the command line sets for all stands above any task's own."""
    section = layer.values.get("suite")
    tasks = section.get("tasks") if isinstance(section, dict) else None
    for task in tasks if isinstance(tasks, list) else ():
        if not isinstance(task, dict):
            continue
        beside = path.parent / str(task.get("recipe"))
        if beside.is_file():
            task["recipe"] = str(beside)
        own = task.get("overrides")
        if isinstance(own, dict):
            kept = {key: value for key, value in flat(own) if key not in above.origins}
            task["overrides"] = {".".join(key): value for key, value in kept.items()}


def _written(recipe: Recipe | Suite) -> dict[str, Any]:
    """Plain values from which an equal recipe can be read."""
    values = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(recipe, Recipe) and recipe.model.from_:
        values["model"] = {"from": recipe.model.from_, "fresh": recipe.model.fresh}
    return values


def save_resolved(recipe: Recipe | Suite, path: str | Path) -> None:
    """Write a recipe with every value spelled out, so that `load_recipe(path)` gives an equal one."""
    write_yaml(Path(path), _written(recipe), "Resolved recipe: every value of the run, defaults included.")


def _read_layers(path: Path) -> _Layer:
    """A recipe's file laid over its bases, the lowest base first."""
    chain: list[Path] = []
    documents: list[_Layer] = []
    current: Path | None = path
    named_by = ""
    while current is not None:
        resolved = current.resolve()
        if resolved in chain:
            names = " -> ".join(item.name for item in [*chain, resolved])
            raise UserError(f"{named_by}: base: goes round in a circle: {names}. Remove one of them.")
        if named_by and not current.is_file():
            raise UserError(f"{named_by}: base: no such file: {current} (looked up beside the file that names it).")
        chain.append(resolved)
        document = read_yaml(current)
        layer = _Layer(document.values, {key: Origin(str(current), n) for key, n in document.lines.items()})
        _nest_grid(layer, str(current))
        base = layer.values.pop("base", None)
        origin = layer.origins.pop(("base",), None)
        if base is not None and not (isinstance(base, str) and base):
            raise UserError(f"{origin}: base: expected the name of one recipe file, found {base!r}.")
        documents.append(layer)
        named_by = str(origin)
        current = Path(os.path.normpath(current.parent / base)) if base else None
    result = documents.pop()
    for layer in reversed(documents):
        for own in ("name", "description"):  # these belong to one file; a child does not inherit them
            result.values.pop(own, None)
            result.origins.pop((own,), None)
        _lay_over(result, layer, str(path))
    return result


def _nest_grid(layer: _Layer, where: str) -> None:
    """Dotted keys of `grid` as sections, as they are everywhere else."""
    if isinstance(layer.values.get("grid"), dict):
        layer.values["grid"] = nested(layer.values["grid"], f"{where}: grid")
        for path in [path for path in layer.origins if path[0] == "grid" and any("." in part for part in path)]:
            layer.origins[tuple(part for key in path for part in key.split("."))] = layer.origins.pop(path)


def _override_layer(overrides: Mapping[str, Any] | Iterable[str] | None, source: str = COMMAND_LINE) -> _Layer:
    """`a.b=c` items as a layer."""
    layer = _Layer()
    if overrides is None:
        return layer
    if isinstance(overrides, str):
        overrides = [overrides]
    pairs = overrides.items() if isinstance(overrides, Mapping) else map(_split_override, overrides)
    for key, value in pairs:
        path = tuple(str(key).split("."))
        if not all(path):
            raise UsageError(f"{source}: {key}: expected a key such as train.steps.")
        if path == ("base",):
            raise UsageError(f"{source}: base can only be set in a file.")
        if path in layer.origins:
            raise UsageError(f"{source}: {key} is given twice. Keep one of them.")
        section = layer.values
        for depth, part in enumerate(path[:-1], start=1):
            layer.origins.setdefault(path[:depth], Origin(source))
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise UsageError(f"{source}: {key}: {'.'.join(path[:depth])} is given as a whole beside it.")
        section[path[-1]] = copy.deepcopy(value)
        _mark(layer.origins, path, value, source)
    _nest_grid(layer, source)
    return layer


def _split_override(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals:
        raise UsageError(f"{COMMAND_LINE}: {item!r}: expected key=value, such as train.steps=100.")
    return key.strip(), parse_value(text, f"{COMMAND_LINE}: {key.strip()}")


def _mark(origins: dict[KeyPath, Origin], path: KeyPath, value: Any, source: str) -> None:
    """Note the origin of a value and of everything inside it."""
    origins[path] = Origin(source)
    if isinstance(value, dict):
        for key, inner in value.items():
            _mark(origins, (*path, str(key)), inner, source)


def _lay_over(below: _Layer, above: _Layer, where: str) -> None:
    """Merge `above` into `below`: mappings key by key, everything else replaced."""
    for group in EXCLUSIVE:
        given = [path for path in group if _get(above.values, path) is not None]
        for path in group.difference(given) if given else ():
            _drop(below, path)
    if _get(above.values, ("model", "from")) is not None:  # the folder brings the whole configuration
        _drop(below, ("model",))
    _merge(below, above, below.values, above.values, (), where)


def _merge(below: _Layer, above: _Layer, target: dict, source: dict, path: KeyPath, where: str) -> None:
    for key, value in source.items():
        here = (*path, key)
        old = target.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            _merge(below, above, old, value, here, where)
        elif isinstance(value, dict) and value and isinstance(old, list):
            raise UserError(
                f"{above.origins[here]}: {'.'.join(here)} is a list in {below.origins.get(here, where)}; "
                "a list is replaced as a whole, so give all of it."
            )
        else:
            _drop(below, here)
            target[key] = value
        below.origins.update({p: o for p, o in above.origins.items() if p[: len(here)] == here})


def _get(values: Any, path: KeyPath) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _drop(layer: _Layer, path: KeyPath) -> None:
    """Remove a value and its origins, if it is there."""
    parent = _get(layer.values, path[:-1]) if path[:-1] else layer.values
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    for known in [p for p in layer.origins if p[: len(path)] == path]:
        del layer.origins[known]


def _report(path: Path, complaints: list[Complaint], origins: dict[KeyPath, Origin]) -> str:
    """All complaints, each behind the place where the offending value, or the section around it, was set."""
    lines = []
    for complaint in complaints:
        known = next((p for n in range(len(complaint.path), 0, -1) if (p := complaint.path[:n]) in origins), None)
        origin = origins[known] if known else Origin(str(path))
        key = ".".join(complaint.path)
        lines.append(f"{origin}: {key + ': ' if key else ''}{complaint.text}")
    if len(lines) == 1:
        return lines[0]
    return f"{path}: {len(lines)} things are wrong.\n" + "\n".join(f"  {line}" for line in lines)
