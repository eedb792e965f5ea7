"""What several runs give together: figures.json, report.md and, of one task, the best run's model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_plm.common.files import read_json, replacing_file, replacing_folder, write_json
from ms_plm.series.figures import FIGURES, Summary, finite, read_summary
from ms_plm.series.plan import Node
from ms_plm.series.row import row_of, row_table, task_table
from ms_plm.series.tables import grid_table, repeats_table

REPORT = "report.md"


def conclude(node: Node) -> None:
    """Write the summary of a branch whose runs are done; runs that failed are named in it."""
    if node.form == "suite":
        _conclude_suite(node)
        return
    summaries = {child.name: read_summary(child.folder) for child in node.children}
    found = {name: summary for name, summary in summaries.items() if summary is not None}
    facts: dict[str, Any] = {"recipe": node.recipe.name, "kind": node.recipe.kind}
    missing = [name for name in summaries if name not in found]
    if not found:
        (node.folder / FIGURES).unlink(missing_ok=True)
        _report(node, "No run has finished.")
        return
    if node.form == "repeats":
        summary = _joined(found)
        text = repeats_table(summary)
    else:
        best = max(found, key=lambda name: found[name].rank(found[name].mean(found[name].decides)))
        summary = found[best].within(best)
        points = {child.name: child.point for child in node.children}
        text = grid_table(found, missing, points)
        facts["points"] = [{"run": name, "values": points[name], **found[name].as_dict()} for name in found]
    _link_model(node, summary)
    facts |= summary.as_dict() | {"model": "model", "missing": missing}
    _report(node, text, _chosen_text(node, summary), _missing_text(node, missing))
    write_json(node.folder / FIGURES, facts)


def _joined(found: Mapping[str, Summary]) -> Summary:
    """Single runs as one summary."""
    first = next(iter(found.values()))
    repeats = [repeat for name, summary in found.items() for repeat in summary.within(name).repeats]
    return Summary(first.decides, first.higher, tuple(repeats))


def _link_model(node: Node, summary: Summary) -> None:
    """The best run's model as `model/`: the same file on disk, but its provenance says what it was best of."""
    best = summary.best()
    source = node.folder / best.run / "model"
    config = read_json(source / "config.json")
    value, mean, std = best.figures.get(summary.decides), summary.mean(summary.decides), summary.std(summary.decides)
    runs = len(list(node.leaves()))
    chosen = {"run": best.run, "of": runs, "by": summary.decides}
    chosen |= {name: finite(figure) for name, figure in (("value", value), ("mean", mean), ("std", std))}
    config["provenance"] = {**(config.get("provenance") or {}), "chosen": chosen}
    with replacing_folder(node.folder / "model") as temporary:
        for file in source.iterdir():
            if file.name == "config.json":
                write_json(temporary / file.name, config)
                continue
            try:
                os.link(file, temporary / file.name)
            except OSError:  # a file system without links
                shutil.copy2(file, temporary / file.name)


def _chosen_text(node: Node, summary: Summary) -> str:
    best, runs = summary.best(), len(list(node.leaves()))
    if summary.decides not in best.figures:
        return f"Nothing was measured on held-out data: `model/` is that of {best.run}, the first run."
    how = "highest" if summary.higher else "lowest"
    of = "the combination with the best mean, and in it " if node.form == "grid" and len(summary.repeats) > 1 else ""
    return (
        f"`model/` is that of {best.run}: {of}the run with the {how} {summary.deciding()} "
        f"({best.figures[summary.decides]:.4f}) of {runs} runs. As the best of several on the same held-out data this "
        "figure is too good; "
        + ("the mean is the one to report." if len(summary.repeats) > 1 else "measure it on others.")
    )


def _missing_text(node: Node, missing: list[str]) -> str:
    return f"Failed, and left out: {', '.join(missing)}. `--resume` tries again." if missing else ""


def _report(node: Node, *parts: str) -> None:
    with replacing_file(node.folder / REPORT) as temporary:
        title = f"# {node.recipe.name}\n\n{node.recipe.description}\n\n"
        temporary.write_text(title + "\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")


def _conclude_suite(node: Node) -> None:
    row = row_of(node)
    write_json(node.folder / FIGURES, row.as_dict())
    _report(node, row_table(row), task_table(row))


def report_text(folder: Path) -> str:
    """What report.md says below its title."""
    text = (folder / REPORT).read_text(encoding="utf-8")
    return text.split("\n\n", 2)[2].strip()


def add_to_report(folder: Path, parts: Sequence[str]) -> None:
    """Paragraphs at the end of report.md."""
    if parts:
        text = (folder / REPORT).read_text(encoding="utf-8")
        with replacing_file(folder / REPORT) as temporary:
            temporary.write_text(text + "\n" + "\n\n".join(parts) + "\n", encoding="utf-8")
