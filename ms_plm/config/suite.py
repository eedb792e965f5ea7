"""Recipes of kind `suite`: the tasks of a benchmark, each by its own recipe, and the row of figures that they make."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ms_plm.config.grid import flat
from ms_plm.config.sections import Section

SHARED = ("model", "data", "train", "method", "evaluate", "impl", "log", "grid")
"""Sections of a suite that are laid over every task's recipe."""


MODEL = "model"
"""What `uses` calls the suite's own model.from."""


class SuiteTask(Section):
    """One task: its recipe, and what of its figures stands in the row."""

    recipe: str = Field(description="name of a shipped recipe, or a file (looked up beside the suite's first)")
    name: str | None = Field(None, description="of its run folder in the suite's; default: the recipe's name")
    title: str | None = Field(None, description="of its column; default: name")
    folder: tuple[str, ...] = Field((), description="names of its folder in data.folder; the first that is there")
    figures: tuple[str, ...] = Field(("metric",), min_length=1, description="of its column, by their names in the log")
    overrides: dict[str, Any] = Field({}, description="key -> value, for this task only")
    uses: dict[str, str] = Field(
        {},
        description="key -> name of a task before it, whose model is the value; `model`: the suite's own model.from. "
        "So stages follow one another: {model.from: width}",
    )

    @property
    def run(self) -> str:
        """The name of its run folder."""
        return self.name or self.recipe.replace("\\", "/").rpartition("/")[2].removesuffix(".yaml")

    @property
    def column(self) -> str:
        """The title of its column."""
        return self.title or self.run


class SuiteSection(Section):
    """Which tasks, in the order of the row's columns."""

    tasks: tuple[SuiteTask, ...] = Field(min_length=1, description="a list of {recipe, title, folder, figures}")
    absent: Literal["skip", "fail"] = Field("skip", description="what to do with a task whose files are not there")
    decimals: int = Field(1, ge=0, le=4, description="digits of the row's percentages behind the point")
    average: bool = Field(True, description="false: the figures are none to be averaged, as those of stages")

    @model_validator(mode="after")
    def _names(self) -> SuiteSection:
        runs = [task.run for task in self.tasks]
        twice = sorted({run for run in runs if runs.count(run) > 1})
        if twice:
            raise ValueError(f"tasks: {', '.join(twice)} stands twice; give each of them a name of its own")
        for number, task in enumerate(self.tasks):
            for key, name in task.uses.items():
                if name not in (MODEL, *runs[:number]):
                    known = ", ".join((MODEL, *runs[:number]))
                    raise ValueError(f"tasks: {task.run}: uses.{key}: {name} is none before it; expected {known}")
        return self


class SuiteOutput(Section):
    """Where results go."""

    folder: str | None = Field(None, description="run folder; default: runs/<suite's name>")
    checkpoints: bool = Field(False, description="keep those of finished runs; their models stay in any case")


class Suite(Section):
    """Several recipes as one. The sections from `model` to `grid` hold what is changed in every task's recipe."""

    kind: Literal["suite"]
    name: str = Field(description="default: the file's name")
    description: str = ""
    suite: SuiteSection
    model: dict[str, Any] = Field({}, description="for every task, such as model.from")
    data: dict[str, Any] = Field({}, description="for every task; data.folder holds a folder for each of them")
    train: dict[str, Any] = Field({}, description="for every task, such as train.repeats")
    method: dict[str, Any] = Field({}, description="for every task")
    evaluate: dict[str, Any] = Field({}, description="for every task")
    impl: dict[str, Any] = Field({}, description="for every task")
    log: dict[str, Any] = Field({}, description="for every task")
    grid: dict[str, Any] = Field({}, description="for every task")
    output: SuiteOutput = SuiteOutput()

    @property
    def form(self) -> Literal["suite"]:
        """What it is carried out as."""
        return "suite"

    @property
    def several(self) -> bool:
        """Whether it is carried out as several runs."""
        return True

    @property
    def parent(self) -> str | None:
        """The model that every task starts from, where the suite names it."""
        return self.model.get("from")

    @property
    def root(self) -> str | None:
        """The folder that holds the tasks' folders."""
        return self.data.get("folder")

    @property
    def place(self) -> str:
        """Where the tasks' run folders are."""
        return self.output.folder or f"runs/{self.name}"

    def used(self, task: SuiteTask) -> dict[str, str]:
        """What a task takes of those before it: dotted key -> model folder.

        Raises:
            ValueError: it takes the suite's model, and there is none.
        """
        if MODEL in task.uses.values() and self.parent is None:
            raise ValueError(f"tasks: {task.run} uses the suite's model; set model.from")
        return {key: self.parent if name == MODEL else f"{self.place}/{name}/model" for key, name in task.uses.items()}

    def shared(self) -> dict[str, Any]:
        """What is changed in every task's recipe, by dotted keys; without the folder of the data."""
        sections = {name: getattr(self, name) for name in SHARED}
        found = {".".join(path): value for path, value in flat(sections) if value != {}}
        found.pop("data.folder", None)
        return {**found, "output.checkpoints": self.output.checkpoints}
