"""Speed of `prepare` beside a plain loop over the tokenizers library, both in one process, taking turns.

    python tools/bench/prepare.py TEXT [TEXT ...] --vocab MODEL_FOLDER [--rounds 3] [--processes 2]

`prepare` reads, cleans, cuts into sentences, tokenises, finds Chinese words, hashes, and writes checked files. The
plain loop only splits the same .txt files into lines and tokenises these in batches of 1,000 with `encode_batch_fast`,
with the library's own threads switched off, and keeps the ids in memory. MB are of input (10^6 bytes).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

from ms_plm.config.recipe import TextSection
from ms_plm.data.corpus import Corpus
from ms_plm.data.prepare import prepare
from ms_plm.tokenization import Tokenizer


def plain_loop(paths: list[str], library: Library) -> int:
    """Tokenise all lines; returns the number of tokens."""
    arrays = []
    for path in paths:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        for start in range(0, len(lines), 1000):
            encodings = library.encode_batch_fast(lines[start : start + 1000], add_special_tokens=False)
            arrays += [np.array(encoding.ids, np.uint16) for encoding in encodings]
    return sum(map(len, arrays))


def plain_library(tokenizer: Tokenizer) -> Library:
    """The library as its users set it up for BERT."""
    ids = {entry: number for number, entry in enumerate(tokenizer.vocabulary)}
    library = Library(models.WordPiece(ids, unk_token=tokenizer.options.unk_token))
    library.normalizer = normalizers.BertNormalizer(lowercase=tokenizer.lower_case)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return library


def timed(function, *arguments, **options) -> tuple[float, object]:
    start = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - start, result


def add_arguments(parser: argparse.ArgumentParser, texts: str) -> None:
    """What says which text is measured and how; `texts` is argparse's number of .txt files."""
    parser.add_argument("texts", nargs=texts, help=".txt files")
    parser.add_argument("--vocab", help="model folder or vocab.txt")
    parser.add_argument("--lower-case", action=argparse.BooleanOptionalAction)
    parser.add_argument("--segmenter", default="auto")
    parser.add_argument("--processes", type=int, default=1)


def compare(args: argparse.Namespace, folder: Path) -> Corpus:
    """Measure both by turns, print the table, and give the last corpus, which lies in `folder`."""
    if not args.vocab:
        raise SystemExit("--vocab: say which model folder or vocab.txt the text is for")
    library = plain_library(Tokenizer.load(args.vocab, args.lower_case))
    source = TextSection(files=tuple(args.texts), dedup=True, segmenter=args.segmenter)
    megabytes = sum(os.path.getsize(path) for path in args.texts) / 1e6
    ours, plain = [], []
    for number in range(args.rounds):
        fresh = Tokenizer.load(args.vocab, args.lower_case)  # nothing remembered from the round before
        seconds, corpus = timed(prepare, source, fresh, folder / str(number), processes=args.processes)
        ours.append(megabytes / seconds)
        seconds, tokens = timed(plain_loop, args.texts, library)
        plain.append(megabytes / seconds)
    counted = sum(row["tokens"] for row in corpus.manifest["counts"].values())
    print(f"{megabytes:.1f} MB, {counted:,} tokens ({tokens:,} in the plain loop); medians of {args.rounds} rounds")
    for name, rates in ((f"prepare, {args.processes} process(es)", ours), ("plain tokenizers loop", plain)):
        print(f"{name:24}{statistics.median(rates):6.2f} MB/s ({min(rates):.2f} - {max(rates):.2f})")
    print(f"{'ratio':24}{statistics.median(ours) / statistics.median(plain):6.2f}", flush=True)
    return corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "+")
    parser.add_argument("--rounds", type=int, default=3)
    with tempfile.TemporaryDirectory() as folder:
        compare(parser.parse_args(), Path(folder))


if __name__ == "__main__":
    main()
