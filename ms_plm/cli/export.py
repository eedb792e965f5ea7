"""`ms-plm export`: a model as a file for deployment."""

from __future__ import annotations

import argparse
from typing import get_args

from ms_plm.cli.model_folder import add_device_argument, find_model_folder, quiet
from ms_plm.config.model import ExportHead

NAME = "export"
HELP = "write a model as a MindIR file; it is reloaded in a new process and compared with the model"
EPILOG = """\
examples:
  ms-plm export runs/quickstart --head masked_lm --output quickstart.mindir
  ms-plm export runs/tnews --head sequence_classification --output tnews.mindir
  ms-plm export nezha-cn-base --head encoder --batch dynamic --length dynamic --output encoder.mindir

Inputs are input_ids, token_type_ids and attention_mask, int32 [batch, length]. Outputs: `encoder` gives
last_hidden_state [batch, length, hidden] and, where the model has a pooler, pooler_output [batch, hidden]; `masked_lm`
gives prediction_logits [batch, length, vocabulary]; heads for tasks give logits: sequence_classification
[batch, labels], token_classification [batch, length, labels], question_answering [batch, length, 2] (start, end),
multiple_choice [batch] (a row for each choice). A report is written beside the file (.json).
"""


def _size(text: str) -> int | str:
    if text == "dynamic":
        return text
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 or `dynamic`, found {text!r}")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model folder or run folder")
    parser.add_argument("--format", choices=("mindir",), default="mindir")
    parser.add_argument("--head", choices=get_args(ExportHead), default="encoder", help="default encoder")
    parser.add_argument("--batch", type=_size, default=1, metavar="N", help="a number or `dynamic` (default 1)")
    parser.add_argument("--length", type=_size, default=128, metavar="N", help="a number or `dynamic` (default 128)")
    parser.add_argument("--output", metavar="FILE", help="default: FOLDER's name and head, here")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    from ms_plm.config.recipe import ImplSection

    folder = find_model_folder(args.folder)
    run_folder = folder.resolve().parent if folder.name == "model" else folder.resolve()
    output = args.output or f"{run_folder.name}_{args.head}.mindir"
    from ms_plm.training.hardware import open_device

    with quiet():
        open_device(ImplSection(device=args.device))
        from ms_plm.export import export_mindir

        report = export_mindir(folder, output, args.head, args.batch, args.length)
    print(report.describe())
    return 0
