"""`ms-plm search-layer-map`: ELM, the search for the layers of a teacher that a student learns of."""

from __future__ import annotations

import argparse

from ms_plm.common.errors import UsageError
from ms_plm.config.loading import load_recipe

NAME = "search-layer-map"
HELP = "find of which teacher layers a student learns best: an evolutionary search with a short distillation (ELM)"
EPILOG = """\
examples:
  ms-plm search-layer-map RECIPE
  ms-plm search-layer-map RECIPE method.evolution.evaluations=60 method.processes=4
  ms-plm search-layer-map runs/NAME --resume      go on with a search that was cut: no map is evaluated twice

`ms-plm run` of such a recipe does the same. The map is then used by method.layer_map of a distillation.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="of kind search_layer_map: its name, a file, or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change, such as train.steps=100")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the search in the existing folder")
    again.add_argument("--overwrite", action="store_true", help="remove the existing run folder and start anew")


def run(args: argparse.Namespace) -> int:
    recipe = load_recipe(args.recipe, args.overrides)
    if recipe.kind != "search_layer_map":
        raise UsageError(
            f"{recipe.name} is of kind {recipe.kind}; expected search_layer_map. Carry it out with ms-plm run."
        )
    from ms_plm import workflow  # imports MindSpore: only once the recipe is known to be right

    result = workflow.run(recipe, resume=args.resume, overwrite=args.overwrite)
    print(result.summary)
    return result.exit_code
