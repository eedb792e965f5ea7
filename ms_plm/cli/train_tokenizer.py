"""`ms-plm train-tokenizer`: a WordPiece vocabulary from text files."""

from __future__ import annotations

import argparse
from pathlib import Path

from ms_plm.cli.text_arguments import add_text_arguments, text_section
from ms_plm.common.errors import UserError

NAME = "train-tokenizer"
HELP = "build a vocabulary from text"
EPILOG = """\
example:
  ms-plm train-tokenizer corpus/zh corpus/en --columns classical,modern --vocab-size 8000 --output vocab/mine
  ms-plm prepare corpus/zh --columns classical,modern --vocab vocab/mine --output prepared/mine

The same text gives the same vocabulary, to the byte.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_text_arguments(parser)
    parser.add_argument("--vocab-size", type=int, required=True, metavar="N", help="entries, special tokens included")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where vocab.txt and its settings go")
    parser.add_argument(
        "--lower-case", action=argparse.BooleanOptionalAction, default=True, help="lower-case text, drop accents"
    )
    parser.add_argument(
        "--min-frequency", type=int, default=2, metavar="N", help="rarer characters and pairs get no entry (default 2)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a vocabulary in the output folder")


def run(args: argparse.Namespace) -> int:
    from ms_plm.data.readers import TextLines
    from ms_plm.tokenization import train_tokenizer

    output = Path(args.output)
    if (output / "vocab.txt").exists() and not args.overwrite:
        raise UserError(f"{output}: there is a vocabulary already. Choose another folder, or --overwrite.")
    lines = TextLines([text_section(args)])
    tokenizer = train_tokenizer(lines, args.vocab_size, args.lower_case, args.min_frequency)
    tokenizer.save(output)
    print(f"{output}: {tokenizer.vocab_size:,} entries. Next: ms-plm prepare INPUT... --vocab {output} --output FOLDER")
    return 0
