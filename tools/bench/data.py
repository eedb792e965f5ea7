"""How fast samples are loaded: samples/s of our loader beside a plain loop over samples, in one run.

    python tools/bench/data.py                          # an artificial corpus
    python tools/bench/data.py --corpus prepared/zh     # one that `ms-plm prepare` made

The plain loop does the same work one sample after the other with Python lists, as the usual
`create_pretraining_data.py` scripts do: chunk, sentence pair, whole words in random order, 80/10/10, padding. Both read
the same memory-mapped arrays; rounds alternate, so that other work on the machine hits both.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ms_plm.config.recipe import MaskingSection
from ms_plm.data.corpus import Corpus
from ms_plm.data.loader import UpdateLoader
from ms_plm.data.masking import TokenMasking, build_masking
from ms_plm.data.samples import CorpusSamples


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


def rate(load: Callable[[int], None], samples: int) -> float:
    """Samples per second of one round."""
    start = time.perf_counter()
    load(samples)
    return samples / (time.perf_counter() - start)


def ours(loader: UpdateLoader) -> Callable[[int], None]:
    def load(samples: int) -> None:
        for _ in loader.updates(0, samples // loader.batch):
            pass

    return load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="prepared corpus; default: an artificial one")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=256, help="sequences per update")
    parser.add_argument("--samples", type=int, default=8192, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    corpus = Corpus.open(args.corpus) if args.corpus else ArtificialCorpus(4000)
    args.samples = max(1, args.samples // args.batch) * args.batch

    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        source = CorpusSamples(corpus, "train", args.length, cache=cache)
        seconds = time.perf_counter() - start
        tokens = int(source._table["length"].sum(dtype=np.int64))
        print(f"{len(source):,} samples of {tokens:,} tokens; sample table built in {seconds:.2f} s")
        packed = CorpusSamples(corpus, "train", args.length, nsp=False, cache=cache)
        masking = build_masking(MaskingSection(), source.tokenizer)
        plain = PlainLoop(source, masking, 1)

        def loop(samples: int) -> None:
            for _ in range(samples // args.batch):
                plain.batch(args.batch)

        def make(text: CorpusSamples, workers: int, **options: object) -> Callable[[int], None]:
            strategy = build_masking(MaskingSection(**options), text.tokenizer)
            return ours(UpdateLoader(text, strategy, 1, args.batch, min(32, args.batch), workers=workers))

        measured = {
            "plain loop, whole words, pairs": loop,
            "loader, whole words, pairs, calling thread": make(source, 0),
            "loader, whole words, pairs, 1 thread": make(source, 1),
            "loader, whole words, pairs, 2 threads": make(source, 2),
            "loader, spans of 1-3 words, pairs": make(source, 0, ngram=3),
            "loader, tokens, pairs": make(source, 0, strategy="token"),
            "loader, whole words, packed": make(packed, 0),
        }
        rates: dict[str, list[float]] = {name: [] for name in measured}
        for number in range(args.rounds + 1):  # the first round warms up
            for name, load in measured.items():
                value = rate(load, max(args.batch, args.samples // 8) if load is loop else args.samples)
                if number:
                    rates[name].append(value)
    slow = statistics.median(rates["plain loop, whole words, pairs"])
    print(f"length {args.length}, {args.batch} sequences an update; median of {args.rounds} rounds (smallest, largest)")
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:<46}{middle:>10,.0f} samples/s ({min(values):,.0f} - {max(values):,.0f}){middle / slow:>8.1f} x")


if __name__ == "__main__":
    main()
