"""`ms-plm augment`: a training set with variants of its texts, as TinyBERT makes them before distillation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ms_plm.cli.model_folder import add_device_argument, find_model_folder, open_model
from ms_plm.common.errors import UsageError

if TYPE_CHECKING:
    from collections import Counter

    from ms_plm.data.benchmarks import BenchmarkTask, Split
    from ms_plm.distill.augmentation.augment import Augmenter, Sampling

NAME = "augment"
HELP = "make variants of a task's training texts: words give way to what a masked LM or word vectors propose"
EPILOG = """\
examples:
  ms-plm augment models/bert_base --task glue/sst-2 --folder GLUE/SST-2 --preview 5          look first, write nothing
  ms-plm augment models/bert_base --task glue/sst-2 --folder GLUE/SST-2 --vectors glove.6B.300d.txt --output aug.jsonl
  ms-plm augment models/nezha_base_zh --file train.tsv --text sentence --label class --output aug.jsonl
  ms-plm run bert_base_sst2 model.from=models/bert_base data.folder=GLUE/SST-2 data.augmented=aug.jsonl

The output has one JSON object a line: text, pair (of pairs), label, source (number of the training example, from 0);
every example is followed by its variants. Of a pair either the first or the second text is changed. Words of one piece
are masked and filled in by the model, Chinese words whole; words of several pieces take their neighbours among the word
vectors, and stay without --vectors. The same seed gives the same variants.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model folder or run folder with a masked-LM head")
    data = parser.add_argument_group("what is augmented")
    data.add_argument("--task", metavar="NAME", help="a benchmark's task, such as glue/sst-2; needs --folder")
    data.add_argument("--folder", metavar="DIR", help="where the task's official files lie")
    data.add_argument("--file", metavar="FILE", help="instead: a .tsv or .jsonl of your own")
    data.add_argument("--text", metavar="COLUMN", help="its column of the text: a name or a number (default: text)")
    data.add_argument("--pair", metavar="COLUMN", help="its column of a second text")
    data.add_argument("--label", metavar="COLUMN", help="its column of the label (default: label)")
    data.add_argument("--header", action=argparse.BooleanOptionalAction, help="its first line names the columns")
    words = parser.add_argument_group("what words give way to")
    words.add_argument("--candidates", type=int, default=15, metavar="K", help="candidates of a word (default 15)")
    words.add_argument("--vectors", metavar="FILE", help="word vectors as text: GloVe's or word2vec's")
    words.add_argument(
        "--words", type=int, default=100_000, metavar="N", help="lines of --vectors that are read (default 100000)"
    )
    words.add_argument(
        "--least-probability",
        type=float,
        default=0.0,
        metavar="P",
        help="threshold of the model's candidates (default 0: none)",
    )
    words.add_argument(
        "--least-cosine", type=float, default=-1.0, metavar="C", help="threshold of neighbours (default -1: none)"
    )
    words.add_argument(
        "--masked-alone",
        action="store_true",
        help="do not show the model the sentence as it was",
    )
    words.add_argument(
        "--length", type=int, default=128, metavar="N", help="tokens the model sees, both copies (default 128)"
    )
    words.add_argument(
        "--together",
        type=int,
        default=4,
        metavar="N",
        help="words of a sentence masked at once (default 4; TinyBERT: 1)",
    )
    words.add_argument("--segmenter", choices=("auto", "rjieba", "none"), default="auto", help="of Chinese words")
    draws = parser.add_argument_group("what is drawn")
    draws.add_argument(
        "--variants",
        type=int,
        metavar="N",
        help="variants of each text (default: 20, or TinyBERT's of a GLUE task)",
    )
    draws.add_argument(
        "--replace", type=float, default=0.4, metavar="P", help="probability that a word gives way (default 0.4)"
    )
    draws.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", metavar="FILE.jsonl", help="where the examples and their variants go")
    parser.add_argument("--preview", type=int, metavar="K", help="print the first K with their variants, write nothing")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    from ms_plm.data.benchmarks import check_augmentable

    task, folder = _task(args)
    check_augmentable(task, f"--task {args.task}" if args.task else f"--file {args.file}")
    from ms_plm.data.benchmarks import read_split
    from ms_plm.distill.augmentation.augment import USUAL_VARIANTS, VARIANTS, Sampling

    split = read_split(task, folder, "train")
    sampling = Sampling(args.variants or VARIANTS.get(task.name, USUAL_VARIANTS), args.replace, args.seed)
    augmenter = _augmenter(args)
    if args.preview:
        _preview(augmenter, split, sampling, args.preview)
    else:
        _write(args, augmenter, split, sampling)
    if pieces := augmenter.counts["pieces"]:
        print(f"{pieces:,} words of several pieces stay as they are: give --vectors FILE to replace them as well.")
    return 0


def _check(args: argparse.Namespace) -> None:
    if bool(args.task) == bool(args.file) or bool(args.task) != bool(args.folder):
        raise UsageError("say what to augment: --task NAME --folder DIR, or --file FILE.")
    own = [name for name in ("text", "pair", "label", "header") if getattr(args, name) is not None]
    if args.task and own:
        raise UsageError(f"--{own[0]} belongs to --file; columns of {args.task} are known.")
    if bool(args.output) == bool(args.preview):
        raise UsageError("say where to: --output FILE.jsonl, or --preview K to print the first K examples.")
    if args.output and not args.output.endswith(".jsonl"):
        raise UsageError(f"--output: expected a name that ends in .jsonl, found {args.output}.")
    if args.output and args.file and _same(args.output, args.file):
        raise UsageError(f"--output: {args.output} is the file that is augmented; choose another name.")
    for name, least, most in (
        ("candidates", 1, 1000),
        ("words", 1, None),
        ("least_probability", 0, 1),
        ("least_cosine", -1, 1),
        ("length", 16, 512),
        ("together", 1, 512),
        ("variants", 1, 1000),
        ("replace", 0, 1),
        ("preview", 1, None),
    ):
        value = getattr(args, name)
        if value is not None and not (least <= value and (most is None or value <= most)):
            upto = f"{least} to {most}" if most is not None else f"at least {least}"
            raise UsageError(f"--{name.replace('_', '-')}: expected {upto}, found {value}.")


def _same(one: str, other: str) -> bool:
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def _task(args: argparse.Namespace) -> tuple[BenchmarkTask, Path]:
    """What is augmented, and where its files lie."""
    from ms_plm.config.finetuning import OwnTaskSection
    from ms_plm.tasks.kinds import named_task, own_task

    if args.task:
        return named_task(args.task), Path(args.folder).expanduser()
    given = {name: value for name in ("text", "pair", "label", "header") if (value := getattr(args, name)) is not None}
    own = OwnTaskSection(train=args.file, **given)
    return own_task(own, {"train": str(Path(args.file).expanduser())}), Path()


def _augmenter(args: argparse.Namespace) -> Augmenter:
    from ms_plm.distill.augmentation.augment import Augmenter
    from ms_plm.distill.augmentation.candidates import MaskedCandidates
    from ms_plm.distill.augmentation.vectors import WordVectors
    from ms_plm.tokenization import load_segmenter

    vectors = WordVectors.load(Path(args.vectors).expanduser(), args.words) if args.vectors else None
    model, tokenizer = open_model(find_model_folder(args.model), args.device, head="masked_lm", much=True)
    segmenter = load_segmenter(args.segmenter)
    masked = MaskedCandidates(
        model,
        tokenizer,
        segmenter,
        args.candidates,
        args.least_probability,
        args.length,
        args.together,
        not args.masked_alone,
    )
    return Augmenter(tokenizer, segmenter, masked, vectors, args.candidates, args.least_cosine)


def _preview(augmenter: Augmenter, split: Split, sampling: Sampling, count: int) -> None:
    for first, *others in augmenter(split.examples[:count], sampling):
        told = first["text"] if "pair" not in first else f"{first['text']} | {first['pair']}"
        print(f"example {first['source']}, label {first['label']}: {told}")
        for other in others:
            changed = "pair" if other.get("pair") != first.get("pair") else "text"
            print(f"  {f'{changed}: ' if 'pair' in first else ''}{other[changed]}")


def _write(args: argparse.Namespace, augmenter: Augmenter, split: Split, sampling: Sampling) -> None:
    from tqdm import tqdm

    from ms_plm.distill.augmentation.augment import write_rows

    count = len(split.examples)
    with tqdm(total=count, unit="example", disable=not sys.stderr.isatty()) as bar:
        rows = augmenter(split.examples, sampling, lambda done: bar.update(int(done) - bar.n))
        written = write_rows(Path(args.output).expanduser(), rows)
    print(f"{count:,} examples became {written:,} rows ({written / count:.1f} times as many) in {args.output}.")
    print(_told(augmenter.counts))
    print(f"next: data.augmented={args.output} in a recipe of {split.task if args.task else 'your task'}.")


def _told(counts: Counter[str]) -> str:
    ways = {
        "masked": "got candidates from the model",
        "vectors": "from word vectors",
        "without": "found none and stay",
    }
    parts = [f"{counts[name]:,} {way}" for name, way in ways.items() if counts[name]]
    return f"Words of different texts: {', '.join(parts) or 'none can be replaced'}."
