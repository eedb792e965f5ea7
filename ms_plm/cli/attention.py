"""`ms-plm attention`: a picture of what the heads of a model look at in one text."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ms_plm.cli.model_folder import add_device_argument, find_model_folder, open_model
from ms_plm.cli.picture_files import check_picture
from ms_plm.common.errors import UsageError, about
from ms_plm.common.files import replacing_file

if TYPE_CHECKING:
    from ms_plm.models.model import Model
    from ms_plm.tasks.attention import AttentionMaps

NAME = "attention"
HELP = "draw what every head of every layer looks at in one text, or in a pair of texts"
EPILOG = """\
examples:
  ms-plm attention runs/quickstart '春天来了，[MASK]开了。' --output maps.png             all layers x heads, small
  ms-plm attention runs/quickstart '春天来了，花开了。' --layers 1 --heads 3 --output head.png    one, with the tokens
  ms-plm attention runs/bert_base_mrpc 'He left.' 'She stayed.' --json maps.json        the numbers
  ms-plm attention runs/dynabert_base_sst2_final 'A fine film.' --subnetworks 1x1,0.5x1,0.25x0.5 --output sub.png
                                              parts of an elastic model, width x depth, side by side

Layers and heads count from 0; layers of a sub-network have the numbers that they have in the whole. A row is a token
that looks, a column one that is looked at; rows add up to 1. All maps share one scale of colours. Tokens that no
installed font can show stand as their ids.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model folder or run folder, with any head")
    parser.add_argument("text", metavar="TEXT", help="may hold [MASK]")
    parser.add_argument("pair", metavar="PAIR", nargs="?", help="a second text")
    parser.add_argument("--output", metavar="FILE.png", help="the picture; also .svg or .pdf")
    parser.add_argument("--json", metavar="FILE", help="write tokens and probabilities [layers][heads][query][key]")
    parser.add_argument("--layers", type=_numbers, metavar="0,5", help="these only (default: all)")
    parser.add_argument("--heads", type=_numbers, metavar="0,5", help="these only; one layer and one head: a large map")
    parts = "of an elastic model: these parts of it, width x depth, side by side"
    parser.add_argument("--subnetworks", type=_shapes, metavar="1x1,0.5x0.5", help=parts)
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


def _shapes(text: str) -> list[tuple[float, float]]:
    try:
        pairs = [tuple(float(share) for share in part.split("x")) for part in text.split(",")]
    except ValueError:
        pairs = []
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"expected widths x depths with commas between them, found {text!r}")
    return pairs


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

    count = model.config.num_hidden_layers
    shown = {Path(args.folder).resolve().name: (model, range(count))}
    if args.subnetworks:
        with about(folder):
            shown = _parts(model, args.subnetworks)
    found = {}
    for name, (each, layers) in shown.items():
        found[name] = _numbered(attention_maps(each, tokenizer, args.text, args.pair, args.length), layers, count)
    maps = next(iter(found.values()))
    if args.json:
        _write_numbers(args, folder, found)
        print(f"the numbers are in {args.json}.")
    if args.output:
        from ms_plm.pictures.attention import attention_figure
        from ms_plm.pictures.canvas import save_figure

        models = [(name, each.probabilities) for name, each in found.items()]
        figure = attention_figure(models, maps.tokens, maps.ids, args.layers, args.heads)
        save_figure(figure, args.output)
        print(f"the picture is in {args.output}.")
    return 0


def _parts(model: Model, shapes: list[tuple[float, float]]) -> dict[str, tuple[Model, Sequence[int]]]:
    """Sub-networks by their names, with the numbers of their layers in the whole."""
    from ms_plm.elastic.parts import view
    from ms_plm.elastic.subnetworks import SubNetwork

    parts = [SubNetwork.of(model.config, *shape) for shape in shapes]
    return {part.name: (view(model, part), part.layers) for part in parts}


def _numbered(maps: AttentionMaps, layers: Sequence[int], count: int) -> AttentionMaps:
    """The maps of these layers out of so many, each in its place; NaN for those that are left out."""
    import numpy as np

    probabilities = np.full((count, *maps.probabilities.shape[1:]), np.nan, np.float32)
    probabilities[list(layers)] = maps.probabilities
    return replace(maps, probabilities=probabilities)


def _write_numbers(args: argparse.Namespace, folder: Path, found: dict[str, AttentionMaps]) -> None:
    """One line of JSON; null in place of a head that a layer does not have."""
    maps = next(iter(found.values()))
    value = {
        "model": str(folder),
        "text": args.text,
        "pair": args.pair,
        "tokens": maps.tokens,
        "ids": maps.ids,
        **_chosen(args, maps),
    }
    if args.subnetworks:
        value["subnetworks"] = {name: _chosen(args, each) for name, each in found.items()}
    with replacing_file(args.json) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def _chosen(args: argparse.Namespace, maps: AttentionMaps) -> dict:
    """The layers and heads that are asked for, as far as there are any, and their maps."""
    import numpy as np

    layers, heads = (
        [number for number in (range(count) if wanted is None else wanted) if number < count]
        for wanted, count in zip((args.layers, args.heads), maps.probabilities.shape[:2], strict=True)
    )
    layers = [layer for layer in layers if not np.isnan(maps.probabilities[layer]).all()]
    chosen = [[maps.probabilities[layer, head] for head in heads] for layer in layers]
    probabilities = [[None if np.isnan(m).all() else m.tolist() for m in row] for row in chosen]
    return {"layers": layers, "heads": heads, "probabilities": probabilities}
