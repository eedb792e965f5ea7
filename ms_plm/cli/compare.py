"""`ms-plm compare`: models side by side, such as a teacher and its students."""

from __future__ import annotations

import argparse

from ms_plm.cli.model_folder import add_device_argument, find_model_folder, quiet
from ms_plm.cli.picture_files import check_picture

NAME = "compare"
HELP = "compare models: parameters, size, FLOPs, latency of their exported files in one run, and recorded figures"
EPILOG = """\
examples:
  ms-plm compare runs/teacher runs/tinybert4                         a teacher and its student
  ms-plm compare runs/teacher runs/tinybert4 runs/tinybert6 --lengths 64 --threads 1 --json sizes.json

prints a table like this one (shortened):
  |                          |                   teacher |                  tinybert4 |
  |--------------------------|--------------------------:|---------------------------:|
  | layers x hidden          | 12 x 768 (12 heads, 3072) |   4 x 312 (12 heads, 1200) |
  | parameters               |                   109.5 M |            14.35 M (7.63x) |
  | FLOPs, length 128        |                   22.35 B |           1.247 B (17.91x) |
  | latency, length 128, min |                  284.7 ms |          28.13 ms (10.12x) |

The first model is the one that the others are compared with. Every model is exported as MindIR for batch 1 and each
length, which is checked against the model, and the files are reloaded in one new process and take turns there. Models
that all have the same head for a task are exported with it, others as encoders. The latency belongs to this machine,
the threads and the load that are printed with it. Exit code 1: something could not be exported or measured; it is
named.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="FOLDER", help="model or run folder that the others are compared with")
    parser.add_argument("others", metavar="OTHER", nargs="+", help="model or run folders")
    lengths = "sequence lengths (default 32 128)"
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128], metavar="N", help=lengths)
    parser.add_argument("--threads", type=int, metavar="N", help="cores to measure on (default: all of this process)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="turns of 5 calls of each (default 10)")
    parser.add_argument("--json", metavar="FILE", help="also write all figures, every call's time among them")
    parser.add_argument("--picture", metavar="FILE.png", help="also draw the ratios as bars")
    parser.add_argument("--files", metavar="FOLDER", help="keep the MindIR files here, and use again what stands there")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    if args.picture:
        check_picture("--picture", args.picture)
    folders = [find_model_folder(name) for name in (args.first, *args.others)]
    from ms_plm.config.recipe import ImplSection
    from ms_plm.training.hardware import open_device

    with quiet():
        open_device(ImplSection(device=args.device))
        from ms_plm.export import compare_models

        found = compare_models(folders, args.lengths, threads=args.threads, rounds=args.rounds, files=args.files)
    print(found.table())
    if args.json:
        found.write(args.json)
        print(f"\nThe figures are in {args.json}.")
    if args.picture:
        from ms_plm.pictures.canvas import save_figure
        from ms_plm.pictures.ratios import ratio_figure

        save_figure(ratio_figure(*found.ratios(), found.models[0].name), args.picture)
        print(f"\nThe picture is in {args.picture}.")
    return 1 if found.problems else 0
