"""Which runs a recipe is made of: a tree whose leaves are ordinary runs, each in a folder of its own.

A suite has a branch for each task, a grid one for each combination of values, repeats one for each seed; each may stand
inside the one before. Every branch and leaf is a run folder with its resolved recipe, so each can be shown, and carried
out by itself, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ms_plm.common.errors import UserError
from ms_plm.config.grid import point_name, points
from ms_plm.config.loading import changed, place, save_resolved, task_recipe
from ms_plm.config.recipe import Recipe
from ms_plm.config.resuming import check_same
from ms_plm.config.suite import Suite, SuiteTask
from ms_plm.data.benchmarks import TASKS
from ms_plm.data.benchmarks.reading import what_is_missing

Form = Literal["run", "repeats", "grid", "suite"]


@dataclass(frozen=True)
class Node:
    """A run, or several as one.

    Attributes:
        name: of its folder within the one above.
        folder: its run folder.
        recipe: its recipe; that of a leaf is one of one run.
        form: what its children are.
        children: in the order in which they are carried out; none for a run.
        point: what a child of a grid is: dotted key -> value.
        absent: run of a suite's task -> why it cannot be run.
    """

    name: str
    folder: Path
    recipe: Recipe | Suite
    form: Form
    children: tuple[Node, ...] = ()
    point: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def leaves(self) -> Iterator[Node]:
        """The runs themselves, in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def describe(self) -> str:
        """Such as `12 runs: 4 combinations x 3 seeds`."""
        count = len(list(self.leaves()))
        if self.form == "suite":
            return f"{count} run{'s' * (count != 1)} of {len(self.children)} tasks"
        parts = [f"{len(self.children)} {'combinations' if self.form == 'grid' else 'seeds'}"]
        if self.form == "grid" and self.children[0].form == "repeats":
            parts.append(f"{len(self.children[0].children)} seeds")
        return f"{count} runs: {' x '.join(parts)}"


def plan(recipe: Recipe | Suite, folder: Path, look: bool = True) -> Node:
    """The tree of a recipe's runs.

    Args:
        recipe: checked.
        folder: the run folder of the whole.
        look: whether the files of a suite's tasks are there; False: all are taken for granted.

    Raises:
        UserError: a suite's task has no files and may not be skipped, or none has; a column that its task has not.
    """
    return _node(recipe, folder, folder.name, look)


def runs_of(recipe: Recipe | Suite) -> str:
    """Such as `12 runs: 4 combinations x 3 seeds`; files are not looked for.

    Raises:
        UserError: a column that its task has not.
    """
    return plan(recipe, Path(recipe.name), look=False).describe()


def _node(recipe: Recipe | Suite, folder: Path, name: str, look: bool, **more: Any) -> Node:
    if isinstance(recipe, Suite):
        return _suite(recipe, folder, name, look)
    if recipe.form == "grid":
        children = []
        for point in points(recipe.grid):
            inner = point_name(point, recipe.grid)
            children.append(_node(_part(recipe, point, folder / inner), folder / inner, inner, look, point=point))
        return Node(name, folder, recipe, "grid", tuple(children), **more)
    if recipe.form == "repeats":
        children = []
        for seed in range(recipe.train.seed, recipe.train.seed + recipe.train.repeats):
            inner = f"seed-{seed}"
            values = {"train.seed": seed, "train.repeats": 1}
            children.append(_node(_part(recipe, values, folder / inner), folder / inner, inner, look))
        return Node(name, folder, recipe, "repeats", tuple(children), **more)
    return Node(name, folder, recipe, "run", **more)


def _part(recipe: Recipe, values: Mapping[str, Any], folder: Path) -> Recipe:
    """One of several: examples and exports are made of the result only."""
    made = changed(recipe, {**values, "output.folder": str(folder)})
    own = {"examples": (), "export": None, "compare": False}  # made once, of the result
    return made.model_copy(update={"output": made.output.model_copy(update=own)})


def _suite(suite: Suite, folder: Path, name: str, look: bool) -> Node:
    children, absent = [], {}
    for task in suite.suite.tasks:
        recipe = _in_folder(task_recipe(suite, task), folder / task.run)
        _check_column(task, recipe)
        gone = [name for name in task.uses.values() if name in absent]
        if why := f"{gone[0]}, which it goes on from, is skipped" if gone else look and files_missing(recipe):
            absent[task.run] = why
        else:
            children.append(_node(recipe, folder / task.run, task.run, look))
    if absent and (suite.suite.absent == "fail" or not children):
        raise UserError(
            f"{suite.name}: the files of {len(absent)} of {len(suite.suite.tasks)} tasks are not there: "
            + "; ".join(f"{run}: {why}" for run, why in absent.items())
            + " Set data.folder to the folder that holds the tasks' folders"
            + (", or suite.absent=skip." if children else ".")
        )
    return Node(name, folder, suite, "suite", tuple(children), absent=absent)


def _in_folder(recipe: Recipe, folder: Path) -> Recipe:
    """The same recipe with another run folder."""
    return recipe.model_copy(update={"output": recipe.output.model_copy(update={"folder": str(folder)})})


def _check_column(task: SuiteTask, recipe: Recipe) -> None:
    """A column is of figures that the task has, where that is known before it is run."""
    known = TASKS.get(getattr(recipe.data, "task", None) or "")
    if known is None:
        return
    _, *others = known.split_names("dev") or ("dev",)
    names = ["metric", *known.metrics, *(f"{split}_{metric}" for split in others for metric in known.metrics)]
    for figure in task.figures:
        if figure not in names:
            raise UserError(
                f"suite.tasks: {task.run}: {known.name} has no figure {figure!r}; it has {', '.join(names)}."
            )


def files_missing(recipe: Recipe) -> str | None:
    """Which files of a benchmark's task are not where the recipe looks for them; None: all are there, or it is not
    known which there should be."""
    task = TASKS.get(getattr(recipe.data, "task", None) or "")
    if task is None:
        return None
    names = [name for name in task.splits if not name.startswith("test")]
    return what_is_missing(task, place(recipe.data.folder), names)


def write_recipes(top: Node) -> None:
    """Every run's folder with its recipe; a run that exists has to be the same one.

    Raises:
        UserError: a run was started with another recipe; nothing is written then.
    """
    below = [node for child in top.children for node in _all(child)]
    for node in below:
        saved = node.folder / "recipe.yaml"
        if saved.is_file():
            check_same(saved, node.recipe)
    for node in below:
        node.folder.mkdir(parents=True, exist_ok=True)
        save_resolved(node.recipe, node.folder / "recipe.yaml")


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all(child)
