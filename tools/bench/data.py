"""How fast data is made ready, in one run: `prepare` in MB/s, loading in samples/s, each beside a plain peer.

    python tools/bench/data.py TEXT [TEXT ...] --vocab MODEL_FOLDER --step   # both halves, and the step they feed
    python tools/bench/data.py --corpus prepared/zh      # loading from a corpus that `ms-plm prepare` made
    python tools/bench/data.py                           # loading from an artificial corpus

The peer of `prepare` is told in prepare.py. The peer of the loader does the same work one sample after the other with
Python lists, as the usual `create_pretraining_data.py` scripts do: chunk, sentence pair, whole words in random order,
80/10/10, padding. Both read the same memory-mapped arrays; rounds alternate, so that other work on the machine hits
both. `--step` adds the training step of the tiny model (4 layers x 256, length 128, batch 32) to the turns, in a
process that is stopped while others are measured, and says how many times faster loading is than what it consumes.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import prepare as prepare_bench
from _workers import Worker

from ms_plm.config.recipe import MaskingSection
from ms_plm.data.corpus import Corpus
from ms_plm.data.loader import UpdateLoader
from ms_plm.data.masking import TokenMasking, build_masking
from ms_plm.data.samples import CorpusSamples

STEP = {"batch": 32, "length": 128, "layers": 4, "hidden": 256}
"""The tiny model of the recipe nezha_tiny_pretrain_zh."""
PLAIN = "plain loop, whole words, pairs"
FEED = f"loader, whole words, pairs, {STEP['batch']} an update"
CONSUMED = "training step of the tiny model consumes"


@dataclass
class ArtificialCorpus:
    """Random tokens in documents of 5-40 sentences of 5-60 tokens, words of 1.6 tokens; of a corpus' shape."""

    documents: int
    vocab_size: int = 21128
    fingerprint: str = "artificial"
    folder: Path = Path("artificial corpus")

    def __post_init__(self) -> None:
        draw = np.random.default_rng(0)
        documents = np.concatenate(([0], np.cumsum(draw.integers(5, 41, self.documents))))
        sentences = np.concatenate(([0], np.cumsum(draw.integers(5, 61, documents[-1]))))
        word_starts = draw.random(sentences[-1]) < 1 / 1.6
        word_starts[sentences[:-1]] = True
        tokens = draw.integers(5, self.vocab_size, sentences[-1]).astype(np.uint16)
        roles = np.zeros(self.documents, np.uint8)
        self.shards = (
            SimpleNamespace(
                tokens=tokens, word_starts=word_starts, sentences=sentences, documents=documents, roles=roles
            ),
        )

    def tokenizer(self) -> SimpleNamespace:
        special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
        vocabulary = [*special, *map(str, range(5, self.vocab_size))]
        ids = dict(zip(("pad_id", "unk_id", "cls_id", "sep_id", "mask_id"), range(5), strict=True))
        return SimpleNamespace(vocabulary=vocabulary, special_ids=tuple(range(5)), **ids)


class PlainLoop:
    """One sample after the other, with Python lists and Python's random numbers."""

    def __init__(self, source: CorpusSamples, masking: TokenMasking, seed: int) -> None:
        self.source, self.corpus, self.masking = source, source.corpus, masking
        self.random = random.Random(seed)
        self.slots = masking.largest_count(source.max_length)
        self.bases = np.cumsum([0] + [len(shard.tokens) for shard in self.corpus.shards])

    def batch(self, size: int) -> dict[str, np.ndarray]:
        rows = [self.sample(self.random.randrange(len(self.source))) for _ in range(size)]
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}

    def read(self, chunk: int) -> tuple[list[int], list[bool], list[int]]:
        """Tokens, word starts, and offsets of the inner sentence boundaries of a chunk."""
        table = self.source._table
        start, length = int(table["start"][chunk]), int(table["length"][chunk])
        number = int(np.searchsorted(self.bases, start, side="right")) - 1
        shard, start = self.corpus.shards[number], start - int(self.bases[number])
        inner = int(table["inner_first"][chunk]) - sum(len(s.sentences) for s in self.corpus.shards[:number])
        bounds = shard.sentences[inner : inner + int(table["inner_count"][chunk])] - start
        end = start + length
        return shard.tokens[start:end].tolist(), shard.word_starts[start:end].tolist(), bounds.tolist()

    def sample(self, chunk: int) -> dict[str, object]:
        tokenizer, length = self.source.tokenizer, self.source.max_length
        tokens, starts, bounds = self.read(chunk)
        split = self.random.choice(bounds) if bounds else max(1, len(tokens) // 2)
        a, b = (
            list(zip(tokens[:split], starts[:split], strict=True)),
            list(zip(tokens[split:], starts[split:], strict=True)),
        )
        label = int(self.random.random() < 0.5)
        if label:
            tokens, starts, bounds = self.read(self.random.randrange(len(self.source)))
            split = self.random.choice(bounds) if bounds else 0
            b = list(zip(tokens[split:], starts[split:], strict=True))
        target = length - 3 if self.random.random() > 0.1 else self.random.randint(2, length - 3)
        while len(a) + len(b) > target:
            (a if len(a) > len(b) else b).pop()
        ids = [tokenizer.cls_id, *(t for t, _ in a), tokenizer.sep_id, *(t for t, _ in b), tokenizer.sep_id]
        words: list[list[int]] = []
        for place, (_, begins) in [*enumerate(a, 1), *enumerate(b, len(a) + 2)]:
            if begins or place in (1, len(a) + 2):
                words.append([])
            words[-1].append(place)
        positions, labels = self.mask(ids, words)
        pad, slots = length - len(ids), self.slots - len(positions)
        return {
            "input_ids": ids + [tokenizer.pad_id] * pad,
            "attention_mask": [1] * len(ids) + [0] * pad,
            "token_type_ids": [0] * (len(a) + 2) + [1] * (len(b) + 1) + [0] * pad,
            "masked_positions": positions + [0] * slots,
            "masked_labels": labels + [0] * slots,
            "masked_weights": [1.0] * len(positions) + [0.0] * slots,
            "next_sentence_labels": label,
        }

    def mask(self, ids: list[int], words: list[list[int]]) -> tuple[list[int], list[int]]:
        """Mask whole words in place; positions and the tokens that stood there."""
        target = max(1, round(self.masking.ratio * sum(map(len, words))))
        self.random.shuffle(words)
        chosen: list[int] = []
        for word in words:
            if len(chosen) >= target:
                break
            if len(chosen) + len(word) <= target:
                chosen += word
        chosen.sort()
        labels = [ids[place] for place in chosen]
        for place in chosen:
            draw = self.random.random()
            if draw < 0.8:
                ids[place] = self.source.tokenizer.mask_id
            elif draw < 0.9:
                ids[place] = int(self.random.choice(self.masking.corruption.replacements))
        return chosen, labels


Load = Callable[[int], int]  # loads about so many samples and says how many


def rate(load: Load, samples: int) -> float:
    """Samples per second of one round."""
    start = time.perf_counter()
    loaded = load(samples)
    return loaded / (time.perf_counter() - start)


def ours(loader: UpdateLoader) -> Load:
    def load(samples: int) -> int:
        return sum(loader.batch for _ in loader.updates(0, samples // loader.batch))

    return load


def measured(args: argparse.Namespace, source: CorpusSamples, packed: CorpusSamples) -> dict[str, Load]:
    """What is measured: a name, and what loads samples."""
    plain = PlainLoop(source, build_masking(MaskingSection(), source.tokenizer), 1)

    def loop(samples: int) -> int:
        parts = max(1, samples // 8 // args.batch)  # it is slow: a part of them tells
        return sum(len(plain.batch(args.batch)["input_ids"]) for _ in range(parts))

    def make(text: CorpusSamples, workers: int, batch: int = args.batch, **options: object) -> Load:
        strategy = build_masking(MaskingSection(**options), text.tokenizer)
        return ours(UpdateLoader(text, strategy, 1, batch, min(STEP["batch"], batch), workers=workers))

    return {
        PLAIN: loop,
        "loader, whole words, pairs, calling thread": make(source, 0),
        "loader, whole words, pairs, 1 thread": make(source, 1),
        "loader, whole words, pairs, 2 threads": make(source, 2),
        FEED: make(source, 1, STEP["batch"]),
        "loader, spans of 1-3 words, pairs": make(source, 0, ngram=3),
        "loader, tokens, pairs": make(source, 0, strategy="token"),
        "loader, whole words, packed": make(packed, 0),
    }


def take_turns(args: argparse.Namespace, loads: dict[str, Load], worker: Worker | None) -> dict[str, list[float]]:
    """Samples per second of everything, round by round; the first round warms up and is left out."""
    rates: dict[str, list[float]] = {name: [] for name in loads}
    for number in range(args.rounds + 1):
        for name, load in loads.items():
            value = rate(load, args.samples)
            if number:
                rates[name].append(value)
        if worker:
            worker.run(args.steps)
    if worker:
        rates[CONSUMED] = [STEP["batch"] / seconds for seconds in worker.seconds[args.steps :]]
    return rates


def report(rates: dict[str, list[float]]) -> None:
    """The table, and the ratio between loading and the step."""
    slow = statistics.median(rates[PLAIN])
    for name, values in rates.items():
        middle = statistics.median(values)
        line = f"{name:<46}{middle:>10,.0f} samples/s ({min(values):,.0f} - {max(values):,.0f})"
        print(line if name == CONSUMED else f"{line:<82}{middle / slow:>6.1f} x")
    if CONSUMED in rates:
        fed, consumed = rates[FEED], rates[CONSUMED]
        print(
            f"loading / step: {statistics.median(fed) / statistics.median(consumed):.1f} (medians), "
            f"{max(fed) / max(consumed):.1f} (best of each), {min(fed) / max(consumed):.1f} (worst load, best step)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    prepare_bench.add_arguments(parser, "*")
    parser.add_argument("--corpus", type=Path, help="prepared corpus, instead of texts")
    parser.add_argument("--length", type=int, default=STEP["length"])
    parser.add_argument("--batch", type=int, default=256, help="sequences per update")
    parser.add_argument("--samples", type=int, default=8192, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", action="store_true", help="also the training step that consumes the samples")
    parser.add_argument("--steps", type=int, default=5, help="of training, per round")
    args = parser.parse_args()
    if args.texts and args.corpus:
        parser.error("give texts or --corpus, not both")
    args.samples = max(1, args.samples // args.batch) * args.batch
    with tempfile.TemporaryDirectory() as temporary:
        cores = len(os.sched_getaffinity(0))
        print(f"{cores} cores, load average {os.getloadavg()[0]:.1f} before the run", flush=True)
        if args.texts:
            corpus = prepare_bench.compare(args, Path(temporary))
        else:
            corpus = Corpus.open(args.corpus) if args.corpus else ArtificialCorpus(4000)
        start = time.perf_counter()
        source = CorpusSamples(corpus, "train", args.length, cache=temporary)
        seconds = time.perf_counter() - start
        tokens = int(source._table["length"].sum(dtype=np.int64))
        print(f"{len(source):,} samples of {tokens:,} tokens; sample table built in {seconds:.2f} s")
        packed = CorpusSamples(corpus, "train", args.length, nsp=False, cache=temporary)
        loads = measured(args, source, packed)
        size = {**STEP, "vocabulary": len(source.tokenizer.vocabulary), "threads": cores}
        worker = Worker("step", sys.executable, "_mindspore_step.py", size) if args.step else None
        try:
            if worker:
                print(f"step: {worker.ready['ready']}, {cores} threads, dropout masks included", flush=True)
            rates = take_turns(args, loads, worker)
        finally:
            if worker:
                worker.close()
    print(f"length {args.length}, {args.batch} sequences an update; median of {args.rounds} rounds (smallest, largest)")
    report(rates)
    print(f"load average {os.getloadavg()[0]:.1f} after the run")


if __name__ == "__main__":
    main()
