"""What becomes of sub-networks: cut out of a fine-tuned model, rewired, and after each stage of DynaBERT.

Independent jobs, each a run folder of its own under --work: for every seed a fine-tuning, the three stages, and the
fine-tuned model trained on by itself for as many epochs as the stages take. After each of them all sub-networks are
evaluated, whatever it trains. Jobs that are finished are not done again, one that was cut goes on; --minutes ends the
call after the job that passes them. The table and the picture are made of the seeds that have everything so far; their
figures are held in a file, and a seed that it holds whole is not done again, on any machine:

    python tools/compare_elastic.py sst2 --model MODEL --data DATA/glue/SST-2 --work work --figures FILE

MODEL is a pretrained model folder of 6 layers. The dev set is scored whole; every column is a mean over the same seeds
with its standard error. cut: the first heads, neurons and layers of the fine-tuned model. rewired: the same once they
are in the order of their importance. Then after the width stage, after width and depth, after the final fine-tuning;
the result of a stage is its evaluation with the best mean over the sub-networks that it trains. trained on: the first
heads, neurons and layers of the fine-tuned model after so many more epochs on the labels, at the rate of the final
fine-tuning; its result, like that of the fine-tuning, is the evaluation at which the whole model was best.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _jobs import Jobs, Record, shown

from ms_plm.config.loading import load_recipe
from ms_plm.config.model import ModelConfig
from ms_plm.config.precision import policy_for
from ms_plm.config.recipe import Recipe
from ms_plm.data.buckets import padded_lengths
from ms_plm.elastic.figures import cost, point
from ms_plm.elastic.search.masked import MaskedEvaluator
from ms_plm.elastic.subnetworks import grid
from ms_plm.elastic.training import put_in_order
from ms_plm.models.folder import ModelFolder, assign_weights, open_folder
from ms_plm.pictures.canvas import save_figure
from ms_plm.pictures.tradeoff import tradeoff_figure
from ms_plm.training.finetuning import TaskData
from ms_plm.training.hardware import open_device
from ms_plm.training.loop import stop_signals
from ms_plm.training.parallel import Parallel
from ms_plm.training.session import Context

WIDTHS, DEPTHS = (1.0, 0.75, 0.5, 0.25), (1.0, 0.67, 0.5)
PLAIN = {
    "sst2": {"data.task": "glue/sst-2", "data.max_length": 64, "data.rows": 10_000, "train.epochs": 2},
    "mrpc": {"data.task": "glue/mrpc", "data.max_length": 128, "train.epochs": 4},
}
"""How the model is fine-tuned before it becomes elastic."""
STAGES = ("width", "depth", "final")
COLUMNS = {"plain": ("cut", "rewired"), **{stage: (stage,) for stage in STAGES}, "on": ("trained on",)}
"""What is evaluated of the model of each job."""
FIGURES = "figures.json"
METRIC = "accuracy"

Columns = dict[str, dict[str, dict[str, float]]]
"""Column -> seed -> sub-network -> figure."""


class Comparison:
    """The jobs of a task.

    Args:
        args: of the command line.
        signals: see `Jobs`.
    """

    def __init__(self, args: argparse.Namespace, signals: Sequence[str]) -> None:
        self.args, self.work = args, args.work / args.task
        common = {"impl.device": "cpu", "impl.precision": args.precision, "log.every": 50}
        self.common = {**common, "data.folder": str(args.data.resolve())}
        self.jobs = Jobs(self.work, args.minutes, self.common, signals)
        told = {"task": args.task, "plain_rate": args.plain_rate, "stage_epochs": args.epochs}
        self.record = Record(args.figures or self.work / FIGURES, {**told, "precision": args.precision})
        self.evaluator: MaskedEvaluator | None = None

    def seed(self, seed: int) -> None:
        """Everything of a seed, as far as the time goes."""
        if all(self.record.has(column, seed) for columns in COLUMNS.values() for column in columns):
            return
        rate = {"train.optimizer.learning_rate": self.args.plain_rate, "train.batch": 32, "train.seed": seed}
        plain = {**PLAIN[self.args.task], **rate, "model.from": str(self.args.model.resolve())}
        source = tuned = self.run("plain", seed, "bert_base_sst2", plain)
        for stage in STAGES:
            if source is None:
                return
            source = self.run(stage, seed, self.recipe(stage), self.changes(stage, source, seed))
        if source is not None:
            self.run("on", seed, "bert_base_sst2", {**plain, **self.longer(tuned, seed), "model.from": str(tuned)})

    def recipe(self, stage: str) -> str:
        """The name of a stage's recipe."""
        return f"dynabert_small_{self.args.task}_{stage}"

    def changes(self, stage: str, source: Path, seed: int) -> dict[str, Any]:
        """What a stage that goes on from a model has otherwise than its recipe."""
        teacher = {} if stage == "final" else {"method.teacher.from": str(source)}
        epochs = {"train.epochs": self.args.epochs} if self.args.epochs else {}
        return {**teacher, **epochs, "model.from": str(source), "train.seed": seed}

    def longer(self, tuned: Path, seed: int) -> dict[str, Any]:
        """As many epochs as all stages take, at the rate of the last one."""
        stages = [load_recipe(self.recipe(stage), self.changes(stage, tuned, seed)).train for stage in STAGES]
        rate = stages[-1].optimizer.learning_rate
        return {"train.epochs": sum(train.epochs for train in stages), "train.optimizer.learning_rate": rate}

    def run(self, job: str, seed: int, recipe: str, changes: Mapping[str, Any]) -> Path | None:
        """The model of a job, evaluated; None: the time is up."""
        model = self.jobs.run(f"{job}/{seed}", recipe, dict(changes))
        if model is not None and not all(self.record.has(column, seed) for column in COLUMNS[job]):
            if self.jobs.is_late():
                return None
            for column, figures in self.figures(model, COLUMNS[job], seed).items():
                self.record.add(column, seed, {name: round(figure, 6) for name, figure in figures.items()})
        return model

    def figures(self, folder: Path, columns: Sequence[str], seed: int) -> dict[str, dict[str, float]]:
        """Of all sub-networks of a model; for the column `rewired` its heads and neurons are put in order first."""
        opened = open_folder(folder)
        context = opened_context(
            load_recipe(self.recipe("width"), {**self.common, **self.changes("width", folder, seed)})
        )
        data = TaskData.open(context.recipe).numbered_as(opened.config.labels)
        if self.evaluator is None:
            self.evaluator = evaluator_of(context, opened, data)
        model, found = self.evaluator.model, {}
        assign_weights(model, opened.weights)
        for column in columns:
            if column == "rewired":
                put_in_order(context, data, model, opened.tokenizer)
            parts = grid(model.config, WIDTHS, DEPTHS)
            found[column] = {part.name: self.evaluator.figures(part)[METRIC] for part in parts}
        return found


def opened_context(recipe: Recipe) -> Context:
    """Where a recipe runs, in this process."""
    device = open_device(recipe.impl)
    policy = policy_for(recipe.impl.precision, device.name, device.chip)
    return Context(recipe, device, policy, Parallel(recipe.impl.parallel, device.name))


def evaluator_of(context: Context, opened: ModelFolder, data: TaskData) -> MaskedEvaluator:
    """Evaluates on the dev set what has the shape of a model, computed as training computes it."""
    held_out = data.held_out(opened.tokenizer)
    lengths = padded_lengths(next(iter(held_out.values()))[1].rows.lengths, 2)
    return MaskedEvaluator(opened.build(data.kind.head, kernels=context.kernels()), data.kind, held_out, lengths, 32)


def collected(record: Record) -> Columns:
    """What was evaluated, of the seeds that every column with any figures has: all means are over the same ones."""
    columns: Columns = {name: record.figures.get(name, {}) for names in COLUMNS.values() for name in names}
    known = [set(seeds) for seeds in columns.values() if seeds]
    shared = sorted(set.intersection(*known), key=int) if known else []
    return {name: {seed: seeds[seed] for seed in shared if seeds} for name, seeds in columns.items()}


def report(record: Record, config: ModelConfig, length: int, picture: Path) -> str:
    """The table and the differences that matter; with every stage known the picture is drawn, at a length in tokens."""
    columns = collected(record)
    seeds = list(columns["cut"])
    if not seeds:
        return "no seed has its figures yet"
    parts = grid(config, WIDTHS, DEPTHS)
    lines = [f"{METRIC}, mean ± standard error over seeds {', '.join(seeds)}; differences are taken seed by seed", ""]
    lines += [f"| width x depth | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for part in parts:
        cells = [shown([figures[part.name] for figures in column.values()]) for column in columns.values()]
        lines.append(f"| {part.name} | {' | '.join(cells)} |")
    whole, smallest = parts[0].name, parts[-1].name
    for part, column, base in (
        (whole, "final", "cut"),
        (whole, "final", "trained on"),
        (smallest, "final", "cut"),
        (smallest, "final", "rewired"),
    ):
        more = [figures[part] - columns[base][s][part] for s, figures in columns[column].items() if columns[base]]
        lines.append(f"\n{part}, {column} minus {base}: {shown(more, '+')}")
    if columns["final"]:
        points = []
        for part in parts:
            figure = statistics.fmean(figures[part.name] for figures in columns["final"].values())
            points.append(point(part, cost(part, config, length, "sequence_classification"), {METRIC: figure}))
        save_figure(tradeoff_figure(points, METRIC, ("parameters", "flops")), picture)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=PLAIN)
    parser.add_argument("--model", type=Path, required=True, help="pretrained model folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the task's official files")
    parser.add_argument("--work", type=Path, required=True, help="where the run folders go")
    parser.add_argument("--figures", type=Path, help=f"file of figures (default: {FIGURES} in the task's work folder)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--plain-rate", type=float, default=5e-5, help="of the fine-tuning (%(default)s)")
    parser.add_argument("--epochs", type=float, help="of every stage (default: the recipe's)")
    parser.add_argument("--minutes", type=float, help="begin no job after so many")
    args = parser.parse_args()
    with stop_signals() as signals:
        comparison = Comparison(args, signals)
        for seed in args.seeds:
            comparison.seed(seed)
    config, length = ModelConfig.load(args.model), PLAIN[args.task]["data.max_length"]
    print(report(comparison.record, config, length, comparison.work / "tradeoff.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
