"""What a narrow sub-network costs: forward and gradients of parts of one model, by turns, beside their FLOPs.

The graphs are those of an update of kind `elastic`: labels, dropout, gradients added to the sums of the whole model, in
slices of its parameters. Random weights; MiniLM's shape by default.

    python tools/bench/subnetworks.py
    python tools/bench/subnetworks.py --hidden 768 --layers 12 --intermediate 3072 --batch 8 --length 128
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import mindspore as ms
import numpy as np

from ms_plm.common import rng
from ms_plm.common.processor import cores, cpu_description
from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.finetuning import TextLimits
from ms_plm.config.model import ModelConfig
from ms_plm.config.recipe import TrainSection
from ms_plm.elastic.objective import elastic_loss, views
from ms_plm.elastic.subnetworks import grid
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.series.tables import table
from ms_plm.tasks.kinds import named_task
from ms_plm.tasks.text import TextKind
from ms_plm.training.step import StepOptions, TrainingStep, rng_maker
from ms_plm.training.throughput import training_flops


class Turns:
    """The parts of one model, each with its graph.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        config = ModelConfig(
            model_type=args.family,
            vocab_size=30522,
            hidden_size=args.hidden,
            num_hidden_layers=args.layers,
            num_attention_heads=args.heads,
            intermediate_size=args.intermediate,
            id2label={0: "no", 1: "yes"},
        )
        kernels = Kernels(Call(compute=args.precision, training=True))
        model = Model(config, "sequence_classification", kernels).initialise(1)
        self.parts = grid(config, args.widths, args.depths)
        self.flops = [training_flops(part.config(config), args.length, 0.0) for part in self.parts]
        models = views(model, self.parts)
        kind = TextKind(named_task("glue/sst-2"), ("no", "yes"), TextLimits())
        loss = elastic_loss(ElasticMethod(), config, self.parts, models, kind, None)
        named = dict(model.parameters_and_names())
        options = StepOptions(table=model.encoder.embeddings.word_embeddings.weight)
        self.step = TrainingStep(loss, named, TrainSection(steps=1), kernels, options, accumulate=True)
        self.tensors = self.step.tensors(rng_maker(*models)(self._arrays(args)))
        self.inverse = ms.Tensor(np.full(1, 1 / args.batch, np.float32))

    @staticmethod
    def _arrays(args: argparse.Namespace) -> dict[str, np.ndarray]:
        draw, shape = np.random.default_rng(0), (args.batch, args.length)
        return {
            "input_ids": draw.integers(5, 30000, shape).astype(np.int32),
            "token_type_ids": np.zeros(shape, np.int32),
            "attention_mask": np.ones(shape, np.int32),
            "labels": draw.integers(0, 2, args.batch).astype(np.int32),
            "weights": np.ones(args.batch, np.float32),
            "counted": np.ones(args.batch, np.float32),
            "dropout_keys": rng.sample_keys(1, 0, np.arange(args.batch), rng.DROPOUT),
        }

    def seconds(self, number: int) -> float:
        """Of one part's forward and gradients."""
        begun = time.perf_counter()
        self.step.accumulation.add_part(number, self.inverse, self.tensors, {}).asnumpy()
        return time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("bert", "nezha"), default="bert")
    for name, value in (("hidden", 384), ("layers", 6), ("heads", 12), ("intermediate", 1536)):
        parser.add_argument(f"--{name}", type=int, default=value, help="default: %(default)s")
    parser.add_argument("--widths", type=float, nargs="+", default=[1.0, 0.5, 0.25])
    parser.add_argument("--depths", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    turns = Turns(args)
    count = len(turns.parts)
    first = [turns.seconds(number) for number in range(count)]
    taken = [[turns.seconds(number) for number in range(count)] for _ in range(args.rounds)]
    by_part = list(zip(*taken, strict=True))
    rows = []
    for part, own, compiled, flops in zip(turns.parts, by_part, first, turns.flops, strict=True):
        least, middle = min(own), statistics.median(own)
        ratios = f"{min(by_part[0]) / least:.2f} / {statistics.median(by_part[0]) / middle:.2f}"
        cells = [f"{1e3 * least:.1f} / {1e3 * middle:.1f}", ratios, f"{turns.flops[0] / flops:.2f}", f"{compiled:.1f}"]
        rows.append([part.name, *cells])
    print(f"{cpu_description()}, {cores()} threads; batch {args.batch} x {args.length}, {args.precision}\n")
    print(table(["width x depth", "ms, min / median", "faster by", "fewer FLOPs by", "first call, s"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
