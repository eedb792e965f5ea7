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
from ms_plm.config.places import find_recipe, list_recipes, place
from ms_plm.config.recipe import Recipe
from ms_plm.config.yaml_files import parse_value, read_yaml, write_yaml

__all__ = ["Origin", "ResolvedRecipe", "list_recipes", "load_recipe", "place", "resolve_recipe", "save_resolved"]

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

    recipe: Recipe
    path: Path
    origins: dict[KeyPath, Origin]


@dataclass
class _Layer:
    """Nested values and, for every key path in them, its origin."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | Iterable[str] | None = None) -> Recipe:
    """A checked recipe.

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
    layer = _read_layers(path)
    if Path(name_or_path).is_dir():  # a run folder, wherever it stands now
        layer.values["output"] = {**(layer.values.get("output") or {}), "folder": str(name_or_path)}
    _lay_over(layer, _override_layer(overrides), str(path))
    layer.values.setdefault("name", path.stem)
    recipe, complaints = check(layer.values)
    if recipe is None:
        raise UserError(_report(path, complaints, layer.origins))
    return ResolvedRecipe(recipe, path, layer.origins)


def save_resolved(recipe: Recipe, path: str | Path) -> None:
    """Write a recipe with every value spelled out, so that `load_recipe(path)` gives an equal one."""
    values = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    if recipe.model.from_:
        values["model"] = {"from": recipe.model.from_, "fresh": recipe.model.fresh}
    write_yaml(Path(path), values, "Resolved recipe: every value of the run, defaults included.")


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


def _override_layer(overrides: Mapping[str, Any] | Iterable[str] | None) -> _Layer:
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
            raise UsageError(f"{COMMAND_LINE}: {key}: expected a key such as train.steps.")
        if path == ("base",):
            raise UsageError(f"{COMMAND_LINE}: base can only be set in a file.")
        if path in layer.origins:
            raise UsageError(f"{COMMAND_LINE}: {key} is given twice. Keep one of them.")
        section = layer.values
        for depth, part in enumerate(path[:-1], start=1):
            layer.origins.setdefault(path[:depth], Origin(COMMAND_LINE))
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise UsageError(f"{COMMAND_LINE}: {key}: {'.'.join(path[:depth])} is given as a whole beside it.")
        section[path[-1]] = copy.deepcopy(value)
        _mark(layer.origins, path, value)
    return layer


def _split_override(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals:
        raise UsageError(f"{COMMAND_LINE}: {item!r}: expected key=value, such as train.steps=100.")
    return key.strip(), parse_value(text, f"{COMMAND_LINE}: {key.strip()}")


def _mark(origins: dict[KeyPath, Origin], path: KeyPath, value: Any) -> None:
    """Note the command line as the origin of a value and of everything inside it."""
    origins[path] = Origin(COMMAND_LINE)
    if isinstance(value, dict):
        for key, inner in value.items():
            _mark(origins, (*path, str(key)), inner)


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
