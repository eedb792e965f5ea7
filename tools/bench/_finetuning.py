"""The same fine-tuning by ms_plm and by transformers, every training in a process of its own.

What `tools/compare_finetuning.py` (figures) and `finetune.py` (seconds) share. The recipe says how both train; the rows
of both are read by ms_plm, and both are scored by it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
OURS, THEIRS = "ms_plm", "transformers"


@dataclass(frozen=True)
class Task:
    """A task and how long it is trained.

    Attributes:
        recipe: name of the shipped one that it is trained by.
        folder: of its files within the data folder.
        epochs: of both, unless others are asked for.
        metrics: figures that are compared.
        rows: examples that are trained on, drawn once; None: all.
    """

    recipe: str
    folder: str
    epochs: int
    metrics: tuple[str, ...]
    rows: int | None = None


TASKS = {
    "sst-2": Task("bert_base_sst2", "SST-2", 2, ("accuracy",), 10_000),
    "mrpc": Task("bert_base_mrpc", "MRPC", 2, ("accuracy", "f1")),
    "cola": Task("bert_base_cola", "CoLA", 2, ("matthews",)),
    "sts-b": Task("bert_base_sts-b", "STS-B", 2, ("pearson", "spearman")),
}


class Trainer:
    """Trains tasks from one encoder.

    Args:
        source: Hugging Face folder of the encoder; transformers reads it as it is, ms_plm what it converts it to.
        data: folder with the official files of every task in a folder of its own.
        peer: Python of an environment with torch and transformers.
        work: where the converted model and the rows go.
        threads: of either.
        learning_rate, batch: of both.
        epochs: of both; default: the task's.
        overrides: further `key=value` of the recipes; what only ms_plm has changes nothing for transformers.
    """

    def __init__(
        self,
        source: Path,
        data: Path,
        peer: str,
        work: Path,
        threads: int,
        learning_rate: float,
        batch: int = 32,
        epochs: int | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        from ms_plm.convert import convert

        self.source, self.data, self.work, self.threads = source.resolve(), data.resolve(), work.resolve(), threads
        self.epochs = epochs
        self.peer = os.path.abspath(shutil.which(peer) or peer)
        self.changes = {
            "train.batch": batch,
            "train.optimizer.learning_rate": learning_rate,
            "train.checkpoint.best": "none",  # the last state is scored, not the best on the dev set
            "impl.device": "cpu",
            **(overrides or {}),
        }
        self.encoder = hashlib.sha256((self.source / "model.safetensors").read_bytes()).hexdigest()[:16]
        self.model = self.work / "model"
        convert(self.source, self.model, overwrite=True)
        self._rows: dict[str, tuple[Path, Any, dict[str, Any]]] = {}

    def recipe(self, name: str, seed: int, every_epochs: float | None = None) -> tuple[dict[str, Any], Any]:
        """What is changed of the recipe of a task, and the whole of it."""
        from ms_plm.config.loading import load_recipe

        task = TASKS[name]
        changes = {
            **self.changes,
            "model.from": str(self.model),
            "data.folder": str(self._data(name)[0]),
            "train.epochs": self.epochs or task.epochs,
            "train.seed": seed,
            "evaluate.every_epochs": every_epochs or self.epochs or task.epochs,
        }
        return changes, load_recipe(task.recipe, changes)

    def settings(self, name: str, seed: int = 1, every_epochs: float | None = None) -> dict[str, Any]:
        """How both train, and from what."""
        recipe = self.recipe(name, seed, every_epochs)[1]
        optimizer = recipe.train.optimizer
        return {
            "encoder": self.encoder,
            "epochs": self.epochs or TASKS[name].epochs,
            "rows": TASKS[name].rows,
            "batch": recipe.train.batch,
            "max_length": recipe.data.max_length,
            "learning_rate": optimizer.learning_rate,
            "warmup": recipe.train.schedule.warmup_ratio,
            "weight_decay": optimizer.weight_decay,
            "betas": [optimizer.beta1, optimizer.beta2],
            "epsilon": optimizer.epsilon,
            "clip_norm": recipe.train.clip_norm,
        }

    def train(self, framework: str, name: str, seed: int, every_epochs: float | None = None) -> dict[str, Any]:
        """Train once, evaluate on the whole dev set every so many epochs (default: at the end).

        Returns:
            `scores` of the dev set at the end by metric, `seconds` of the whole process, its `cpu_seconds` on all
            cores and its `import_seconds`; `peak_mb`, `versions`; ms_plm's `compiled` graphs and `compile_seconds`.

        Raises:
            SystemExit: it failed; with its message.
        """
        _, task, rows = self._data(name)
        changes, recipe = self.recipe(name, seed, every_epochs)
        with tempfile.TemporaryDirectory(dir=self.work) as temporary:
            run = Path(temporary)
            if framework == OURS:
                job: dict[str, Any] = {"recipe": TASKS[name].recipe, "overrides": changes}
                job["overrides"]["output.folder"] = str(run / "run")
            else:
                settings = self.settings(name, seed, every_epochs)
                evaluated = {"every_epochs": recipe.evaluate.every_epochs, "output": str(run / "run")}
                job = {"model": str(self.source), "seed": seed, **settings, **evaluated, **rows}
            result = self._process(framework, job, run)
        if framework == THEIRS:
            result["scores"] = self._scores(task, name, np.array(result.pop("logits")))
        result["scores"] = {metric: result["scores"][metric] for metric in TASKS[name].metrics}
        return result

    def _process(self, framework: str, job: dict[str, Any], run: Path) -> dict[str, Any]:
        (run / "job.json").write_text(json.dumps(job), encoding="utf-8")
        python, script = (sys.executable, "_mindspore_finetune.py")
        if framework == THEIRS:
            python, script = (self.peer, "_torch_finetune.py")
        threads = str(self.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "GLOG_v": "3"}
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = subprocess.run(
            [python, str(HERE / script), "job.json", "result.json"],
            cwd=run,
            env=environment,
            capture_output=True,
            text=True,
        )
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if ran.returncode:
            raise SystemExit(f"{framework} failed (exit code {ran.returncode}):\n{ran.stdout}{ran.stderr}")
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            **json.loads((run / "result.json").read_text(encoding="utf-8")),
        }

    def _data(self, name: str) -> tuple[Path, Any, dict[str, Any]]:
        """Folder of a task's files as they are trained on, the task, its rows for transformers."""
        from ms_plm.data.benchmarks import TASKS as BENCHMARKS
        from ms_plm.data.benchmarks import read_split

        if name not in self._rows:
            task, benchmark = TASKS[name], BENCHMARKS[f"glue/{name}"]
            folder = self.data / task.folder
            if task.rows:
                folder = drawn(folder, self.work / task.folder, task.rows)
            train = read_split(benchmark, folder, "train")
            dev = read_split(benchmark, folder, "dev", train.labels)
            labels = train.labels if benchmark.kind == "classification" else None
            numbers = {label: number for number, label in enumerate(labels or ())}
            rows = {
                split: [
                    [example.text, example.pair, numbers[example.label] if labels else example.label]
                    for example in examples
                ]
                for split, examples in (("train", train.examples), ("dev", dev.examples))
            }
            self._rows[name] = folder, (benchmark, dev.examples, labels), {**rows, "classes": len(labels or (None,))}
        return self._rows[name]

    @staticmethod
    def _scores(task: tuple[Any, Any, Any], name: str, logits: np.ndarray) -> dict[str, float]:
        from ms_plm.evaluation.scoring import score

        benchmark, examples, labels = task
        if labels:
            return score(benchmark, examples, [labels[number] for number in logits.argmax(-1)], labels)
        values = np.clip(logits[:, 0].astype(np.float64), *(benchmark.bounds or (-np.inf, np.inf)))
        return score(benchmark, examples, values.tolist())


def drawn(folder: Path, to: Path, rows: int) -> Path:
    """A task's files with so many of the training lines, the same whenever it is asked for.

    Raises:
        SystemExit: `to` holds lines of other files.
    """
    header, *lines = (folder / "train.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    chosen = np.sort(np.random.default_rng(0).permutation(len(lines))[:rows])
    text, made = "".join([header, *(lines[number] for number in chosen)]), to / "train.tsv"
    if made.is_file() and made.read_text(encoding="utf-8") != text:
        raise SystemExit(
            f"{made}: was drawn from other files than those in {folder}; choose another folder to work in."
        )
    to.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "dev.tsv", to / "dev.tsv")  # not its permissions: it may be read-only
    made.write_text(text, encoding="utf-8")
    return to


@contextlib.contextmanager
def work_folder(given: Path | None):
    """The folder that is given, made if need be, or a temporary one."""
    if given is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
    else:
        given.mkdir(parents=True, exist_ok=True)
        yield given
