"""What a comparison of models found, as rows, as a Markdown table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ms_plm.common.files import write_json
from ms_plm.config.model import ModelConfig
from ms_plm.export.sizes import FolderSizes
from ms_plm.models.folder import WEIGHTS

WARM_UP = 3
"""Calls of every file before the first that counts; the first one compiles."""


@dataclass(frozen=True)
class Compared:
    """One model of a comparison; what could not be had is absent from the mappings.

    Attributes:
        name: tells it from the others.
        folder: model folder.
        config: its shape.
        sizes: of the folder.
        head: for a task, that the folder has; None where it has none.
        task: what its figures are of; None where config.json does not say.
        figures: held-out figures that config.json records.
        flops: of one forward of one sequence, by length.
        mindir_bytes: of the exported file, by length.
        seconds: of every call at batch 1, by length.
    """

    name: str
    folder: Path
    config: ModelConfig
    sizes: FolderSizes
    head: str | None
    task: str | None
    figures: Mapping[str, float]
    flops: Mapping[int, int] = field(default_factory=dict)
    mindir_bytes: Mapping[int, int] = field(default_factory=dict)
    seconds: Mapping[int, Sequence[float]] = field(default_factory=dict)

    @property
    def shape(self) -> str:
        """Layers, size, heads and intermediate size in a few words."""
        config, layers = self.config, range(self.config.num_hidden_layers)
        heads, inner = _span(map(config.heads, layers)), _span(map(config.intermediate, layers))
        return f"{len(layers)} x {config.hidden_size} ({heads} heads, {inner})"


@dataclass(frozen=True)
class Row:
    """A quantity of all models; None where it could not be had.

    Attributes:
        title: for people.
        values: one a model.
        shown: a value as text.
        compared: less of it is better, so that ratios say something.
    """

    title: str
    values: tuple[float | None, ...]
    shown: Callable[[float], str]
    compared: bool = True

    @property
    def ratios(self) -> tuple[float | None, ...]:
        """The first model's value, divided by each."""
        first = self.values[0]
        return tuple(first / value if first and value else None for value in self.values)

    def cells(self) -> list[str]:
        """Title and values, from the second model on with its ratio."""
        texts = ["-" if value is None else self.shown(value) for value in self.values]
        if self.compared:
            ratios = ["", *(f" ({ratio:.2f}x)" if ratio else "" for ratio in self.ratios[1:])]
            texts = [text + ratio for text, ratio in zip(texts, ratios, strict=True)]
        return [self.title, *texts]


@dataclass(frozen=True)
class Comparison:
    """What `ms_plm.export.comparison.compare_models` found.

    Attributes:
        models: the first is the one that the others are compared with.
        head: of the graphs that were exported.
        lengths: S, ascending.
        rounds, calls: turns of every model, and calls in a turn.
        machine: device, threads and load average that the latency belongs to.
        problems: what could not be done, a sentence each.
        notes: what a reader should know besides.
    """

    models: tuple[Compared, ...]
    head: str
    lengths: tuple[int, ...]
    rounds: int
    calls: int
    machine: Mapping[str, Any]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def rows(self) -> list[Row]:
        """All quantities, in the order of the table."""

        def row(title: str, value: Callable[[Compared], float | None], shown: Callable[[float], str]) -> Row:
            return Row(title, tuple(map(value, self.models)), shown)

        rows = [
            row("parameters", lambda m: m.sizes.parameters, _count),
            row("parameters with heads", lambda m: m.sizes.parameters_with_heads, _count),
            row(WEIGHTS, lambda m: m.sizes.weights_bytes, _megabytes),
            *(row(f"MindIR, length {n}", lambda m, n=n: m.mindir_bytes.get(n), _megabytes) for n in self.lengths),
            *(row(f"FLOPs, length {n}", lambda m, n=n: m.flops.get(n), _count) for n in self.lengths),
        ]
        for n in self.lengths:
            for how, reduce in (("min", min), ("median", statistics.median)):
                title = f"latency, length {n}, {how}"
                rows.append(row(title, lambda m, n=n, f=reduce: f(m.seconds[n]) if n in m.seconds else None, _time))
        names = dict.fromkeys(name for model in self.models for name in model.figures)
        return rows + [Row(n, tuple(m.figures.get(n) for m in self.models), "{:.4f}".format, False) for n in names]

    def table(self) -> str:
        """A Markdown table with a column for each model, and below it what its figures mean and depend on."""
        cells = [["", *(m.name for m in self.models)], ["layers x hidden", *(m.shape for m in self.models)]]
        cells += [row.cells() for row in self.rows()]
        return "\n".join([*_markdown(cells), "", *self.explanation()])

    def explanation(self) -> list[str]:
        """What the figures mean, where they were measured, what is missing: a line each."""
        machine, threads = self.machine, self.machine["threads"]
        where = f"on this machine ({machine['device']}), {threads} thread{'s' if threads > 1 else ''}"
        turns = f"{self.rounds} rounds of {self.calls} calls by turns after {WARM_UP} each"
        lines = [
            "In brackets: the first model's value divided by this one's. Parameters: encoder and pooler. FLOPs: of one "
            "sequence, 2 x multiply-adds of all matrix products.",
            f"Latency: {where}; MindIR files (head {self.head}, batch 1, no padding) reloaded in one process, {turns}; "
            f"load average {machine['load_before']} before, {machine['load_after']} after.",
        ]
        if any(model.figures for model in self.models):
            lines.append("Held-out figures: what each folder's config.json records.")
        return [*lines, *self.notes, *(f"NOT DONE: {problem}" for problem in self.problems)]

    def ratios(self) -> tuple[list[str], dict[str, list[float | None]]]:
        """For a picture: titles of the quantities that are compared, and by model the ratios to the first one's."""
        rows = [row for row in self.rows() if row.compared and any(row.ratios)]
        models = enumerate(self.models[1:], 1)
        return [row.title for row in rows], {m.name: [row.ratios[index] for row in rows] for index, m in models}

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all figures by model, and ratios to the first by the titles of the table's rows."""
        ratios = {row.title: row.ratios for row in self.rows() if row.compared}
        models = [
            {
                "name": m.name,
                "folder": str(m.folder),
                "config": m.config.to_huggingface(),
                **asdict(m.sizes),
                "task": m.task,
                "figures": dict(m.figures),
                "flops": dict(m.flops),
                "mindir_bytes": dict(m.mindir_bytes),
                "seconds": {length: list(values) for length, values in m.seconds.items()},
                "ratios": {title: values[index] for title, values in ratios.items()},
            }
            for index, m in enumerate(self.models)
        ]
        names = ("head", "lengths", "rounds", "calls", "machine", "problems", "notes")
        return {"models": models, "warm_up": WARM_UP, **{name: getattr(self, name) for name in names}}

    def write(self, path: str | Path) -> None:
        """Write `as_dict` as JSON."""
        write_json(path, self.as_dict())


def _span(values: Iterable[int]) -> str:
    """`12`, or `6-12` where layers differ."""
    least, most = min(values := list(values)), max(values)
    return f"{least}" if least == most else f"{least}-{most}"


def _count(value: float) -> str:
    """Four digits with K, M or B (a thousand millions)."""
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " K")):
        if value >= size:
            return f"{value / size:#.4g}{unit}"
    return f"{value:.0f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:#.4g} MB"


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:#.4g} ms"


def _markdown(cells: Sequence[Sequence[str]]) -> list[str]:
    """Rows as a Markdown table whose columns also stand below each other as plain text; the first row is its head."""
    cells = [[text.replace("|", "\\|") for text in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        others = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append(f"| {' | '.join([row[0].ljust(widths[0]), *others])} |")
    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return [lines[0], f"|{rule}|", *lines[1:]]
