"""`ms-plm predict`: fill in [MASK], or say which class a text is of, by what the model is for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from ms_plm.cli.model_folder import add_device_argument, find_model_folder, is_classifier, open_model
from ms_plm.common.errors import UsageError, UserError
from ms_plm.common.files import replacing_file

NAME = "predict"
HELP = "fill in every [MASK] of a text, or classify texts with a fine-tuned model"
EPILOG = """\
examples:
  ms-plm predict runs/quickstart '春天来了，[MASK]开了。' 'the sun is very [MASK] in [MASK].'
  ms-plm predict runs/quickstart --top-k 3 --json < texts.txt      one text a line
  ms-plm predict runs/bert_base_sst2 'a gripping film' 'dull and far too long'
  ms-plm predict runs/pairs --input pairs.tsv --output answers.jsonl     two texts a line, a tab between them

Several masks in a text are filled in independently of each other.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model folder or run folder")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="none: lines of --input or of standard input")
    parser.add_argument("--input", metavar="FILE", help="one text a line; a tab before a second text")
    parser.add_argument("--output", metavar="FILE", help="write one JSON object for each text there")
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="candidates for each mask (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object for each text")
    parser.add_argument("--length", type=int, default=128, metavar="N", help="cut texts to classify (default 128)")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    for name, least in (("top_k", 1), ("length", 8)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least {least}, found {getattr(args, name)}.")
    folder = find_model_folder(args.folder)
    texts = _texts(args)
    if is_classifier(folder):
        found, shown = _classified(args, folder, texts), classified_text
    else:
        found, shown = _filled(args, folder, texts), filled_text
    if args.output:
        with replacing_file(Path(args.output)) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in found)
        print(f"{len(texts)} predictions are in {args.output}.")
        return 0
    for item in found:
        print(json.dumps(item, ensure_ascii=False) if args.json else shown(item))
    return 0


def _texts(args: argparse.Namespace) -> list[str]:
    if args.texts and args.input:
        raise UsageError("give texts as arguments or in --input, not both.")
    if args.texts:
        return args.texts
    if args.input:
        path = Path(args.input).expanduser()
        if not path.is_file():
            raise UserError(f"{path}: no such file.")
        lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines()
    else:
        lines = sys.stdin
    texts = [line.rstrip("\n") for line in lines if line.strip()]
    if not texts:
        raise UsageError("no text: give one as an argument, or one a line in --input or on standard input.")
    return texts


def _filled(args: argparse.Namespace, folder: Path, texts: list[str]) -> list[dict]:
    model, tokenizer = open_model(folder, args.device, head="masked_lm")
    from ms_plm.tasks.fill_mask import fill_masks

    return fill_masks(model, tokenizer, texts, args.top_k)


def _classified(args: argparse.Namespace, folder: Path, texts: list[str]) -> list[dict]:
    model, tokenizer = open_model(folder, args.device, head="sequence_classification")
    from ms_plm.tasks.text import classify

    pairs = [text.partition("\t") for text in texts]
    return classify(model, tokenizer, [(text, pair if tab else None) for text, tab, pair in pairs], args.length)


def classified_text(item: dict) -> str:
    """The label first, then the text."""
    text = item["text"] if item["pair"] is None else f"{item['text']} | {item['pair']}"
    if "value" in item:
        return f"{item['value']:.4f}  {text}"
    return f"{item['label']} {max(item['probabilities'].values()):.4f}  {text}"


def filled_text(filled: dict) -> str:
    """The text, and below it a line of candidates for each mask."""
    lines = [filled["text"]]
    for number, mask in enumerate(filled["masks"], 1):
        label = f"  [MASK] {number}:" if len(filled["masks"]) > 1 else "  [MASK]:"
        lines.append(label + "".join(f"  {c['token']} {c['probability']:.4f}" for c in mask["candidates"]))
    return "\n".join(lines)
