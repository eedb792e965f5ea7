"""`ms-plm list`: the recipes that come with the package."""

from __future__ import annotations

import argparse

from ms_plm.common.errors import UserError
from ms_plm.config.loading import list_recipes, load_recipe
from ms_plm.config.recipe import Recipe
from ms_plm.config.suite import Suite

NAME = "list"
HELP = "show the recipes that come with the package"
EPILOG = """\
examples:
  ms-plm list
  ms-plm list bert        only those whose name holds "bert"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="", help="part of a name")


def run(args: argparse.Namespace) -> int:
    rows = [_row(name, str(path)) for name, path in list_recipes().items() if args.pattern in name]
    if not rows:
        raise UserError(f"no shipped recipe has {args.pattern!r} in its name; `ms-plm list` shows them all.")
    rows.insert(0, ("RECIPE", "KIND", "MODEL", "DESCRIPTION"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    return 0


def _row(name: str, path: str) -> tuple[str, str, str, str]:
    recipe = load_recipe(path)
    return name, recipe.kind, describe_model(recipe), recipe.description


def describe_model(recipe: Recipe | Suite) -> str:
    """Family and size, such as `nezha 4x256` (layers x hidden size)."""
    model = recipe.model
    if isinstance(recipe, Suite):
        return f"from {recipe.parent}" if recipe.parent else "as recipes say"
    if model.from_:
        return f"from {model.from_}"
    return f"{model.model_type} {model.num_hidden_layers}x{model.hidden_size}"
