"""Checking a recipe's values: everything that is wrong at once, in words that say what to write instead."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ms_plm.common.errors import UserError
from ms_plm.config.distillation import DistillMethod
from ms_plm.config.grid import faults
from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.config.precision import policy_for
from ms_plm.config.recipe import KINDS, Recipe
from ms_plm.config.sections import Section
from ms_plm.config.suite import SHARED, Suite

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Complaint:
    """What is wrong with the value at a key path."""

    path: KeyPath
    text: str


def check(values: dict[str, Any]) -> tuple[Recipe | Suite | None, list[Complaint]]:
    """The recipe, or None and what is wrong. `values` is left as it is."""
    kind = values.get("kind")
    if kind == "suite":
        return _check_suite(values)
    parts = KINDS.get(kind, {}) if isinstance(kind, str) else {}
    complaints: list[Complaint] = []
    known, whole = _without_unknown(values, Recipe, parts, (), complaints), True
    if isinstance(known.get("grid"), dict):
        known["grid"] = _without_unknown(known["grid"], Recipe, parts, ("grid",), complaints)
        complaints += [Complaint(("grid", *path), text) for path, text in faults(known["grid"])]
    for name, section in parts.items():
        given = known.pop(name, None)
        try:
            known[name] = section.model_validate({} if given is None else given)
        except ValidationError as error:
            complaints += [_complaint(item, (name,)) for item in error.errors()]
            known[name], whole = section.model_construct(), False
    try:
        recipe = Recipe.model_validate(known)
    except ValidationError as error:
        return None, complaints + [_complaint(item) for item in error.errors()]
    if whole:
        complaints += _across_sections(recipe)
    return (None if complaints else recipe), complaints


def _check_suite(values: dict[str, Any]) -> tuple[Suite | None, list[Complaint]]:
    """The same for a suite; what it changes in its tasks' recipes is checked with them."""
    complaints: list[Complaint] = []
    known = _without_unknown(values, Suite, {}, (), complaints)
    shared = {name: known[name] for name in SHARED if isinstance(known.get(name), dict)}
    known |= _without_unknown(shared, Recipe, KINDS["finetune"], (), complaints)
    try:
        suite = Suite.model_validate(known)
    except ValidationError as error:
        return None, complaints + [_complaint(item) for item in error.errors()]
    return (None if complaints else suite), complaints


ALL_KINDS = (*KINDS, "suite")
"""Every kind of recipe; a suite has a shape of its own."""

Parts = dict[str, type[Section]]  # those sections of a recipe that depend on its kind


def _keys(section: type[Section], parts: Parts) -> dict[str, type[Section] | None]:
    """The keys of a section as written in YAML, each with the section inside it, if any."""
    keys = {}
    for name, info in section.model_fields.items():
        inner = parts.get(name) if section is Recipe else None
        inner = inner or _section_in(info.annotation)
        keys[info.alias or name] = inner
    return keys


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


def _paths(section: type[Section], parts: Parts, prefix: KeyPath = ()) -> list[KeyPath]:
    """Every key path that a recipe may hold."""
    paths = []
    for key, inner in _keys(section, parts).items():
        paths.append((*prefix, key))
        if inner:
            paths += _paths(inner, parts, (*prefix, key))
    return paths


def describe_keys(kind: str = "pretrain") -> list[tuple[str, str, str]]:
    """Every key of a recipe of this kind: its path, its default (empty: none) and what it means."""
    root, parts = (Suite, {}) if kind == "suite" else (Recipe, KINDS[kind])

    def walk(section: type[Section], prefix: str) -> Iterator[tuple[str, str, str]]:
        for (key, inner), info in zip(_keys(section, parts).items(), section.model_fields.values(), strict=True):
            if inner:
                yield prefix + key, "", info.description or (inner.__doc__ or "").split("\n")[0]
                yield from walk(inner, f"{prefix}{key}.")
            else:
                default = "" if info.is_required() else json.dumps(info.default, ensure_ascii=False)
                yield prefix + key, default, info.description or _options(info.annotation)

    return list(walk(root, ""))


def _options(annotation: Any) -> str:
    """The values of a key that takes one of a few, such as `adamw, lamb`."""
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    return next(filter(None, map(_options, get_args(annotation))), "")


def _without_unknown(
    values: dict[str, Any], section: type[Section], parts: Parts, path: KeyPath, complaints: list[Complaint]
) -> dict[str, Any]:
    """A copy without unknown keys, which become complaints; so the rest is checked as well."""
    keys = _keys(section, parts)
    result = {}
    for key, value in values.items():
        here = (*path, key)
        if key not in keys:
            complaints.append(Complaint(here, f"unknown key; {_suggestion(here, keys, parts)}"))
            continue
        inner = keys[key]
        if inner and isinstance(value, dict):
            value = _without_unknown(value, inner, parts, here, complaints)
        elif inner and isinstance(value, list):
            value = [
                _without_unknown(item, inner, parts, here, complaints) if isinstance(item, dict) else item
                for item in value
            ]
        result[key] = value
    return result


def _suggestion(path: KeyPath, keys: dict[str, Any], parts: Parts) -> str:
    """Which known key was probably meant: near in this section, else of the same name elsewhere, else near anywhere."""
    everywhere = _paths(Recipe, parts)
    if near := difflib.get_close_matches(path[-1], keys, 1):
        return f"did you mean {'.'.join((*path[:-1], near[0]))}?"
    if same := [p for p in everywhere if p[-1] == path[-1]]:
        return f"did you mean {' or '.join('.'.join(p) for p in same[:3])}?"
    dotted = {".".join(p): p for p in everywhere}
    leaves = {p[-1]: p for p in reversed(everywhere)}
    if near := difflib.get_close_matches(".".join(path), dotted, 1, cutoff=0.75):
        return f"did you mean {near[0]}?"
    if near := difflib.get_close_matches(path[-1], leaves, 1, cutoff=0.75):
        return f"did you mean {'.'.join(leaves[near[0]])}?"
    return f"known here: {', '.join(keys) or 'none'}."


def _complaint(error: ErrorDetails, prefix: KeyPath = ()) -> Complaint:
    """A pydantic error in our words."""
    path = prefix + tuple(str(part) for part in error["loc"] if not str(part).endswith("]"))
    kind, found, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return Complaint(path, "is missing; add it.")
    if kind == "value_error":
        return Complaint(path, f"{context['error']}.".replace("..", "."))
    if kind == "literal_error":
        options = context["expected"].replace("'", "")
        if path == ("kind",):  # a suite is no recipe of its own shape
            options = f"{options.replace(' or ', ', ')} or suite"
        near = difflib.get_close_matches(str(found), [o.strip() for o in options.replace(" or ", ",").split(",")], 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return Complaint(path, f"expected {options}, found {found!r}.{hint}")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return Complaint(path, f"expected a section of `key: value` lines, found {found!r}.")
    if kind in ("tuple_type", "list_type"):
        return Complaint(path, f"expected a list such as [a, b], found {found!r}.")
    expected = error["msg"].removeprefix("Input should be ").removeprefix("a valid ").split(", unable")[0]
    return Complaint(path, f"expected {expected}, found {found!r}.")


def _across_sections(recipe: Recipe) -> list[Complaint]:
    """What no section can see alone."""
    complaints = []
    train, impl = recipe.train, recipe.impl
    complaints += _OF_KIND[recipe.kind](recipe)
    if impl.micro_batch and train.batch % impl.micro_batch:
        complaints.append(
            Complaint(
                ("impl", "micro_batch"),
                f"train.batch {train.batch} is not a multiple of micro_batch {impl.micro_batch}; change one of them "
                "(an update is made of whole micro-batches).",
            )
        )
    complaints += _beyond_positions(recipe)
    if recipe.output.compare and not isinstance(recipe.method, DistillMethod):
        text = f"sets teacher and student side by side, and kind {recipe.kind} has no teacher; remove it."
        complaints.append(Complaint(("output", "compare"), text))
    complaints += [
        Complaint(("output", "examples"), f"text {number} has no [MASK] to fill in: {text[:80]!r}.")
        for number, text in enumerate(recipe.output.examples, 1)
        if "[MASK]" not in text
    ]
    if impl.device != "auto":
        try:
            policy_for(impl.precision, impl.device)
        except UserError as error:
            complaints.append(Complaint(("impl", "precision"), str(error).removeprefix("impl.precision: ")))
    return complaints


def _of_pretraining(recipe: Recipe) -> list[Complaint]:
    data, complaints = recipe.data, []
    if not (data.text or data.corpus or data.mindrecord):
        text = "says nowhere what to train on; set one of data.text, data.corpus, data.mindrecord."
        complaints.append(Complaint(("data",), text))
    if recipe.train.checkpoint.best == "metric":
        text = "pretraining has no metric of a task; expected loss, accuracy or none."
        complaints.append(Complaint(("train", "checkpoint", "best"), text))
    return complaints


def _of_finetuning(recipe: Recipe) -> list[Complaint]:
    complaints = []
    if not recipe.model.from_:
        complaints.append(Complaint(("model", "from"), "is missing; name the folder of a pretrained model."))
    if recipe.train.checkpoint.best == "accuracy":
        text = "a task is judged by its own figure, which need not be accuracy; expected metric, loss or none."
        complaints.append(Complaint(("train", "checkpoint", "best"), text))
    return complaints


def _of_general_distillation(recipe: Recipe) -> list[Complaint]:
    complaints = _of_pretraining(recipe)
    if recipe.train.checkpoint.best == "accuracy":
        text = "a distillation is judged by its loss; expected loss or none."
        complaints.append(Complaint(("train", "checkpoint", "best"), text))
    return complaints + _uncached(recipe)


def _uncached(recipe: Recipe) -> list[Complaint]:
    text = "is for task_distill, whose samples come again; remove it."
    return [Complaint(("method", "teacher", "cache"), text)] if recipe.method.teacher.cache else []


def _of_task_distillation(recipe: Recipe) -> list[Complaint]:
    best = recipe.train.checkpoint.best
    text = {
        "accuracy": "a task is judged by its own figure, which need not be accuracy; expected metric, loss or none.",
        "metric": "without the terms prediction and labels the head is not trained; expected loss or none.",
    }
    wrong = best == "accuracy" or (best == "metric" and not recipe.method.losses.on_outputs)
    return [Complaint(("train", "checkpoint", "best"), text[best])] if wrong else []


def _of_elastic(recipe: Recipe) -> list[Complaint]:
    complaints = _of_finetuning(recipe)
    if recipe.model.from_ and recipe.model.fresh:
        text = "heads and neurons of new weights have no order; remove it, and name a fine-tuned model."
        complaints.append(Complaint(("model", "fresh"), text))
    return complaints


def _of_search(recipe: Recipe) -> list[Complaint]:
    complaints = _of_general_distillation(recipe)
    if recipe.train.steps is None:
        text = "a map is evaluated in a few steps; set steps instead."
        complaints.append(Complaint(("train", "epochs"), text))
    if recipe.several:
        path = ("grid",) if recipe.grid else ("train", "repeats")
        text = "a search is one run; seeds of the comparison are method.confirm."
        complaints.append(Complaint(path, text))
    complaints += [
        Complaint(("output", name), "a search leaves a map and no model; remove it.")
        for name in ("examples", "export", "compare")
        if getattr(recipe.output, name)
    ]
    return complaints


_OF_KIND = {
    "pretrain": _of_pretraining,
    "finetune": _of_finetuning,
    "general_distill": _of_general_distillation,
    "task_distill": _of_task_distillation,
    "elastic": _of_elastic,
    "search_layer_map": _of_search,
}


def _beyond_positions(recipe: Recipe) -> list[Complaint]:
    """Lengths for which a model with absolute positions has none."""
    model, export = recipe.model, recipe.output.export
    limit, name = model.max_position_embeddings, "model.max_position_embeddings"
    remedy = "Raise it, shorten {key}, or use relative positions."
    absolute = model.position_embedding == "absolute"
    if model.from_:
        parent = _parent(model.from_)
        absolute = parent is not None and parent.position_embedding_type == "absolute"
        limit = parent.longest_input if absolute else limit
        name, remedy = f"max_position_embeddings of {model.from_}", "Shorten {key}."
    lengths = {("data", "max_length"): recipe.data.max_length}
    if export is not None and export.length != "dynamic":
        lengths["output", "export", "length"] = export.length
    return [
        Complaint(
            path,
            f"{length} is more than the {limit} tokens that {name} allows; absolute positions end there. "
            + remedy.format(key=path[-1]),
        )
        for path, length in lengths.items()
        if absolute and length > limit
    ]


def _parent(folder: str) -> ModelConfig | None:
    """The configuration of the model that a recipe continues from; None where it cannot be read (yet)."""
    try:
        return ModelConfig.load(place(folder))
    except (UserError, OSError):
        return None
