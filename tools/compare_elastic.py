"""What becomes of sub-networks: cut out of a fine-tuned model, rewired, and after each stage of DynaBERT.

Independent jobs, each a run folder of its own under --work: for every seed a fine-tuning, then the three stages. Jobs
that are finished are not done again, one that was cut goes on; --minutes ends the call after the job that passes them.
The table and the picture are made of the finished ones:

    python tools/compare_elastic.py sst2 --model MODEL --data DATA/glue/SST-2 --work work

MODEL is a pretrained model folder of 6 layers. The dev set is scored whole; every column is a mean over seeds with its
standard error. cut: the first heads, neurons and layers of the fine-tuned model. rewired: the same once they are in the
order of their importance. Then after the width stage, after width and depth, after the final fine-tuning; the result of
a stage is its evaluation with the best mean over all sub-networks.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import mindspore as ms
from _jobs import Jobs, figures_of, is_finished, shown

from ms_plm.common.files import read_json, write_json
from ms_plm.config.loading import load_recipe
from ms_plm.data.buckets import padded_lengths
from ms_plm.elastic.figures import cost, point
from ms_plm.elastic.search.masked import MaskedEvaluator
from ms_plm.elastic.subnetworks import SubNetwork, grid
from ms_plm.elastic.training import put_in_order
from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import open_folder
from ms_plm.pictures.canvas import save_figure
from ms_plm.pictures.tradeoff import tradeoff_figure
from ms_plm.training.finetuning import TaskData
from ms_plm.training.loop import stop_signals

WIDTHS, DEPTHS = (1.0, 0.75, 0.5, 0.25), (1.0, 0.67, 0.5)
PLAIN = {
    "sst2": {"data.task": "glue/sst-2", "data.max_length": 64, "data.rows": 10_000, "train.epochs": 2},
    "mrpc": {"data.task": "glue/mrpc", "data.max_length": 128, "train.epochs": 4},
}
"""How the model is fine-tuned before it becomes elastic."""
STAGES = ("width", "depth", "final")
CUT = "cut.json"
"""Beside a fine-tuned model: the figures of its parts, as they are and rewired."""


class Comparison:
    """The jobs of a task.

    Args:
        args: of the command line.
        signals: see `Jobs`.
    """

    def __init__(self, args: argparse.Namespace, signals: Sequence[str]) -> None:
        self.args, self.work = args, args.work / args.task
        common = {"impl.device": "cpu", "impl.precision": args.precision, "log.every": 50}
        self.jobs = Jobs(self.work, args.minutes, {**common, "data.folder": str(args.data)}, signals)

    def seed(self, seed: int) -> None:
        """Everything of a seed, as far as the time goes."""
        rate = {"train.optimizer.learning_rate": self.args.plain_rate, "train.batch": 32}
        plain = {**PLAIN[self.args.task], **rate, "model.from": str(self.args.model), "train.seed": seed}
        source = self.jobs.run(f"plain/{seed}", "bert_base_sst2", plain)
        if source and not (source.parent / CUT).is_file() and not self.jobs.is_late():
            write_json(source.parent / CUT, self.cut(source, seed))
        for stage in STAGES:
            if source is None:
                return
            teacher = {} if stage == "final" else {"method.teacher.from": str(source)}
            changes = {**teacher, "model.from": str(source), "train.seed": seed}
            if self.args.epochs:
                changes["train.epochs"] = self.args.epochs
            source = self.jobs.run(f"{stage}/{seed}", f"dynabert_small_{self.args.task}_{stage}", changes)

    def cut(self, folder: Path, seed: int) -> dict[str, dict[str, float]]:
        """Figures of the parts of a fine-tuned model: as they are, and with heads and neurons in order."""
        ms.set_device("CPU")
        ms.set_context(mode=0)
        changes = {"data.folder": str(self.args.data), "train.seed": seed, "model.from": str(folder)}
        recipe = load_recipe(f"dynabert_small_{self.args.task}_width", {**changes, "method.teacher.from": str(folder)})
        opened = open_folder(folder)
        data = TaskData.open(recipe).numbered_as(opened.config.labels)
        model = opened.build(data.kind.head, kernels=Kernels(Call(training=True)))
        held_out, parts = data.held_out(opened.tokenizer), grid(model.config, WIDTHS, DEPTHS)
        lengths = padded_lengths(next(iter(held_out.values()))[1].rows.lengths, 2)
        found = {}
        for name in ("cut", "rewired"):
            if name == "rewired":
                put_in_order(recipe, data, model, opened.tokenizer)
            evaluator = MaskedEvaluator(model, data.kind, held_out, lengths, 32)
            found[name] = {part.name: evaluator.figures(part)["metric"] for part in parts}
        return found


def parts_of(work: Path) -> tuple[SubNetwork, ...]:
    """The sub-networks of the table."""
    folder = next(iter(sorted(work.glob("plain/*/model"))))
    return grid(open_folder(folder).config, WIDTHS, DEPTHS)


def collected(work: Path, metric: str) -> dict[str, dict[str, list[float]]]:
    """Column -> sub-network -> values over seeds; sub-networks that a stage does not train are absent."""
    columns: dict[str, dict[str, list[float]]] = {name: {} for name in ("cut", "rewired", *STAGES)}
    for path in sorted(work.glob(f"plain/*/{CUT}")):
        for name, values in read_json(path).items():
            for part, value in values.items():
                columns[name].setdefault(part, []).append(value)
    for stage in STAGES:
        for folder in filter(is_finished, sorted(work.glob(f"{stage}/*"))):
            for name, value in figures_of(folder).items():
                if name.startswith(f"{metric}["):
                    columns[stage].setdefault(name[len(metric) + 1 : -1], []).append(value)
    return columns


def report(work: Path, metric: str) -> str:
    """The table; the picture goes beside the runs."""
    parts, columns = parts_of(work), collected(work, metric)
    plain = [figures_of(path.parent)["metric"] for path in sorted(work.glob("plain/*/figures.json"))]
    lines = [f"fine-tuned, {metric}: {shown(plain)} ({len(plain)} seeds)", ""]
    lines += [f"| width x depth | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for part in parts:
        lines.append(f"| {part.name} | " + " | ".join(shown(c.get(part.name, [])) for c in columns.values()) + " |")
    last = columns["final"]
    if all(part.name in last for part in parts):
        config = open_folder(next(iter(sorted(work.glob("plain/*/model"))))).config
        costs = [cost(part, config, 64, "sequence_classification") for part in parts]
        points = [point(p, c, {metric: statistics.fmean(last[p.name])}) for p, c in zip(parts, costs, strict=True)]
        save_figure(tradeoff_figure(points, metric, ("parameters", "flops")), work / "tradeoff.png")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=PLAIN)
    parser.add_argument("--model", type=Path, required=True, help="pretrained model folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the task's official files")
    parser.add_argument("--work", type=Path, required=True, help="where the run folders go")
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
    print(report(comparison.work, "accuracy"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
