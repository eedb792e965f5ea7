"""Speed of data augmentation beside one forward a word, as TinyBERT's code does it: both in one process, taking turns.

    python tools/bench/augment.py GLUE/SST-2 --vocab MODEL_FOLDER [--rows 200] [--layers 6] [--hidden 384] [--rounds 3]

The same BERT with random weights, the same texts, candidates and draws. One forward a word computes logits of every
position (as the original does) or, which is fairer, of the masked one; its rows are padded to our lengths, since in
graph mode every length is a graph. All graphs are compiled before the clock starts, and what that took is told.
Sentences are those of the data set, not the variants; tokenization, sampling and making the rows are in the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor

from ms_plm.config.model import ModelConfig
from ms_plm.data.benchmarks import TASKS, TextExample, read_split
from ms_plm.distill.augmentation.augment import Augmenter, Sampling
from ms_plm.distill.augmentation.candidates import Asked, MaskedCandidates
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer, load_segmenter

OURS, MASKED, EVERY = "batches", "one forward a word, logits of the mask", "one forward a word, logits of all"


class OneForwardAWord:
    """What `MaskedCandidates` gives, one word at a time."""

    def __init__(self, masked: MaskedCandidates, model: Model, every: bool) -> None:
        self.masked, self.model, self.every = masked, model, every

    def __call__(self, asked: Sequence[Asked], done: Callable[[float], None] | None = None) -> list[list[str]]:
        return [self._candidates(one) for one in asked]

    def _candidates(self, one: Asked) -> list[str]:
        inputs, (rows, columns) = self.masked.rows([one], self.masked.row_length(one), 1)
        if self.every:
            logits = self.model(*inputs).prediction_logits.asnumpy()[rows, columns]
        else:
            places = Tensor(columns.astype(np.int32))  # of a batch of one row
            logits = self.model(*inputs, None, places).prediction_logits.asnumpy()
        return self.masked.choose(one, list(self.masked.best(logits, np.full(len(rows), one.word.chinese))))


def timed(augmenter: Augmenter, examples: Sequence[TextExample], sampling: Sampling) -> tuple[float, list]:
    start = time.perf_counter()
    rows = [row for group in augmenter(examples, sampling) for row in group]
    return time.perf_counter() - start, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the official files of SST-2")
    parser.add_argument("--vocab", required=True, help="model folder or vocab.txt")
    parser.add_argument("--rows", type=int, default=200, help="%(default)s")
    parser.add_argument("--layers", type=int, default=6, help="%(default)s")
    parser.add_argument("--hidden", type=int, default=384, help="%(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (%(default)s)")
    args = parser.parse_args()
    ms.set_device("CPU")
    ms.set_context(mode=0)
    examples = read_split(TASKS["glue/sst-2"], args.data, "train").examples[: args.rows]
    tokenizer, segmenter = Tokenizer.load(args.vocab), load_segmenter("none")
    config = ModelConfig(
        model_type="bert",
        vocab_size=tokenizer.vocab_size,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 32,
        intermediate_size=4 * args.hidden,
        position_embedding_type="absolute",
    )
    model = Model(config, "masked_lm", Kernels(Call(training=True))).initialise(1)
    model.set_train(False)
    masked = MaskedCandidates(model, tokenizer, segmenter)
    ways = {OURS: masked, **{way: OneForwardAWord(masked, model, way == EVERY) for way in (MASKED, EVERY)}}
    augmenters = {way: Augmenter(tokenizer, segmenter, finder) for way, finder in ways.items()}
    compiled = {way: _compile(augmenter, masked, examples, tokenizer) for way, augmenter in augmenters.items()}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    made = {}
    for _ in range(args.rounds):
        for way, augmenter in augmenters.items():
            augmenter.counts.clear()
            took, made[way] = timed(augmenter, examples, Sampling())
            seconds[way].append(took)
    words = augmenters[OURS].counts["masked"]
    print(f"{len(examples)} sentences, {words} masked words, {len(made[OURS])} rows; {args.layers} x {args.hidden}")
    best = min(seconds[OURS])
    for way, took in seconds.items():
        same = np.mean([one == other for one, other in zip(made[OURS], made[way], strict=False)])
        print(
            f"{way:40} {len(examples) / min(took):7.1f} sentences/s"
            f" (median {len(examples) / statistics.median(took):.1f});"
            f" {min(took) / best:.2f} times our time; {same:.1%} same rows; compiling {compiled[way]:.1f} s"
        )


def _compile(augmenter: Augmenter, masked: MaskedCandidates, examples: Sequence[TextExample], tokenizer) -> float:
    """Seconds of a first pass over one sentence of every padded length."""
    by_length = {}
    for example in examples:
        ids = tokenizer.pieces([example.text])[0].ids
        by_length[masked.row_length(Asked(ids, None))] = example
    return timed(augmenter, list(by_length.values()), Sampling())[0]


if __name__ == "__main__":
    main()
