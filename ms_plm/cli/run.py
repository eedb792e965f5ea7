"""`ms-plm run`: carry out a recipe."""

from __future__ import annotations

import argparse
from importlib.metadata import entry_points

from ms_plm.common.errors import UsageError, UserError
from ms_plm.config.loading import load_recipe
from ms_plm.config.recipe import Recipe

NAME = "run"
HELP = "carry out a recipe: prepare the data, train, evaluate, and make what its `output` asks for"
EPILOG = """\
examples:
  ms-plm run quickstart
  ms-plm run recipes/nezha/nezha_tiny_pretrain_zh.yaml data.corpus=prepared/zh train.steps=2000
  ms-plm run nezha_tiny_pretrain_zh --resume      continue after a kill, exactly where it was
  ms-plm run bert_base_rte model.from=MODEL data.folder=RTE train.repeats=5      five seeds: mean, deviation, the best
  ms-plm run bert_base_rte model.from=MODEL data.folder=RTE 'grid.train.batch=[16, 32]'    a run for each value
  ms-plm run glue_all model.from=MODEL data.folder=GLUE       every task of a benchmark, and the row of its figures
  ms-plm run nezha_base_pretrain_ascend --dry-run-ascend 910B3:8      planned memory before cluster hours are spent

A list is given whole: output.examples='["我爱[MASK]国", "a [MASK] day"]'
Several processes: msrun --worker_num=2 --local_worker_num=2 --master_port=8118 --join=True python -m ms_plm run RECIPE
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="name of a shipped recipe, a file, or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change, such as train.steps=100")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the run in the existing folder")
    again.add_argument("--overwrite", action="store_true", help="remove the existing run folder and start anew")
    again.add_argument(
        "--dry-run-ascend",
        nargs="?",
        const="910B2",
        metavar="CHIP[:DEVICES]",
        help="train nothing; compile the training step for an Ascend chip (default 910B2), without one: planned "
        "memory, kernels, size of the graph; 910B3:8 is the step of one of 8 devices",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="of several runs (train.repeats, grid, a suite) make the folders and recipes only, and list them",
    )


def run(args: argparse.Namespace) -> int:
    recipe = load_recipe(args.recipe, args.overrides)
    if args.dry_run_ascend:
        if recipe.several:
            raise UsageError(
                f"--dry-run-ascend: {recipe.name} is made of several runs; name the recipe of one of them, or "
                "set train.repeats=1."
            )
        print(_dry_run(recipe, args.dry_run_ascend))
        return 0
    from ms_plm import workflow  # imports MindSpore: only once the recipe is known to be right

    result = workflow.run(recipe, resume=args.resume, overwrite=args.overwrite, plan=args.plan)
    if result.summary:
        print(result.summary)
    return result.exit_code


def _dry_run(recipe: Recipe, target: str) -> str:
    """By the package that knows how, found by its entry point."""
    for point in entry_points(group="ms_plm.dry_runs", name="ascend"):
        return point.load()(recipe, target)
    raise UserError("--dry-run-ascend: the package ms_plm_ascend is not installed; install ms_plm again.")
