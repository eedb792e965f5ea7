"""Arguments that say which text files are read and how; shared by `prepare` and `train-tokenizer`."""

from __future__ import annotations

import argparse

from ms_plm.common.errors import UsageError
from ms_plm.config.recipe import TextSection


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that both verbs have."""
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help=".txt, .jsonl, .json, .tsv files, .gz of each, or folders of them"
    )
    parser.add_argument("--include", nargs="+", default=[], metavar="PATTERN", help="names to read, such as 'poet.*'")
    parser.add_argument("--field", help="field of .json and .jsonl records that holds text or a list of texts")
    parser.add_argument("--columns", default="", metavar="A,B", help="columns of .tsv files that hold text")
    parser.add_argument("--one-per-line", action="store_true", help="every line of a .txt file is a document")
    parser.add_argument("--skip-bad", action="store_true", help="count and skip broken records instead of stopping")


def text_section(args: argparse.Namespace, **more: object) -> TextSection:
    """The arguments as a recipe's section."""
    columns = tuple(name.strip() for name in args.columns.split(",")) if args.columns else ()
    if "" in columns:
        raise UsageError(f"--columns {args.columns}: expected names separated by commas.")
    return TextSection(
        files=tuple(args.inputs),
        include=tuple(args.include),
        field=args.field,
        columns=columns,
        one_per_line=args.one_per_line,
        skip_bad=args.skip_bad,
        **more,
    )
