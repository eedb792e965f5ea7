"""A suite's row, as papers print it: a column a task, percentages, and the average of all figures in it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ms_plm.config.suite import Suite, SuiteTask
from ms_plm.series.figures import Summary, finite, mean_of, read_summary
from ms_plm.series.plan import Node
from ms_plm.series.tables import number, table

ABSENT = "-"


@dataclass(frozen=True)
class Column:
    """One task's part of the row.

    Attributes:
        task: its title, its run and which figures stand in the row.
        summary: None where there is no result.
        reason: why not.
    """

    task: SuiteTask
    summary: Summary | None
    reason: str = ""

    @property
    def state(self) -> str:
        """finished, absent (its files are), or failed."""
        return "finished" if self.summary else "absent" if self.reason else "failed"

    def values(self) -> list[float]:
        """Means of the figures of the row, as shares; nan where there is none."""
        return [self.summary.mean(name) if self.summary else math.nan for name in self.task.figures]

    def spreads(self) -> list[float | None]:
        """Their standard deviations."""
        return [self.summary.std(name) if self.summary else None for name in self.task.figures]


@dataclass(frozen=True)
class Row:
    """All columns in order."""

    suite: Suite
    columns: tuple[Column, ...]

    def average(self) -> float:
        """Of all figures of the row, each counted once (MNLI's two are two, as in the tables of BERT and TinyBERT);
        nan where one is missing."""
        return mean_of([value for column in self.columns for value in column.values()])

    def average_of_present(self) -> float:
        """The same over the figures that are there: no figure to compare with other rows."""
        return mean_of([v for column in self.columns for v in column.values() if not math.isnan(v)])

    def average_std(self) -> float | None:
        """Standard deviation over seeds of the average of all tasks; None unless all have the same seeds."""
        found = [column.summary for column in self.columns]
        if any(summary is None for summary in found):
            return None
        seeds = {tuple(repeat.seed for repeat in summary.repeats) for summary in found}
        if len(seeds) != 1 or len(next(iter(seeds))) < 2:
            return None
        averages = [
            mean_of(
                [
                    column.summary.repeats[number].figures.get(name, math.nan)
                    for column in self.columns
                    for name in column.task.figures
                ]
            )
            for number in range(len(next(iter(seeds))))
        ]
        return statistics.stdev(averages) if all(map(math.isfinite, averages)) else math.nan

    def as_dict(self) -> dict[str, Any]:
        """For JSON: shares, not percentages; None for what is not there."""
        columns = []
        for column in self.columns:
            names = column.task.figures
            facts: dict[str, Any] = {"title": column.task.column, "run": column.task.run, "state": column.state}
            if column.reason:
                facts["reason"] = column.reason
            facts["row"] = _named(names, column.values())
            if column.summary:
                facts |= column.summary.as_dict()
            columns.append(facts)
        return {
            "suite": self.suite.name,
            "model": self.suite.parent,
            "columns": columns,
            "average": finite(self.average()),
            "average_std": finite(self.average_std()),
            "average_of_present": finite(self.average_of_present()),
        }


def row_of(node: Node) -> Row:
    """The row of a suite's runs as far as they are finished."""
    columns = []
    for task in node.recipe.suite.tasks:
        absent = node.absent.get(task.run, "")
        columns.append(Column(task, None if absent else read_summary(node.folder / task.run), absent))
    return Row(node.recipe, tuple(columns))


def row_table(row: Row) -> str:
    """The row in Markdown, and what has to be known to read it."""
    suite = row.suite
    digits = suite.suite.decimals
    cells = [
        "/".join(percent(v, s, digits) for v, s in zip(c.values(), c.spreads(), strict=True)) if c.summary else ABSENT
        for c in row.columns
    ]
    head, line = ["model", *(column.task.column for column in row.columns)], [suite.parent or "as recipes say", *cells]
    if suite.suite.average:
        head, line = [*head, "avg"], [*line, percent(row.average(), row.average_std(), digits)]
    made = table(head, [line])
    notes = ["Dev sets, per cent" + ("; mean ± standard deviation over seeds." if _repeated(row) else ", one seed.")]
    present = sum(1 for column in row.columns if column.summary)
    if present < len(row.columns):
        figure = percent(row.average_of_present(), None, digits)
        average = f"; their average, {figure}, is none to compare with" if suite.suite.average else ""
        notes.append(f"{present} of {len(row.columns)} tasks are there{average}.")
        notes += [f"{c.task.column}: {c.reason or 'failed'}" for c in row.columns if not c.summary]
    return made + "\n\n" + "\n".join(f"- {note}" for note in notes)


def task_table(row: Row) -> str:
    """Every figure of every task."""
    rows = []
    for column in row.columns:
        if not column.summary:
            continue
        summary = column.summary
        figures = ", ".join(f"{name} {number(summary.mean(name), summary.std(name))}" for name in summary.names())
        rows.append([column.task.column, column.task.run, str(len(summary.repeats)), figures])
    return table(["task", "run folder", "seeds", "figures on dev"], rows, 4) if rows else ""


def percent(value: float, std: float | None, digits: int) -> str:
    """Such as 84.6 or 84.6±0.3."""
    if math.isnan(value):
        return ABSENT
    return f"{100 * value:.{digits}f}" + ("" if std is None or math.isnan(std) else f"±{100 * std:.{digits}f}")


def _repeated(row: Row) -> bool:
    return any(column.summary and len(column.summary.repeats) > 1 for column in row.columns)


def _named(names: Sequence[str], values: Sequence[float]) -> Mapping[str, float | None]:
    return {name: finite(value) for name, value in zip(names, values, strict=True)}
