"""`ms-plm validate`: check recipes without running them."""

from __future__ import annotations

import argparse
import sys

from ms_plm.common.errors import UsageError, UserError
from ms_plm.config.loading import load_recipe
from ms_plm.series.plan import runs_of

NAME = "validate"
HELP = "check recipes without running them; everything that is wrong is reported at once"
EPILOG = """\
examples:
  ms-plm validate my_recipe.yaml
  ms-plm validate quickstart nezha_base_pretrain_ascend
  ms-plm validate quickstart train.steps=50
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="names or files; key=value changes all of them")


def run(args: argparse.Namespace) -> int:
    overrides = [item for item in args.recipes if "=" in item]
    names = [item for item in args.recipes if "=" not in item]
    if not names:
        raise UsageError("name at least one recipe.")
    failed = 0
    for name in names:
        try:
            recipe = load_recipe(name, overrides)
            runs = f"; {runs_of(recipe)}" if recipe.several else ""
        except UserError as error:
            failed += 1
            print(error, file=sys.stderr)
        else:
            print(f"{name}: valid ({recipe.kind}, {recipe.name}{runs})")
    return 1 if failed else 0
