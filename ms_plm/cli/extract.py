"""`ms-plm extract`: a sub-network of an elastic model as a model folder."""

from __future__ import annotations

import argparse

from ms_plm.cli.model_folder import find_model_folder, quiet
from ms_plm.common.errors import UsageError, about

NAME = "extract"
HELP = "take a sub-network out of an elastic model (DynaBERT): a smaller, ordinary model folder"
EPILOG = """\
examples:
  ms-plm extract runs/dynabert_base_sst2_final --width 0.5 --depth 0.75 --output half
  ms-plm extract runs/dynabert_base_sst2_final --layers 0,2,4 --heads 6,4,8 --intermediate 768,512,1024 --output mine
  ms-plm evaluate half glue/SST-2        what it is worth; train on with ms-plm run RECIPE model.from=half

A width keeps the first heads and neurons of every layer (recipes of kind elastic put the most important ones first), a
depth keeps layers floor(i / depth): of 12 at 0.75 all but 3, 7 and 11. A depth within 0.01 of a whole number of layers
means that number: 0.67 of 6 keeps 0, 1, 3 and 4, as 4/6 does. Layers count from 0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model or run folder of the elastic model")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="the new model folder")
    parser.add_argument("--width", type=float, default=None, metavar="SHARE", help="of heads and neurons (default 1)")
    parser.add_argument("--depth", type=float, default=None, metavar="SHARE", help="of layers (default 1)")
    parser.add_argument("--layers", type=_numbers, metavar="0,2,4", help="layer by layer: those that are kept, from 0")
    parser.add_argument("--heads", type=_numbers, metavar="6,4,8", help="heads of each")
    parser.add_argument("--intermediate", type=_numbers, metavar="768,512,1024", help="neurons of each")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        message = f"expected numbers with commas between them, found {text!r}"
        raise argparse.ArgumentTypeError(message) from error


def run(args: argparse.Namespace) -> int:
    lists = [args.layers, args.heads, args.intermediate]
    if any(lists) and not all(lists):
        raise UsageError("--layers, --heads and --intermediate belong together: give all three.")
    if any(lists) and not (args.width is None and args.depth is None):
        raise UsageError("give --width and --depth, or --layers, --heads and --intermediate, not both.")
    if not any(lists) and args.width is None and args.depth is None:
        raise UsageError("say what to take: --width and --depth, or --layers, --heads and --intermediate.")
    folder = find_model_folder(args.folder)
    from ms_plm.config.model import ModelConfig
    from ms_plm.elastic.extraction import extract
    from ms_plm.elastic.subnetworks import SubNetwork

    config = ModelConfig.load(folder)
    with about(folder):
        if any(lists):
            part = SubNetwork.listed(config, *lists)
        else:
            share = [1.0 if value is None else value for value in (args.width, args.depth)]
            part = SubNetwork.of(config, *share)
    with quiet():
        found = extract(folder, args.output, part, args.overwrite)
    print(
        f"{part.name}: layers {', '.join(map(str, part.layers))}; {found['parameters'] / 1e6:.2f} M parameters, "
        f"{found['share']:.0%} of the whole. The folder is {args.output}. Next: ms-plm evaluate {args.output} DATA"
    )
    return 0
