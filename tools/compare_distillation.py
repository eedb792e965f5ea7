"""What distillation is worth: a small student learns a task from labels alone, and from a teacher in TinyBERT's ways.

Independent jobs, each a process and a folder of its own under --work: the student of general distillation once for a
teacher, its fine-tuning and the augmented rows once for a task, then every setting with every seed. Jobs that are
finished are not done again, one that was cut goes on from its newest checkpoint; --minutes begins none after so many.
The table is made of what is finished; its figures are held in a small file (--figures), and what it holds is not done
again, on any machine:

    ms-plm prepare DATA/corpus/en --one-per-line --vocab MINILM --holdout 0.02 --output prepared/en
    python tools/compare_distillation.py sst-2 --model MINILM --data DATA/glue/SST-2 --work work
    python tools/compare_distillation.py mrpc --model MINILM --data DATA/glue/MRPC --work work

    ms-plm run nezha_tiny_pretrain_zh        (after the ms-plm prepare of its header)
    python tools/compare_distillation.py chnsenticorp --model runs/nezha_tiny_pretrain_zh/model \\
        --data DATA/clue/chnsenticorp --work work

MINILM is a pretrained English BERT of 12 heads, such as all-MiniLM-L6-v2. Teacher and students learn the same rows (or
their variants), which are drawn once, whatever the seed. Every setting trains the same student and is scored by the
best of as many evaluations on the whole dev set.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _jobs import Jobs, Record, figures_of, shown
from bench._finetuning import drawn

from ms_plm.common.files import read_json
from ms_plm.training.log import METRICS
from ms_plm.training.loop import stop_signals


@dataclass(frozen=True)
class Task:
    """How a task is learned.

    Attributes:
        teacher: recipe of its fine-tuning, and of the student's on labels alone.
        general: recipe of general distillation.
        stages: of task distillation: two recipes, called this with _inside and _prediction.
        data: changes of all of them but the general one.
        teacher_rate: its learning rate.
        rows: so many of the training set, drawn once; None: all.
        masked_lm: recipe that gives the pretrained model a masked-LM head, to propose words; None: it has one.
    """

    teacher: str
    general: str
    stages: str
    data: Mapping[str, Any]
    teacher_rate: float = 5e-5
    rows: int | None = None
    masked_lm: str | None = "bert_small_masked_lm"


TASKS = {
    "sst-2": Task(
        "bert_base_sst2",
        "tinybert_small_general",
        "tinybert_small_sst2",
        {"data.task": "glue/sst-2", "data.max_length": 64},
        rows=8000,
    ),
    "mrpc": Task(
        "bert_base_mrpc",
        "tinybert_small_general",
        "tinybert_small_sst2",
        {"data.task": "glue/mrpc", "data.max_length": 128},
    ),
    "chnsenticorp": Task(
        "nezha_base_chnsenticorp",
        "tiny_nezha_small_general",
        "tiny_nezha_small_chnsenticorp",
        {"data.task": "chnsenticorp", "data.max_length": 128, "data.without_train_texts": True},
        teacher_rate=3e-4,
        masked_lm=None,
    ),
}
TEACHER, LABELS, LONG = "teacher", "labels", "labels, twice as long"
SETTINGS = {
    "labels, random weights": "the student's shape, new weights, fine-tuned on the labels",
    LABELS: "the student of general distillation, fine-tuned on the labels",
    LONG: "the same in as many updates as stages 1+2",
    "stage 2": "the same student, the teacher's predictions alone",
    "stages 1+2": "first what goes on inside the teacher, then its predictions",
    "stages 1+2, augmented": "the same on augmented rows",
}
EVALUATIONS = 6
"""On the dev set in every setting, of which the best one counts."""


class Comparison:
    """The jobs of a task.

    Args:
        args: of the command line.
        signals: see `Jobs`.
    """

    def __init__(self, args: argparse.Namespace, signals: Sequence[str]) -> None:
        self.args, self.task, self.model = args, TASKS[args.task], args.model.resolve()
        rows, folder = self.task.rows, args.data.resolve()
        self.folder = drawn(folder, args.work.resolve() / args.task / "rows", rows) if rows else folder
        self.data = {**self.task.data, "data.folder": str(self.folder), "train.batch": 32}
        self.corpus = {"data.corpus": str(args.corpus.resolve())} if args.corpus else {}
        common = {"impl.device": "cpu", "impl.precision": args.precision, "log.every": 50}
        self.jobs = Jobs(
            args.work, args.minutes, {**common, "output.compare": False, "output.checkpoints": False}, signals
        )
        told = ("task", "student", "precision", "general_steps", "teacher_epochs", "rate", "epochs")
        path = args.figures or self.jobs.work / args.task / "figures.json"
        self.record = Record(path, {name: getattr(args, name) for name in (*told, "augmented_epochs", "variants")})

    def run(self, name: str, recipe: str, changes: Mapping[str, Any]) -> Path | None:
        """A run of this task."""
        return self.jobs.run(f"{self.args.task}/{name}", recipe, {**self.data, **changes})

    def teacher(self) -> Path | None:
        """The pretrained model, fine-tuned."""
        rate = {"train.optimizer.learning_rate": self.task.teacher_rate, "train.epochs": self.args.teacher_epochs}
        return self.run("teacher", self.task.teacher, {**rate, "model.from": str(self.model), "train.seed": 1})

    def general(self) -> Path | None:
        """The student of general distillation, which tasks of the same teacher share."""
        shape = {f"model.{key}": value for key, value in json.loads(self.args.student).items()}
        changes = {**shape, **self.corpus, "method.teacher.from": str(self.model)}
        return self.jobs.run(self.task.general, self.task.general, {**changes, "train.steps": self.args.general_steps})

    def augmented(self) -> Path | None:
        """The training rows with their variants."""
        model: Path | None = self.model
        if recipe := self.task.masked_lm:
            model = self.jobs.run(recipe, recipe, {**self.corpus, "model.from": str(self.model)})
        told = ["--task", self.task.data["data.task"], "--folder", self.folder, "--variants", self.args.variants]
        made = f"{self.args.task}/augmented_{self.args.variants}.jsonl"
        return model and self.jobs.command(made, ["augment", model, *told, "--device", "cpu", "--output"])

    def fill(self, wanted: Sequence[tuple[str, int]]) -> None:
        """Hold the figures of settings and seeds, as far as the time goes."""
        if (teacher := self.teacher()) is None or (general := self.general()) is None:
            return
        for name, seed in wanted:
            if (runs := self.setting(name, seed, teacher, general)) is None:
                continue
            self.record.add(name, seed, measured(runs))
            self.record.add(TEACHER, seed, measured([teacher]))
            self.sizes(teacher, runs[-1])

    def setting(self, name: str, seed: int, teacher: Path, general: Path) -> list[Path] | None:
        """The runs of a setting, the last one with its student; None: the time is up."""
        args, start = self.args, str(general)
        epochs = args.epochs * (2 if name == LONG else 1)
        distill = {"method.teacher.from": str(teacher)}
        if "augmented" in name:
            if (rows := self.augmented()) is None:
                return None
            epochs, distill = args.augmented_epochs, {**distill, "data.augmented": str(rows)}
        shared = {"train.seed": seed, "train.optimizer.learning_rate": args.rate, "train.epochs": epochs}
        every = 1.01 * epochs / EVALUATIONS  # rounded down to whole updates it would be one evaluation more
        scored = {**shared, "evaluate.every_epochs": every}
        if name.startswith(LABELS):
            fresh = {"model.fresh": True} if "random" in name else {}
            last = self.run(f"{name}/{seed}", self.task.teacher, {**scored, **fresh, "model.from": start})
            return last and [last]
        runs = []
        if "1" in name:
            changes = {**shared, **distill, "model.from": start}
            if (inside := self.run(f"{name}, inside/{seed}", f"{self.task.stages}_inside", changes)) is None:
                return None
            runs, start = [inside], str(inside)
        changes = {**scored, **distill, "model.from": start}
        last = self.run(f"{name}/{seed}", f"{self.task.stages}_prediction", changes)
        return last and [*runs, last]

    def sizes(self, teacher: Path, student: Path) -> None:
        """Print parameters, FLOPs and latency of both, once."""
        made = f"{self.args.task}/sizes.json"
        self.jobs.command(made, ["compare", teacher, student, "--lengths", 32, 128, "--device", "cpu", "--json"])


def measured(runs: Sequence[Path]) -> dict[str, Any]:
    """What is told of runs one after the other, of which the last one counts.

    Returns:
        its `figure`, that decides; `updates` of each whole run, whichever evaluation was the best; `evaluations` of the
        last one after training has begun.
    """
    provenances = [read_json(model / "config.json")["provenance"] for model in runs]
    lines = (runs[-1].parent / METRICS).read_text(encoding="utf-8").splitlines()
    evaluations = sum(record["kind"] == "evaluate" and record["step"] > 0 for record in map(json.loads, lines))
    figure = round(float(figures_of(runs[-1].parent)["metric"]), 6)
    return {"figure": figure, "updates": [told["total"] for told in provenances], "evaluations": evaluations}


def table(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Means over seeds.

    Args:
        figures: setting -> seed -> what `measured` says; of `teacher` that of the seed's students.
    """
    scores = {name: {seed: told["figure"] for seed, told in seeds.items()} for name, seeds in figures.items()}
    labels = scores.get(LABELS, {})
    lines = [
        "| setting | dev figure | more than `labels` | seeds | updates | evaluations | |",
        "|---|" + "---:|" * 5 + "---|",
    ]
    for name, meaning in {TEACHER: "fine-tuned", **SETTINGS}.items():
        if not (seeds := scores.get(name, {})):
            continue
        more, cell = "", shown(list(seeds.values()))
        if name == TEACHER:
            cell = ", ".join(f"{value:.4f}" for value in sorted(set(seeds.values())))
        elif name != LABELS:
            more = shown([value - labels[seed] for seed, value in seeds.items() if seed in labels], "+")
        first = next(iter(figures[name].values()))
        steps = " + ".join(map(str, first["updates"]))
        told = [name, cell, more, str(len(seeds)), steps, str(first["evaluations"]), meaning]
        lines.append(f"| {' | '.join(told)} |")
    return "\n".join([*lines, "", "mean ± standard error over seeds; differences are taken seed by seed"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--model", type=Path, required=True, help="pretrained model folder: the teacher's beginning")
    parser.add_argument("--data", type=Path, required=True, help="folder of the task's official files")
    parser.add_argument("--corpus", type=Path, help="prepared text for general distillation (default: the recipe's)")
    parser.add_argument("--work", type=Path, required=True, help="where the jobs' folders go")
    parser.add_argument("--figures", type=Path, help="file of figures (default: figures.json in the task's folder)")
    parser.add_argument("--student", default="{}", help="JSON: changes of the student's shape")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--general-steps", type=int, default=1500, help="%(default)s")
    parser.add_argument("--teacher-epochs", type=int, default=3, help="%(default)s")
    parser.add_argument("--rate", type=float, default=3e-4, help="of every student (%(default)s)")
    parser.add_argument("--epochs", type=int, default=6, help="of every training of a student (%(default)s)")
    parser.add_argument("--augmented-epochs", type=int, default=2, help="the same on augmented rows (%(default)s)")
    parser.add_argument("--variants", type=int, default=4, help="of each text of an augmented row (%(default)s)")
    parser.add_argument("--minutes", type=float, help="begin no job after so many")
    args = parser.parse_args()
    with stop_signals() as signals:
        jobs = Comparison(args, signals)
        wanted = [(name, seed) for seed in args.seeds for name in args.settings if not jobs.record.has(name, seed)]
        if wanted:
            jobs.fill(wanted)
    print(table(jobs.record.figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
