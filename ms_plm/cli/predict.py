"""`ms-plm predict`: fill in [MASK]."""

from __future__ import annotations

import argparse
import json
import sys

from ms_plm.cli.model_folder import add_device_argument, find_model_folder, open_model
from ms_plm.common.errors import UsageError

NAME = "predict"
HELP = "fill in every [MASK] of a text with the most probable tokens"
EPILOG = """\
examples:
  ms-plm predict runs/quickstart '春天来了，[MASK]开了。' 'the sun is very [MASK] in [MASK].'
  ms-plm predict runs/quickstart --top-k 3 --json < texts.txt      one text a line

Several masks in a text are filled in independently of each other.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model folder or run folder")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="with [MASK]; none: lines of standard input")
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="candidates for each mask (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object for each text")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    if args.top_k < 1:
        raise UsageError(f"--top-k: expected a number above 0, found {args.top_k}.")
    folder = find_model_folder(args.folder)
    texts = args.texts or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not texts:
        raise UsageError("no text: give one as an argument, or one a line on standard input.")
    model, tokenizer = open_model(folder, args.device, head="masked_lm")
    from ms_plm.tasks.fill_mask import fill_masks

    for filled in fill_masks(model, tokenizer, texts, args.top_k):
        print(json.dumps(filled, ensure_ascii=False) if args.json else filled_text(filled))
    return 0


def filled_text(filled: dict) -> str:
    """The text, and below it a line of candidates for each mask."""
    lines = [filled["text"]]
    for number, mask in enumerate(filled["masks"], 1):
        label = f"  [MASK] {number}:" if len(filled["masks"]) > 1 else "  [MASK]:"
        lines.append(label + "".join(f"  {c['token']} {c['probability']:.4f}" for c in mask["candidates"]))
    return "\n".join(lines)
