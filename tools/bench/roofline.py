"""How fast a training step can be on Ascend chips, on paper: a model from counts and data sheets, not a measurement.

Operations and bytes of the step are counted (`ms_plm_ascend.roofline`), each kind takes at least what the slowest of a
chip's matrix unit, vector unit and memory needs, and nothing overlaps. Real kernels reach 40 to 70 % of such bounds;
`expected` takes 60 %. The exchange between devices is shown apart, since it can hide behind the gradients. First the
published step times against their bounds, then ours by chip and form of attention, then what the best one spends.

    python tools/bench/roofline.py
    python tools/bench/roofline.py nezha_large_pretrain_ascend --batch 96 --length 512 --chips 910B3
    python tools/bench/roofline.py --compiled --length 128 --chips 910B3         # counts beside the compiled step's
    python tools/bench/roofline.py --ir graph_build_0_0182.ir --chips 910B3      # counts of a compiled graph instead

`--compiled` compiles the recipe's step for Ascend on this machine (as a dry run does; one to three minutes each) and
prints what the counts take for granted beside what the graph holds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from _step_data import masked_count

from ms_plm.config.chips import CHIPS, Chip, chip_named
from ms_plm.config.loading import load_recipe
from ms_plm.config.model import ModelConfig
from ms_plm_ascend.roofline.bounds import Bound, bounds, rates
from ms_plm_ascend.roofline.counts import Step, Work, count, useful_products
from ms_plm_ascend.roofline.graph import Node, read_ir, read_step, work_of
from ms_plm_ascend.simulate.dry_run import dry_run

VOCABULARY = 21128
EFFICIENCY = 0.6
GOAL = 0.4
"""Share of the 16-bit peak that is wanted."""
BATCHES = {768: 256, 1024: 96}
"""Sequences of 128 a device and forward, by hidden size: those of the published runs."""
TRAINING = tuple(name for name, chip in CHIPS.items() if chip.trains)
PLANS = {
    "stock operators": {"attention": "naive"},
    "flash3": {"attention": "flash3"},
    "flash3, fused LayerNorm": {"attention": "flash3", "fused": True},
    "one fused kernel, fused LayerNorm": {"attention": "fused", "fused": True},
}
"""What ours can be built with, for relative positions."""

KERNELS = {
    "stock operators": {},
    "flash3": {"relative_attention": "flash3"},
    "flash3, fused LayerNorm": {"relative_attention": "flash3", "dropout_add_layer_norm": "addnorm"},
}
"""`impl.kernels` of the plans that a machine without a device can compile."""


class Published(NamedTuple):
    """A step time that others measured (README of MindSpore's official BERT, release 1.3)."""

    name: str
    config: ModelConfig
    batch: int
    attention: str
    seconds: float


def _config(hidden: int, layers: int, family: str) -> ModelConfig:
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": hidden // 64}
    return ModelConfig(model_type=family, vocab_size=VOCABULARY, intermediate_size=4 * hidden, **sizes)


PUBLISHED = (
    Published("BERT-base, LAMB", _config(768, 12, "bert"), 256, "naive_absolute", 0.284),
    Published("NEZHA-24L, LAMB", _config(1024, 24, "nezha"), 96, "naive", 0.320),
)
"""On eight 910A, length 128."""


class Figures(NamedTuple):
    """A step on a chip.

    Attributes:
        seconds: its bound, without the exchange.
        exchange: bound of the exchange.
        useful: operations that no form can avoid.
        parts: by kind.
    """

    seconds: float
    exchange: float
    useful: float
    parts: list[Bound]

    def share_of_peak(self, chip: Chip, efficiency: float = 1.0) -> float:
        """Useful operations against the 16-bit peak, at a share of every bound."""
        return self.useful * efficiency / (self.seconds * rates(chip)["matrix"])


def figures(step: Step, chip: Chip) -> Figures:
    """What a step needs at least on a chip."""
    return _figures(count(step), chip, useful_products(step))


def _figures(works: list[Work], chip: Chip, useful: float) -> Figures:
    parts = bounds(works, chip)
    exchange = sum(part.seconds for part in parts if part.work.group == "exchange")
    return Figures(sum(part.seconds for part in parts) - exchange, exchange, useful, parts)


def verdict(figure: Figures, chip: Chip) -> str:
    """Whether the goal is reached on paper, and what takes the time that products alone would not."""
    matrix = rates(chip)["matrix"]
    reached = figure.share_of_peak(chip, EFFICIENCY)
    word = "reaches" if reached >= GOAL else "does not reach"
    own = [part for part in figure.parts if part.work.group != "exchange"]
    lost = {part: part.seconds - part.work.products / matrix for part in own}
    worst = sorted(own, key=lambda part: -lost[part])[:3]
    names = ", ".join(f"{part.work.name} ({part.part}) {1000 * lost[part]:.1f} ms" for part in worst)
    ideal = figure.useful / matrix
    return (
        f"{word} {GOAL:.0%} of the peak with {EFFICIENCY:.0%} of each bound ({reached:.0%}); products alone would take "
        f"{1000 * ideal:.1f} of {1000 * figure.seconds:.1f} ms, most of the rest is {names}"
    )


def show_published() -> None:
    print("Published, 8 x 910A, length 128 (the bound is a model)")
    print(f"  {'':<18} {'batch':>5} {'published':>9} {'bound':>8} {'reached':>8} {'of peak':>8} {'exchange':>9}")
    chip = CHIPS["910A"]
    for run in PUBLISHED:
        step = Step(run.config, run.batch, 128, run.batch * 20, attention=run.attention)
        found = figures(step, chip)
        reached, peak = found.seconds / run.seconds, found.useful / (run.seconds * rates(chip)["matrix"])
        print(
            f"  {run.name:<18} {run.batch:>5} {1000 * run.seconds:>6.0f} ms {1000 * found.seconds:>5.0f} ms "
            f"{reached:>8.0%} {peak:>8.0%} {1000 * found.exchange:>6.0f} ms"
        )


def show_ours(name: str, config: ModelConfig, batch: int, length: int, chips: list[Chip], optimizer: str) -> None:
    print(f"\n{name}, {batch} x {length} a device and update, {optimizer} (model, nothing measured)")
    print(
        f"  {'chip':<6} {'with':<34} {'bound':>8} {'of peak':>8} {'expected':>9} {'of peak':>8} {'seq/s':>7} "
        f"{'exchange':>9}"
    )
    step = Step(config, batch, length, batch * masked_count(length), optimizer=optimizer)
    for chip in chips:
        best: Figures | None = None
        for plan, forms in PLANS.items():
            found = figures(replace(step, **forms), chip)
            expected = found.seconds / EFFICIENCY
            print(
                f"  {chip.name:<6} {plan:<34} {1000 * found.seconds:>5.0f} ms {found.share_of_peak(chip):>8.0%} "
                f"{1000 * expected:>6.0f} ms {found.share_of_peak(chip, EFFICIENCY):>8.0%} {batch / expected:>7.0f} "
                f"{1000 * found.exchange:>6.1f} ms"
            )
            best = found if best is None or found.seconds < best.seconds else best
        print(f"         the best {verdict(best, chip)}")


def _works(nodes: list[Node]) -> list[Work]:
    return [work for work in map(work_of, nodes) if work.group != "view"]


def _totals(works: list[Work], chip: Chip) -> tuple[float, float, float, float]:
    """GFLOP, vector Gop, GB, and ms of bounds."""
    products, vector, moved = (sum(work[place] for work in works) / 1e9 for place in (2, 3, 4))
    return products, vector, moved, 1000 * sum(part.seconds for part in bounds(works, chip))


def show_compiled(name: str, changes: list[str], step: Step, chip: Chip, plan: str) -> None:
    """The counts beside those of the graphs that MindSpore compiles, for one device."""
    sizes = {"data.max_length": step.length, "train.batch": step.batch, "impl.micro_batch": step.batch}
    more = {**sizes, "impl.kernels": json.dumps(KERNELS[plan])} if KERNELS[plan] else sizes
    recipe = load_recipe(name, [*changes, *(f"{key}={value}" for key, value in more.items())])
    with tempfile.TemporaryDirectory() as folder:
        run = dry_run(recipe, chip.name, graphs=Path(folder))
        compiled = [_works(nodes) for nodes in read_step(folder)]
    works = count(replace(step, devices=1, **PLANS[plan]))
    model = [[work for work in works if (work.name == step.optimizer) is update] for update in (False, True)]
    plan = f"{plan}: {run.graph.size} kernels, {run.peak:.1f} GB at the peak"
    print(f"\n{name}, {step.batch} x {step.length} on {chip.name}, {plan}; counted | compiled")
    print(f"  {'':<24}{'GFLOP':>20}{'vector Gop':>20}{'GB':>20}{'bound, ms':>20}")
    for title, *pair in zip(("forward, gradients, norm", "update"), model, compiled, strict=True):
        both = zip(*(_totals(part, chip) for part in pair), strict=True)
        print(f"  {title:<24}" + "".join(f"{f'{left:.1f} | {right:.1f}':>20}" for left, right in both))
    found = _figures([work for part in compiled for work in part], chip, 0.0)
    show_parts(found, "The longest of the compiled step", rows=10)


def _short(name: str) -> str:
    """The name of a fused group can be a hundred letters long."""
    return name if len(name) <= 28 else f"{name[:25]}..."


def show_parts(found: Figures, title: str, rows: int = 14) -> None:
    print(f"\n{title}")
    print(f"  {'operation':<28} {'ms':>8} {'by':<7} {'GFLOP':>10} {'GB':>8}")
    for part in found.parts[:rows]:
        work = part.work
        print(
            f"  {_short(work.name):<28} {1000 * part.seconds:>8.2f} {part.part:<7} {work.products / 1e9:>10.1f} "
            f"{work.bytes / 1e9:>8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: NEZHA base and large")
    parser.add_argument("--batch", type=int, help="sequences a device and update; default: 256 or 96, fewer if longer")
    parser.add_argument("--length", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--chips", nargs="+", default=list(TRAINING), metavar="CHIP")
    parser.add_argument(
        "--compiled", nargs="*", metavar="PLAN", choices=KERNELS, help="compile these plans; default: stock operators"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of the recipe, with --compiled")
    parser.add_argument("--ir", type=Path, nargs="+", metavar="FILE", help="count graph_build_N_*.ir files instead")
    args = parser.parse_args()
    chips = [chip_named(name) for name in args.chips]
    if args.ir:
        for chip in chips:
            nodes = [node for path in args.ir for node in read_ir(path)]
            found = _figures(_works(nodes), chip, 0.0)
            moved, products = (sum(part.work[place] for part in found.parts) for place in (4, 2))
            title = f"{len(nodes)} nodes on {chip.name}: at least {1000 * found.seconds:.2f} ms"
            show_parts(found, f"{title}, {products / 1e9:.1f} GFLOP, {moved / 1e9:.2f} GB", rows=30)
        return
    if args.compiled is None:
        show_published()
    for name in args.recipes or ("nezha_base_pretrain_ascend", "nezha_large_pretrain_ascend"):
        recipe = load_recipe(name, args.set)
        config = recipe.model.build(VOCABULARY)
        for length in args.length:
            batch = args.batch or max(1, BATCHES.get(config.hidden_size, 96) * 128 // length)
            step = Step(config, batch, length, batch * masked_count(length), optimizer=recipe.train.optimizer.name)
            if args.compiled is not None:
                for chip in chips:
                    for plan in args.compiled or ["stock operators"]:
                        show_compiled(name, args.set, step, chip, plan)
                continue
            show_ours(name, config, batch, length, chips, recipe.train.optimizer.name)
            best, last = replace(step, attention="flash3", fused=True), chips[-1]
            show_parts(figures(best, last), f"{name}, length {length}, flash3 and fused LayerNorm on {last.name}")


if __name__ == "__main__":
    main()
