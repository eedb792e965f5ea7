"""What distillation is worth: a small student learns a task from labels alone, and from a teacher in TinyBERT's ways.

Independent jobs, each a run folder of its own under --work: the teacher and the student of general distillation once,
then every setting with every seed. Jobs that are finished are not done again, one that was cut goes on from its newest
checkpoint; --minutes ends the call after the job that passes them. The table is made of the finished ones:

    ms-plm prepare DATA/corpus/en --one-per-line --vocab TEACHER --holdout 0.02 --output prepared/en
    ms-plm augment --task glue/sst-2 ... (for the setting `augmented`, see its help)
    python tools/compare_distillation.py sst-2 --model TEACHER --data DATA/glue/SST-2 --corpus prepared/en --work work
    python tools/compare_distillation.py sst-2 ... --augmented sst2_augmented.jsonl

TEACHER is a pretrained model folder, which is fine-tuned on the task first. Every setting trains the same student, on
the same rows (or their variants), and is scored by the best of its evaluations on the whole dev set (one an epoch).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from _jobs import Jobs, figures_of, is_finished, shown

from ms_plm.series.figures import FIGURES

TASKS = {
    "sst-2": {"data.task": "glue/sst-2", "data.max_length": 64, "data.rows": 8000},
    "mrpc": {"data.task": "glue/mrpc", "data.max_length": 128},
    "chnsenticorp": {"data.task": "chnsenticorp", "data.max_length": 128, "data.without_train_texts": True},
}
SETTINGS = {
    "labels, random weights": "the student's shape, new weights, fine-tuned on the labels",
    "labels": "the student of general distillation, fine-tuned on the labels",
    "stage 2": "the same student, the teacher's predictions alone",
    "stages 1+2": "first what goes on inside the teacher, then its predictions",
    "stages 1+2, augmented": "the same on augmented rows",
}
INSIDE = {"embedding": 1.0, "hidden": 1.0, "attention": 1.0}
NONE = dict.fromkeys(INSIDE)


class Comparison:
    """The jobs of a task.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.work = args, args.work / args.task
        self.task = {**TASKS[args.task], "data.folder": str(args.data)}
        common = {"impl.device": "cpu", "impl.precision": args.precision, "log.every": 50}
        self.run = Jobs(self.work, args.minutes, common).run

    def common(self) -> tuple[Path, Path] | None:
        """The fine-tuned teacher and the student of general distillation."""
        args = self.args
        student = {f"model.{key}": value for key, value in json.loads(args.student).items()}
        rate = {"train.optimizer.learning_rate": args.teacher_rate, "train.epochs": args.teacher_epochs}
        teacher = self.run(
            "teacher", "bert_base_sst2", {**self.task, **rate, "model.from": str(args.model), "train.seed": 1}
        )
        general = teacher and self.run(
            "general",
            "tinybert_small_general",
            {
                **student,
                "method.teacher.from": str(args.model),
                "data.corpus": str(args.corpus),
                "train.steps": args.general_steps,
            },
        )
        return (teacher, general) if general else None

    def setting(self, name: str, seed: int, teacher: Path, general: Path) -> Path | None:
        """The student of a setting."""
        args = self.args
        shared = {**self.task, "train.seed": seed, "train.optimizer.learning_rate": args.rate}
        shared |= {"train.epochs": args.epochs, "train.batch": 32}
        if name.startswith("labels"):
            fresh = {"model.fresh": True} if "random" in name else {}
            return self.run(f"{name}/{seed}", "bert_base_sst2", {**shared, **fresh, "model.from": str(general)})
        distill = {**shared, "method.teacher.from": str(teacher)}
        if "augmented" in name:
            distill |= {"data.augmented": str(args.augmented), "train.epochs": args.augmented_epochs}
        student: Path | None = general
        if "1" in name:
            inside = {**distill, "model.from": str(general)}
            student = self.run(f"{name}, inside/{seed}", "tinybert_4l_sst2_inside", inside)
        return student and self.run(
            f"{name}/{seed}", "tinybert_4l_sst2_prediction", {**distill, "model.from": str(student)}
        )


def score(folder: Path) -> float:
    """The figure that decides, of a finished job."""
    return float(figures_of(folder)["metric"])


def table(work: Path) -> str:
    """Means over the finished seeds of every setting."""
    lines = ["| setting | dev figure | seeds | |", "|---|---:|---:|---|"]
    if is_finished(work / "teacher"):
        lines.append(f"| teacher | {score(work / 'teacher'):.4f} | 1 | fine-tuned |")
    for name, text in SETTINGS.items():
        values = [score(folder.parent) for folder in sorted((work / name).glob(f"*/{FIGURES}"))]
        if values:
            lines.append(f"| {name} | {shown(values)} | {len(values)} | {text} |")
    return "\n".join([*lines, "", "mean ± standard error over seeds"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--model", type=Path, required=True, help="pretrained model folder: the teacher's beginning")
    parser.add_argument("--data", type=Path, required=True, help="folder of the task's official files")
    parser.add_argument("--corpus", type=Path, required=True, help="prepared text for general distillation")
    parser.add_argument("--work", type=Path, required=True, help="where the run folders go")
    parser.add_argument("--student", default="{}", help="JSON: changes of the student's shape")
    parser.add_argument("--augmented", type=Path, help="rows made by `ms-plm augment` of the same training set")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, help="default: all; augmented with --augmented only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--general-steps", type=int, default=1500, help="%(default)s")
    parser.add_argument("--teacher-rate", type=float, default=5e-5, help="%(default)s")
    parser.add_argument("--teacher-epochs", type=int, default=3, help="%(default)s")
    parser.add_argument("--rate", type=float, default=3e-4, help="of every student (%(default)s)")
    parser.add_argument("--epochs", type=int, default=6, help="of every training of a student (%(default)s)")
    parser.add_argument("--augmented-epochs", type=int, default=2, help="the same on augmented rows (%(default)s)")
    parser.add_argument("--minutes", type=float, help="begin no job after so many")
    args = parser.parse_args()
    jobs, settings = Comparison(args), args.settings or [n for n in SETTINGS if args.augmented or "augmented" not in n]
    if (found := jobs.common()) is not None:
        for seed in args.seeds:
            for name in settings:
                jobs.setting(name, seed, *found)
    print(table(jobs.work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
