"""Runs that cost nothing: what a child process would leave in a run folder, with figures that its recipe decides."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from ms_plm.common.files import write_json
from ms_plm.config.loading import load_recipe
from ms_plm.data.benchmarks import TASKS
from ms_plm.series import running
from ms_plm.series.figures import write_run_figures

FILES = {
    "CoLA": ("train.tsv", "dev.tsv"),
    "MNLI": ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"),
    "MRPC": ("train.tsv", "dev.tsv"),
    "QNLI": ("train.tsv", "dev.tsv"),
    "QQP": ("train.tsv", "dev.tsv"),
    "RTE": ("train.tsv", "dev.tsv"),
    "SST-2": ("train.tsv", "dev.tsv"),
    "STS-B": ("train.tsv", "dev.tsv"),
}


class FakeRuns:
    """Stands where `run_in_process` does.

    Attributes:
        carried: folders of the runs that were started, below `top`, in order, with their overrides.
        ends: folder below `top` -> how its next run ends: a code, `budget`, `signal` or `no start`.
        value: recipe -> the figure that decides.
    """

    def __init__(self) -> None:
        self.top = Path()
        self.carried: list[str] = []
        self.overrides: list[Sequence[str]] = []
        self.ends: dict[str, int | str] = {}
        self.value = lambda recipe: 0.5 + recipe.train.seed / 100

    def __call__(self, folder: Path, overrides: Sequence[str], signals: Sequence[str]) -> int:
        name = str(folder.relative_to(self.top))
        self.carried.append(name)
        self.overrides.append(overrides)
        end = self.ends.pop(name, 0)
        if end == "no start":
            return 1
        (folder / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
        (folder / "checkpoints").mkdir(exist_ok=True)
        if end == "signal":
            signal.raise_signal(signal.SIGTERM)
            assert list(signals) == ["SIGTERM"]
            return 1
        if end == "budget" or end:
            return 0 if end == "budget" else int(end)
        recipe = load_recipe(folder)
        value = self.value(recipe)
        names = TASKS[recipe.data.task].metrics
        others = ("dev_mismatched_accuracy",) * (recipe.data.task == "glue/mnli")
        figures = {"loss": 1 - value, **dict.fromkeys((*names, *others), value), "metric": value}
        (folder / "model").mkdir(exist_ok=True)
        config = {"architectures": ["BertForSequenceClassification"], "provenance": {"steps": 7, "figures": figures}}
        write_json(folder / "model" / "config.json", config)
        (folder / "model" / "model.safetensors").write_text(name, encoding="utf-8")
        write_run_figures(recipe, folder)
        return 0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuns:
    """Runs that cost nothing; they are expected in `tmp_path/run`."""
    made = FakeRuns()
    made.top = tmp_path / "run"
    monkeypatch.setattr(running, "run_in_process", made)
    return made


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    """A folder with GLUE's files as far as they are looked for: their names."""
    for task, names in FILES.items():
        (tmp_path / "GLUE" / task).mkdir(parents=True)
        for name in names:
            (tmp_path / "GLUE" / task / name).touch()
    return tmp_path / "GLUE"
