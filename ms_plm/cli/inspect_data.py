"""`ms-plm inspect` for data: prepared corpora and MindRecord."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def corpus(path: Path, args: argparse.Namespace) -> int:
    """Hashes, counts, documents with word boundaries, masked samples."""
    from ms_plm.config.recipe import MaskingSection
    from ms_plm.data.corpus import Corpus, describe
    from ms_plm.data.loader import preview
    from ms_plm.data.masking import build_masking
    from ms_plm.data.samples import CorpusSamples

    opened = Corpus.open(path, verify=not args.no_verify)
    facts = describe(opened)
    verified = "hashes not verified" if args.no_verify else "every SHA-256 is right"
    print(f"prepared corpus {path}: {facts['shards']} shards, {facts['bytes'] / 1e6:.1f} MB, {verified}")
    vocabulary, inputs = facts["tokenizer"], facts["inputs"]
    print(f"  fingerprint {facts['fingerprint'][:16]}; from {inputs['files']} files, {inputs['bytes'] / 1e6:.1f} MB")
    cased = "lower-cased" if vocabulary["lower_case"] else "cased"
    print(f"  vocabulary of {vocabulary['vocab_size']}, {cased}; Chinese words: {facts['options']['segmenter']}")
    print(f"  {'':10}{'documents':>12}{'sentences':>12}{'tokens':>14}")
    for role, row in facts["counts"].items():
        print(f"  {role:10}{row['documents']:>12,}{row['sentences']:>12,}{row['tokens']:>14,}")
    _heading("documents, words separated by /", facts["examples"] and ("  ".join(item) for item in facts["examples"]))
    split = next((role for role in ("train", "held_out") if opened.counts(role).documents), None)
    if split is None or args.samples < 1:
        return 0
    source = CorpusSamples(opened, split, args.length, not args.packed, cache=args.cache, seed=args.seed)
    masking = build_masking(MaskingSection(strategy=args.masking), source.tokenizer)
    kind = "packed" if args.packed else "pairs"
    _heading(
        f"{split}: {len(source):,} samples of length {args.length} ({kind}, {args.masking})",
        preview(source, masking, args.seed, args.samples),
    )
    return 0


def mindrecord(path: Path, args: argparse.Namespace) -> int:
    """Columns, rows, every row checked, hashes where a manifest has them, masked samples."""
    from ms_plm.data.loader import preview
    from ms_plm.data.mindrecord import COLUMNS, MindRecordSamples
    from ms_plm.tokenization import Tokenizer

    beside = (path if path.is_dir() else path.parent) / "tokenizer"  # ours have it, others need --vocab
    vocabulary = Path(args.vocab).expanduser() if args.vocab else beside if beside.is_dir() else None
    tokenizer = Tokenizer.load(vocabulary) if vocabulary else None
    source = MindRecordSamples(path, cache=args.cache, tokenizer=tokenizer)
    batch = source.batch(np.zeros(1, np.int64), np.zeros(1, np.int64))
    slots = batch.masked.positions.shape[1]
    sizes = {"next_sentence_labels": 1} | {name: slots for name in COLUMNS if name.startswith("masked_lm")}
    print(f"MindRecord {path}: {len(source):,} rows, every one checked")
    for name, kind in COLUMNS.items():
        print(f"  {name:22} {np.dtype(kind).name} [{sizes.get(name, source.max_length)}]")
    if tokenizer is None:
        print("  (--vocab PATH shows samples as text)")
        return 0
    _heading("samples", preview(source, source.masking(), args.seed, args.samples))
    return 0


def _heading(title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        print(f"\n{title}")
        for line in lines:
            print(f"  {line}")
