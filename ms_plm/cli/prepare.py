"""`ms-plm prepare`: text files become a prepared corpus."""

from __future__ import annotations

import argparse
import time

from ms_plm.cli.text_arguments import add_text_arguments, text_section
from ms_plm.common.errors import UsageError

NAME = "prepare"
HELP = "turn text files into a prepared corpus"
EPILOG = """\
example: Chinese poems and a folder of other text, duplicates marked, 1% of the documents held out
  ms-plm prepare poems/poet.*.json corpus/zh --field paragraphs --columns classical,modern \\
      --vocab nezha-cn-base --dedup --holdout 0.01 --processes 8 --output prepared/zh

on two machines, then joined:
  ms-plm prepare corpus/zh --vocab nezha-cn-base --shard 0/2 --output part-0
  ms-plm prepare corpus/zh --vocab nezha-cn-base --shard 1/2 --output part-1
  ms-plm prepare --join part-0 part-1 --output prepared/zh

Documents of a .txt file are separated by blank lines (or --one-per-line). A run that was cut short continues with the
same command. The result does not depend on --processes, --shard or --memory-mb.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_text_arguments(parser)
    parser.add_argument("--vocab", metavar="PATH", help="model folder or vocab.txt (not with --join)")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the corpus goes")
    parser.add_argument(
        "--lower-case",
        action=argparse.BooleanOptionalAction,
        help="default: what the vocabulary's folder says, else yes",
    )
    parser.add_argument("--dedup", action="store_true", help="keep repeated documents out of training and evaluation")
    parser.add_argument("--holdout", type=float, default=0.0, metavar="SHARE", help="share of documents for evaluation")
    parser.add_argument(
        "--segmenter",
        choices=("auto", "none", "rjieba"),
        default="auto",
        help="Chinese words, for whole-word masking (default: rjieba where it is installed)",
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N")
    parser.add_argument("--shard", default="0/1", metavar="i/n", help="do the i-th of n parts, counted from 0")
    parser.add_argument("--memory-mb", type=int, default=2048, metavar="MB", help="bounds processes and sorting")
    parser.add_argument("--overwrite", action="store_true", help="replace a corpus in the output folder")
    parser.add_argument("--join", action="store_true", help="the inputs are the parts made with --shard")


def run(args: argparse.Namespace) -> int:
    from ms_plm.data.corpus import Corpus
    from ms_plm.data.prepare import join_parts, prepare
    from ms_plm.tokenization import Tokenizer

    started = time.monotonic()
    if args.join:
        if args.vocab:
            raise UsageError("--join takes the vocabulary from the parts: leave out --vocab.")
        result = join_parts(args.inputs, args.output, memory_mb=args.memory_mb)
    else:
        if not args.vocab:
            raise UsageError("--vocab: say which model folder or vocab.txt the text is for.")
        if not 0 <= args.holdout < 1:
            raise UsageError(f"--holdout: expected a share from 0 to below 1, found {args.holdout}.")
        section = text_section(args, dedup=args.dedup, holdout=args.holdout, segmenter=args.segmenter)
        result = prepare(
            section,
            Tokenizer.load(args.vocab, args.lower_case),
            args.output,
            processes=args.processes,
            shard=_shard(args.shard),
            memory_mb=args.memory_mb,
            overwrite=args.overwrite,
        )
    if not isinstance(result, Corpus):
        print(f"{result}: part {args.shard} is done. When all are: ms-plm prepare --join PART... --output FOLDER")
        return 0
    _print_report(result, time.monotonic() - started)
    return 0


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(f"--shard {text}: expected i/n with i from 0 to n - 1, such as 0/4.")
    return int(index), int(count)


def _print_report(corpus, seconds: float) -> None:
    manifest = corpus.manifest
    inputs, report = manifest["inputs"], manifest["report"]
    print(f"{'':12}{'documents':>14}{'sentences':>14}{'tokens':>16}")
    for role, row in manifest["counts"].items():
        print(f"{role.replace('_', ' '):12}{row['documents']:>14,}{row['sentences']:>14,}{row['tokens']:>16,}")
    print(f"unknown tokens: {report['unknown_tokens']:,} ({report['unknown_share']:.3%})")
    print(
        f"removed: {report['removed_control_characters']:,} control characters, "
        f"{report['removed_surrogates']:,} lone surrogates, {report['empty_documents']:,} empty documents"
    )
    if report["bad_records"]:
        print(f"skipped: {report['bad_records']:,} bad records, such as:")
        for example in manifest["bad_examples"][:5]:
            print(f"  {example}")
    print(f"Chinese words: {manifest['options']['segmenter']}; {inputs['bytes']:,} bytes of {inputs['files']:,} files")
    print(f"{corpus.folder}: prepared in {seconds:.1f} s. Next: ms-plm inspect {corpus.folder}")
