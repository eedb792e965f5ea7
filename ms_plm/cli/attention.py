"""`ms-plm attention`: a picture of what the heads of a model look at in one text."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ms_plm.cli.model_folder import add_device_argument, find_model_folder, open_model
from ms_plm.cli.picture_files import check_picture
from ms_plm.common.errors import UsageError
from ms_plm.common.files import replacing_file

if TYPE_CHECKING:
    from ms_plm.tasks.attention import AttentionMaps

NAME = "attention"
HELP = "draw what every head of every layer looks at in one text, or in a pair of texts"
EPILOG = """\
examples:
  ms-plm attention runs/quickstart '春天来了，[MASK]开了。' --output maps.png             all layers x heads, small
  ms-plm attention runs/quickstart '春天来了，花开了。' --layers 1 --heads 3 --output head.png    one, with the tokens
  ms-plm attention runs/bert_base_mrpc 'He left.' 'She stayed.' --json maps.json        the numbers

Layers and heads count from 0. A row is a token that looks, a column one that is looked at; rows add up to 1. All maps
share one scale of colours. Tokens that no installed font can show stand as their ids.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model folder or run folder, with any head")
    parser.add_argument("text", metavar="TEXT", help="may hold [MASK]")
    parser.add_argument("pair", metavar="PAIR", nargs="?", help="a second text")
    parser.add_argument("--output", metavar="FILE.png", help="the picture; also .svg or .pdf")
    parser.add_argument("--json", metavar="FILE", help="write tokens and probabilities [layers][heads][query][key]")
    parser.add_argument("--layers", type=_numbers, metavar="0,5", help="these only (default: all)")
    parser.add_argument("--heads", type=_numbers, metavar="0,5", help="these only; one layer and one head: a large map")
    parser.add_argument("--length", type=int, metavar="N", help="cut what is longer than N tokens")
    add_device_argument(parser)


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError(f"expected numbers from 0 with commas between them, found {text!r}")
    return list(dict.fromkeys(numbers))


def run(args: argparse.Namespace) -> int:
    if not args.output and not args.json:
        raise UsageError("say where to: --output FILE.png for a picture, --json FILE for the numbers.")
    if args.length is not None and args.length < 8:
        raise UsageError(f"--length: expected at least 8, found {args.length}.")
    if args.output:
        check_picture("--output", args.output)
    folder = find_model_folder(args.folder)
    model, tokenizer = open_model(folder, args.device, "encoder", frozenset({"probabilities"}))
    for name, count in (
        ("layers", model.config.num_hidden_layers),
        ("heads", max(map(model.config.heads, range(model.config.num_hidden_layers)))),
    ):
        if (numbers := getattr(args, name)) and max(numbers) >= count:
            raise UsageError(f"--{name}: {folder} has {name} 0 to {count - 1}, found {max(numbers)}.")
    from ms_plm.tasks.attention import attention_maps

    maps = attention_maps(model, tokenizer, args.text, args.pair, args.length)
    if args.json:
        _write_numbers(args, folder, maps)
        print(f"the numbers are in {args.json}.")
    if args.output:
        from ms_plm.pictures.attention import attention_figure
        from ms_plm.pictures.canvas import save_figure

        title = Path(args.folder).resolve().name
        figure = attention_figure([(title, maps.probabilities)], maps.tokens, maps.ids, args.layers, args.heads)
        save_figure(figure, args.output)
        print(f"the picture is in {args.output}.")
    return 0


def _write_numbers(args: argparse.Namespace, folder: Path, maps: AttentionMaps) -> None:
    """One line of JSON; null in place of a head that a layer does not have."""
    import numpy as np

    layers = args.layers if args.layers is not None else range(maps.probabilities.shape[0])
    heads = args.heads if args.heads is not None else range(maps.probabilities.shape[1])
    chosen = [[maps.probabilities[layer, head] for head in heads] for layer in layers]
    value = {
        "model": str(folder),
        "text": args.text,
        "pair": args.pair,
        "tokens": maps.tokens,
        "ids": maps.ids,
        "layers": list(layers),
        "heads": list(heads),
        "probabilities": [[None if np.isnan(m).all() else m.tolist() for m in row] for row in chosen],
    }
    with replacing_file(args.json) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
