"""What a conversion did: each tensor's way, what was assumed, and how exact the result is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from ms_plm.convert.schemes import STATE


@dataclass(frozen=True)
class Row:
    """A tensor of the source.

    Attributes:
        source: its name there.
        shape: there.
        dtype: there.
        action: taken | renamed | transposed (which renames as well) | skipped.
        target: its name in the new folder; None: skipped.
        reason: why it was skipped.
    """

    source: str
    shape: tuple[int, ...]
    dtype: str
    action: str
    target: str | None = None
    reason: str = ""


@dataclass
class Report:
    """A whole conversion, or one as far as it came; `to_json` is what `--report` writes.

    Attributes:
        source: path of the checkpoint.
        format: how its bytes are laid out.
        names: whose names it has.
        files: file name to SHA-256.
        model: the new configuration, in a line.
        rows: every tensor of the source.
        missing: tensors of the encoder that the source does not have, under their new names; an error.
        absent: heads that the source does not have.
        unexpected: tensors that nothing is known about.
        notes: what was assumed or left out.
        target: the new folder; None: a dry run.
        compared: tensors read back.
        largest_difference: between a source tensor and what was read back, in the source's layout.
        error: why there is no result; None: there is one.
    """

    source: str
    format: str = ""
    names: str = ""
    files: dict[str, str] = field(default_factory=dict)
    model: str = ""
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    target: str | None = None
    compared: int = 0
    largest_difference: float | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For `write_json`."""
        return asdict(self)

    def describe(self) -> str:
        """For the terminal: layers are folded into one line."""
        lines = [f"source: {self.source}, {self.format} file, names of {self.names}", f"model: {self.model}", ""]
        lines += _table(self.rows)
        counts = {action: sum(row.action == action for row in self.rows) for action in _ACTIONS}
        lines += ["", "tensors: " + ", ".join(f"{count} {action}" for action, count in counts.items() if count)]
        if self.absent:
            lines.append(f"not in the source: {', '.join(self.absent)}")
        if self.unexpected:
            lines.append(f"unexpected, not taken: {', '.join(self.unexpected)}")
        lines += [f"note: {note}" for note in self.notes]
        if self.target is None:
            lines.append("dry run: nothing was written")
        else:
            lines.append(
                f"read back: {self.compared} tensors, largest difference {self.largest_difference:.3g}"
                + (" (bit for bit)" if self.largest_difference == 0 else "")
            )
        return "\n".join(lines)


_ACTIONS = ("taken", "renamed", "transposed", "skipped")


def _table(rows: Sequence[Row]) -> list[str]:
    """Lines of equal columns; tensors that differ by the layer's number alone share one, and so do optimizer slots."""
    folded: dict[tuple[str, str, str], int] = {}
    for row in rows:
        result = "" if row.target == row.source else row.target or row.reason
        name = "..." if row.reason == STATE else _without_layer(row.source)
        key = (name, row.action, _without_layer(result))
        folded[key] = folded.get(key, 0) + 1
    wide = max((len(name) for name, _, _ in folded), default=0)
    return [
        f"  {name:{wide}}  {f'x{count}' if count > 1 else '':>4}  {action:10}  {result}".rstrip()
        for (name, action, result), count in sorted(folded.items(), key=lambda item: item[0][0] == "...")
    ]


_LAYER = re.compile(r"\b(layers?[._])(\d+)")


def _without_layer(name: str) -> str:
    return _LAYER.sub(r"\1N", name)


def folded(names: Iterable[str]) -> list[str]:
    """Names, those that differ by the layer's number alone as one: `encoder.layer.N.output.dense.bias (N = 0-3, 5)`."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_without_layer(name), []).append(name)
    return [
        same[0] if len(same) == 1 else f"{name} (N = {_ranges(int(_LAYER.search(one)[2]) for one in same)})"
        for name, same in alike.items()
    ]


def _ranges(numbers: Iterable[int]) -> str:
    runs = []
    for _, run in groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        runs.append(f"{members[0]}-{members[-1]}" if len(members) > 1 else f"{members[0]}")
    return ", ".join(runs)
