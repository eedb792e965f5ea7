"""Speed of data augmentation beside one forward a word, as TinyBERT's code does it: all in one process, taking turns.

    python tools/bench/augment.py GLUE/SST-2 --vocab MODEL_FOLDER [--rows 200] [--layers 6] [--hidden 384] [--rounds 3]

The same BERT with random weights, the same texts and draws, and the same candidates (their share is told), except where
several words of a sentence are masked together. One forward a word, batch 1:

    every     logits of every position, as the original computes them
    mask      logits of the masked position only
    stock     every, with the kernels that `ms_plm.load` takes by itself (--stock: its graphs take minutes to compile)

Its rows are padded to our lengths, since in graph mode every length is a graph. All graphs are compiled before the
clock starts. Sentences are those of the data set, not the variants; tokenization, sampling and making the rows are in
the time. Seconds of processor, on all cores, are what other work on the machine changes least.
"""

from __future__ import annotations

import argparse
import resource
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
from ms_plm.distill.augmentation.words import Word, read_texts
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer, load_segmenter

OURS = "batches"


class OneForwardAWord:
    """What `MaskedCandidates` gives, one word at a time."""

    def __init__(self, masked: MaskedCandidates, model: Model, every: bool) -> None:
        self.masked, self.model, self.every = masked, model, every

    def __call__(self, asked: Sequence[Asked], done: Callable[[float], None] | None = None) -> list[list[list[str]]]:
        return [[self._candidates(one.ids, word) for word in one.words] for one in asked]

    def _candidates(self, ids: np.ndarray, word: Word) -> list[str]:
        inputs, (rows, columns) = self.masked.rows([Asked(ids, (word,))], self.masked.row_length(ids), 1)
        if self.every:
            logits = self.model(*inputs).prediction_logits.asnumpy()[rows, columns]
        else:
            places = Tensor(columns.astype(np.int32))  # of a batch of one row
            logits = self.model(*inputs, None, places).prediction_logits.asnumpy()
        return self.masked.choose(ids, word, list(self.masked.best(logits, np.full(len(rows), word.chinese))))


def timed(augmenter: Augmenter, examples: Sequence[TextExample]) -> tuple[float, float, list]:
    """Seconds, seconds of processor, and what was made."""
    start, used = time.perf_counter(), time.process_time()
    rows = [row for group in augmenter(examples, Sampling()) for row in group]
    return time.perf_counter() - start, time.process_time() - used, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the official files of SST-2")
    parser.add_argument("--vocab", required=True, help="model folder or vocab.txt")
    parser.add_argument("--rows", type=int, default=200, help="%(default)s")
    parser.add_argument("--layers", type=int, default=6, help="%(default)s")
    parser.add_argument("--hidden", type=int, default=384, help="%(default)s")
    parser.add_argument("--together", type=int, nargs="*", default=[4], help="words masked at once, besides 1 (4)")
    parser.add_argument("--stock", action="store_true", help="see above")
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
    ways = {
        OURS: masked,
        **{f"{OURS}, {n} together": MaskedCandidates(model, tokenizer, segmenter, together=n) for n in args.together},
        "one forward a word: mask": OneForwardAWord(masked, model, every=False),
        "one forward a word: every": OneForwardAWord(masked, model, every=True),
    }
    if args.stock:
        loaded = Model(config, "masked_lm").initialise(1)
        loaded.set_train(False)
        ways["one forward a word: stock"] = OneForwardAWord(masked, loaded, every=True)
    augmenters = {way: Augmenter(tokenizer, segmenter, finder) for way, finder in ways.items()}
    of_each_length = one_of_each_length(examples, masked, tokenizer, segmenter)
    compiling = {way: timed(augmenter, of_each_length)[0] for way, augmenter in augmenters.items()}
    figures: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    made = {}
    for _ in range(args.rounds):
        for way, augmenter in augmenters.items():
            augmenter.counts.clear()
            *took, made[way] = timed(augmenter, examples)
            figures[way].append(tuple(took))
    report(figures, made, compiling, len(examples), augmenters[OURS].counts["masked"])


def one_of_each_length(examples, masked: MaskedCandidates, tokenizer: Tokenizer, segmenter) -> list[TextExample]:
    """Of every padded length one example whose words are masked: what compiles all graphs."""
    found = {}
    for example, read in zip(examples, read_texts([e.text for e in examples], tokenizer, segmenter), strict=True):
        if any(word.count == 1 for word in read.words):
            found[masked.row_length(read.ids)] = example
    return list(found.values())


def report(figures: dict, made: dict, compiling: dict, sentences: int, words: int) -> None:
    print(f"{sentences} sentences, {words} masked words, {len(made[OURS])} rows")
    print(f"{'':34}sentences/s  (median)  times ours   by processor  same rows  compiling s")
    best = [min(values) for values in zip(*figures[OURS], strict=True)]
    for way, runs in figures.items():
        seconds, processor = zip(*runs, strict=True)
        same = np.mean([one == other for one, other in zip(made[OURS], made[way], strict=False)])
        print(
            f"{way:34}{sentences / min(seconds):11.1f} {sentences / statistics.median(seconds):9.1f} "
            f"{min(seconds) / best[0]:11.2f} {min(processor) / best[1]:14.2f} {same:10.1%} {compiling[way]:12.1f}"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
