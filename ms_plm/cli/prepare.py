"""`ms-plm prepare`: text files become a prepared corpus, or MindRecord files of masked samples."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_plm.cli.text_arguments import add_text_arguments, text_section
from ms_plm.common.errors import UsageError

if TYPE_CHECKING:
    from ms_plm.data.corpus import Corpus

NAME = "prepare"
HELP = "turn text files into a prepared corpus, or into MindRecord files"
EPILOG = """\
example: Chinese poems and a folder of other text, duplicates marked, 1% of the documents held out
  ms-plm prepare poems/poet.*.json corpus/zh --field paragraphs --columns classical,modern \\
      --vocab nezha-cn-base --dedup --holdout 0.01 --processes 8 --output prepared/zh

on two machines, then joined:
  ms-plm prepare corpus/zh --vocab nezha-cn-base --shard 0/2 --output part-0
  ms-plm prepare corpus/zh --vocab nezha-cn-base --shard 1/2 --output part-1
  ms-plm prepare --join part-0 part-1 --output prepared/zh

masked samples as MindRecord with the usual static columns, for other programs, each sample masked in 10 ways
  ms-plm prepare prepared/zh --format mindrecord --max-length 128 --epochs 10 --output records/zh

Documents of a .txt file are separated by blank lines (or --one-per-line). A run that was cut short continues with the
same command. The result does not depend on --processes, --shard or --memory-mb. Training from a corpus draws masks
anew in every epoch and needs no MindRecord.
"""
_SAMPLE_OPTIONS = ("max_length", "nsp", "masking", "ratio", "epochs", "seed", "cache")
_TEXT_OPTIONS = ("include", "field", "columns", "one_per_line", "skip_bad", "dedup", "holdout")


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
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier run made in the output folder"
    )
    parser.add_argument("--join", action="store_true", help="the inputs are the parts made with --shard")
    parser.add_argument("--format", choices=("corpus", "mindrecord"), default="corpus", help="default: corpus")
    samples = parser.add_argument_group("samples of --format mindrecord", "INPUT is text or one prepared corpus")
    absent = argparse.SUPPRESS  # what is not given takes the recipes' default
    samples.add_argument("--max-length", type=int, default=absent, metavar="N", help="tokens of a sample (default 128)")
    samples.add_argument("--no-nsp", dest="nsp", action="store_false", default=absent, help="full length, no pairs")
    samples.add_argument("--masking", choices=("whole_word", "token"), default=absent, help="default: whole_word")
    samples.add_argument("--ratio", type=float, default=absent, metavar="SHARE", help="of tokens (default 0.15)")
    samples.add_argument("--epochs", type=int, default=absent, metavar="N", help="masks for each sample (default 1)")
    samples.add_argument("--seed", type=int, default=absent, metavar="N", help="of samples and masks (default 1)")
    samples.add_argument("--cache", default=absent, metavar="FOLDER", help="default: ~/.cache/ms_plm")


def run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    if args.format == "mindrecord":
        return _write_mindrecord(args, started)
    for name in _SAMPLE_OPTIONS:
        if hasattr(args, name):
            raise UsageError(f"--{_spelled(name)}: only with --format mindrecord; a corpus is masked while training.")
    if args.join:
        from ms_plm.data.prepare import join_parts

        if args.vocab:
            raise UsageError("--join takes the vocabulary from the parts: leave out --vocab.")
        _print_report(join_parts(args.inputs, args.output, memory_mb=args.memory_mb), time.monotonic() - started)
        return 0
    result = _prepare(args, args.output)
    if isinstance(result, Path):
        print(f"{result}: part {args.shard} is done. When all are: ms-plm prepare --join PART... --output FOLDER")
        return 0
    _print_report(result, time.monotonic() - started)
    return 0


def _prepare(args: argparse.Namespace, output: str | None, cache: Path | None = None) -> Corpus | Path:
    """The text as a corpus in `output`, or in `cache` under the name of its content."""
    from ms_plm.data.prepare import corpus_key, prepare
    from ms_plm.tokenization import Tokenizer

    if not args.vocab:
        raise UsageError("--vocab: say which model folder or vocab.txt the text is for.")
    if not 0 <= args.holdout < 1:
        raise UsageError(f"--holdout: expected a share from 0 to below 1, found {args.holdout}.")
    section = text_section(args, dedup=args.dedup, holdout=args.holdout, segmenter=args.segmenter)
    shard = _shard(args.shard)
    tokenizer = Tokenizer.load(args.vocab, args.lower_case)
    return prepare(
        section,
        tokenizer,
        output or cache / "corpora" / corpus_key([section], tokenizer),
        processes=args.processes,
        shard=shard,
        memory_mb=args.memory_mb,
        overwrite=args.overwrite and cache is None,
    )


def _write_mindrecord(args: argparse.Namespace, started: float) -> int:
    """Prepare the text if it is not yet, then write its training samples."""
    from ms_plm.config.recipe import DataSection, EvaluateSection
    from ms_plm.data.mindrecord_writer import check_target, write_mindrecord
    from ms_plm.data.sources import cache_folder, open_data

    if args.join or args.shard != "0/1":
        raise UsageError("--format mindrecord takes a whole corpus: join the parts first, then give the result.")
    section, epochs, seed = _sample_options(args)
    check_target(args.output, args.overwrite)
    corpus = _corpus_of(args, cache_folder(DataSection(**section)))
    data = open_data(DataSection(corpus=corpus, **section), EvaluateSection(), seed, args.processes)
    manifest = write_mindrecord(args.output, data.train, data.masking, seed, epochs, overwrite=args.overwrite)
    rows = sum(file["rows"] for file in manifest["files"].values())
    print(f"{rows:,} rows of {len(data.train):,} samples of length {manifest['max_length']}, every one checked")
    overrides = f"data.mindrecord={args.output} data.max_length={manifest['max_length']}"
    overrides += "" if manifest["nsp"] else " data.nsp=false"
    overrides += f" evaluate.corpus={corpus}" if data.held_out else ""
    print(f"{args.output}: written in {time.monotonic() - started:.1f} s. Next: ms-plm run RECIPE {overrides}")
    return 0


def _sample_options(args: argparse.Namespace) -> tuple[dict[str, Any], int, int]:
    """Fields of a recipe's data section, epochs and seed."""
    section = {name: getattr(args, name) for name in _SAMPLE_OPTIONS if hasattr(args, name)}
    epochs, seed = section.pop("epochs", 1), section.pop("seed", 1)
    masking = {key: section.pop(name) for name, key in (("masking", "strategy"), ("ratio", "ratio")) if name in section}
    if section.get("max_length", 8) < 8:
        raise UsageError(f"--max-length: expected at least 8 tokens, found {section['max_length']}.")
    if not 0 < masking.get("ratio", 0.5) < 1:
        raise UsageError(f"--ratio: expected a share between 0 and 1, found {masking['ratio']}.")
    if epochs < 1:
        raise UsageError(f"--epochs: expected at least 1, found {epochs}.")
    return {**section, "masking": masking}, epochs, seed


def _corpus_of(args: argparse.Namespace, cache: Path) -> str:
    """The folder of the prepared corpus that was given, or that of the text, prepared into the cache."""
    from ms_plm.data.corpus import Corpus
    from ms_plm.tokenization import Tokenizer

    given = Path(args.inputs[0])
    if not (given / "manifest.json").is_file() or len(args.inputs) > 1:
        return str(_prepare(args, None, cache).folder)
    for name in _TEXT_OPTIONS:
        if getattr(args, name):
            raise UsageError(f"--{_spelled(name)}: {given} is a prepared corpus; the option is for text. Leave it out.")
    corpus = Corpus.open(given)
    if args.vocab:
        corpus.check_vocabulary(Tokenizer.load(args.vocab, args.lower_case))
    return str(given)


def _spelled(name: str) -> str:
    return {"nsp": "no-nsp"}.get(name, name.replace("_", "-"))


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
