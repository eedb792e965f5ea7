"""`ms-plm show`: a recipe with every value and where it was set."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UsageError
from ms_plm.config.check import ALL_KINDS, describe_keys
from ms_plm.config.loading import Origin, ResolvedRecipe, resolve_recipe
from ms_plm.config.precision import policy_for
from ms_plm.config.recipe import ImplSection, Recipe
from ms_plm.series.plan import runs_of

NAME = "show"
HELP = "print a recipe with every value and where it was set (file and line, command line, or default)"
EPILOG = """\
examples:
  ms-plm show quickstart
  ms-plm show nezha_tiny_pretrain_zh train.epochs=3
  ms-plm show quickstart --set         only what is set, without the defaults
  ms-plm show --keys                   every key a recipe may hold, its default and what it means
  ms-plm show --keys finetune          the same for another kind of recipe
  ms-plm show bert_base_rte model.from=MODEL train.repeats=5      and the runs that it is made of
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="name of a shipped recipe, a file, or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change, such as train.steps=100")
    parser.add_argument("--set", action="store_true", dest="only_set", help="leave out values that are defaults")
    parser.add_argument(
        "--keys",
        nargs="?",
        const="pretrain",
        choices=sorted(ALL_KINDS),
        metavar="KIND",
        help=f"explain every key of a kind of recipe ({', '.join(sorted(ALL_KINDS))}) instead of showing one",
    )


def run(args: argparse.Namespace) -> int:
    if args.keys:
        for key, default, text in describe_keys(args.keys):
            print(f"{key:<40} {default:<14} {text}".rstrip())
        return 0
    if not args.recipe:
        raise UsageError("name a recipe, or ask for --keys.")
    resolved = resolve_recipe(args.recipe, args.overrides)
    print(f"# {_short(str(resolved.path))}")
    lines = list(_lines(resolved, args.only_set))
    width = min(max(len(text) for text, _ in lines), 60)
    for text, origin in lines:
        print(f"{text.ljust(width)}  # {origin}" if origin else text)
    if isinstance(resolved.recipe, Recipe):
        print(f"# {_precision(resolved.recipe.impl)}")
    if resolved.recipe.several:
        print(f"# {runs_of(resolved.recipe)}")
    return 0


def _precision(impl: ImplSection) -> str:
    more = "; `ms-plm doctor --soc NAME` adds what a chip brings" if impl.device == "ascend" else ""
    return f"impl.precision {impl.precision}: {policy_for(impl.precision, impl.device).summary}{more}"


def _lines(resolved: ResolvedRecipe, only_set: bool) -> Iterator[tuple[str, str]]:
    """Lines of YAML, each with the origin of its value; headings of sections have none."""
    values = resolved.recipe.model_dump(mode="json", by_alias=True)
    if isinstance(resolved.recipe, Recipe) and resolved.recipe.model.from_:
        values["model"] = {"from": resolved.recipe.model.from_, "fresh": resolved.recipe.model.fresh}
    yield from _section(values, (), resolved.origins, only_set)


def _section(values: dict[str, Any], path: tuple[str, ...], origins: dict, only_set: bool) -> Iterator[tuple[str, str]]:
    indent = "  " * len(path)
    for key, value in values.items():
        here = (*path, key)
        if only_set and here not in origins and here != ("name",):
            continue
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:", ""
            yield from _section(value, here, origins, only_set)
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            yield f"{indent}{key}:", _origin(origins.get(here), here)
            for item in value:
                told = {name: inner for name, inner in item.items() if inner not in (None, [], {})}
                yield f"{indent}  - {json.dumps(told, ensure_ascii=False)}", ""
        else:
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}", _origin(origins.get(here), here)


def _origin(origin: Origin | None, path: tuple[str, ...]) -> str:
    if origin is None:
        return "the file's name" if path == ("name",) else "default"
    return str(Origin(_short(origin.source), origin.line))


def _short(source: str) -> str:
    """A path as one would type it from here, where that is shorter."""
    relative = os.path.relpath(source) if Path(source).is_absolute() else source
    return relative if len(relative) < len(source) else source
