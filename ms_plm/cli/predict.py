"""`ms-plm predict`: fill in [MASK], classify, tag words, answer questions or choose, by what the model is for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ms_plm.cli.model_folder import (
    add_device_argument,
    find_model_folder,
    head_of,
    open_model,
    trained_limits,
    trained_threshold,
)
from ms_plm.common.errors import UsageError, UserError
from ms_plm.common.files import replacing_file

if TYPE_CHECKING:
    from ms_plm.data.benchmarks.files import Place

NAME = "predict"
HELP = "fill in every [MASK] of a text, or do what a model was fine-tuned for: classes, tags, answers, choices"
EPILOG = """\
examples:
  ms-plm predict runs/quickstart '春天来了，[MASK]开了。' 'the sun is very [MASK] in [MASK].'
  ms-plm predict runs/quickstart --top-k 3 --json < texts.txt      one text a line
  ms-plm predict runs/bert_base_sst2 'a gripping film' 'dull and far too long'
  ms-plm predict runs/pairs --input pairs.tsv --output answers.jsonl     two texts a line, a tab between them
  ms-plm predict runs/bert_base_squad2 $'Who left?\\tAnn met Bo. Then she left.'

What a text, or a line, holds depends on what the model was fine-tuned for; parts are separated by tabs, which shells
write $'question\\ttext':
  classes or a number     text, or text and second text
  tags of words           text
  answers to questions    question and text
  multiple choice         text, question (may be empty), and the choices
A .jsonl file holds an object a line instead, with keys as the output has them: text; text and pair; question and text;
text, question and choices.
Several masks in a text are filled in independently of each other.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model folder or run folder")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="none: lines of --input or of standard input")
    parser.add_argument("--input", metavar="FILE", help="one text a line, tabs between its parts; or .jsonl")
    parser.add_argument("--output", metavar="FILE", help="write one JSON object for each text there")
    parser.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="candidates for each mask or question (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each text")
    parser.add_argument("--length", type=int, metavar="N", help="longest sequence (default: as it was trained)")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    for name, least in (("top_k", 1), ("length", 8)):
        if (value := getattr(args, name)) is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least {least}, found {value}.")
    folder = find_model_folder(args.folder)
    head = head_of(folder)
    given = _given(args, head)
    predict, shown = _WAYS[head]
    found = predict(args, folder, given)
    if args.output:
        with replacing_file(Path(args.output)) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in found)
        print(f"{len(given)} predictions are in {args.output}.")
        return 0
    for item in found:
        print(json.dumps(item, ensure_ascii=False) if args.json else shown(item))
    return 0


KEYS = {
    "sequence_classification": ("text", "pair"),
    "question_answering": ("question", "text"),
    "multiple_choice": ("text", "question", "choices"),
}
"""Parts of what a model with a head is given, by the names that the output has for them; other heads: `text`."""
Parts = list[str]
"""What one prediction is made of."""


def _given(args: argparse.Namespace, head: str | None) -> list[Parts]:
    """What is to be predicted.

    Raises:
        UsageError: there is nothing, or it is given twice.
        UserError: a line is blank, or no object with the keys of `KEYS`.
    """
    if args.texts and args.input:
        raise UsageError("give texts as arguments or in --input, not both.")
    texts = args.texts
    if not texts and args.input:
        from ms_plm.data.benchmarks.files import lines, records

        path = Path(args.input).expanduser()
        if path.suffix == ".jsonl":
            return [_from_object(place, record, KEYS.get(head, ("text",))) for place, record in records(path)]
        texts = [line for _, line in lines(path)]
    elif not texts:
        texts = list(sys.stdin)
    texts = [text.rstrip("\r\n") for text in texts]
    while texts and not texts[-1].strip():
        texts.pop()
    if not texts:
        raise UsageError("no text: give one as an argument, or one a line in --input or on standard input.")
    if blank := next((number for number, text in enumerate(texts, 1) if not text.strip()), None):
        raise UserError(f"text {blank} is blank: each must hold something, so that predictions stand in their order.")
    return [text.split("\t") if head in KEYS else [text] for text in texts]


def _from_object(place: Place, record: dict, keys: tuple[str, ...]) -> Parts:
    from ms_plm.data.benchmarks.files import sequence, text_of

    parts = []
    for key in keys:
        if key == "choices":
            parts += [str(choice) for choice in sequence(record.get(key, []), place)]
        elif key == "question" and "choices" in keys:  # there need not be one
            parts.append(record.get(key) or "")
        elif key != "pair" or record.get(key) is not None:
            parts.append(text_of(record, key, place))
    return parts


def _filled(args: argparse.Namespace, folder: Path, given: list[Parts]) -> list[dict]:
    model, tokenizer = open_model(folder, args.device, head="masked_lm")
    from ms_plm.tasks.fill_mask import fill_masks

    return fill_masks(model, tokenizer, [text for (text,) in given], args.top_k)


def _classified(args: argparse.Namespace, folder: Path, given: list[Parts]) -> list[dict]:
    model, tokenizer = open_model(folder, args.device, head="sequence_classification")
    from ms_plm.tasks.text import classify

    _check_parts(given, 1, 2, "a text, or a text, a tab and a second text")
    limit = trained_limits(model, args.length).max_length
    return classify(model, tokenizer, [(text, pair[0] if pair else None) for text, *pair in given], limit)


def _tagged(args: argparse.Namespace, folder: Path, given: list[Parts]) -> list[dict]:
    model, tokenizer = open_model(folder, args.device, head="token_classification")
    from ms_plm.tasks.tagging import tag, words_for

    limit = trained_limits(model, args.length).max_length
    return tag(model, tokenizer, [text for (text,) in given], limit, words_in=words_for(model))


def _answered(args: argparse.Namespace, folder: Path, given: list[Parts]) -> list[dict]:
    model, tokenizer = open_model(folder, args.device, head="question_answering")
    from ms_plm.tasks.questions import answer

    _check_parts(given, 2, 2, "a question, a tab and a text that may hold the answer")
    questions = [(question, text) for question, text in given]
    return answer(model, tokenizer, questions, trained_limits(model, args.length), trained_threshold(model), args.top_k)


def _chosen(args: argparse.Namespace, folder: Path, given: list[Parts]) -> list[dict]:
    model, tokenizer = open_model(folder, args.device, head="multiple_choice")
    from ms_plm.tasks.choices import choose

    _check_parts(given, 4, None, "a text, a question (may be empty) and two choices at least, tabs between them")
    questions = [(text, question or None, choices) for text, question, *choices in given]
    return choose(model, tokenizer, questions, trained_limits(model, args.length).max_length)


def _check_parts(given: list[Parts], least: int, most: int | None, expected: str) -> None:
    for number, parts in enumerate(given, 1):
        if not least <= len(parts) <= (most or len(parts)):
            shown = " | ".join(parts)[:60]
            raise UserError(f"text {number}: expected {expected}; found {len(parts)} parts in {shown!r}.")


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


def tagged_text(item: dict) -> str:
    """The text, and below it its entities, or where there are none the tags of its words."""
    lines = [f"  {one['type']}: {one['text']} {one['probability']:.4f}" for one in item["entities"]]
    if not lines and any(tag != "O" for tag in item["tags"]):
        lines = ["  " + " ".join(f"{word}/{tag}" for word, tag in zip(item["words"], item["tags"], strict=True))]
    return "\n".join([item["text"], *lines])


def answered_text(item: dict) -> str:
    """The question, and below it the answer."""
    return f"{item['question']}\n  {item['answer'] or '(no answer in the text)'}"


def chosen_text(item: dict) -> str:
    """The choice first, then what was asked."""
    return f"{item['choice']} {max(item['probabilities']):.4f}  {item['question'] or item['text']}"


_WAYS: dict[str | None, tuple[Callable[..., list[dict]], Callable[[dict], str]]] = {
    None: (_filled, filled_text),
    "sequence_classification": (_classified, classified_text),
    "token_classification": (_tagged, tagged_text),
    "question_answering": (_answered, answered_text),
    "multiple_choice": (_chosen, chosen_text),
}
"""By the head that a folder has: what predicts, and how a prediction is shown to people."""
