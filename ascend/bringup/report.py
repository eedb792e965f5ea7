"""What bring-up leaves behind: bringup.md for people, verified.json for `ms_plm.kernels.verified`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm.kernels.verified import Record, file_path, read_records, write_records
from ms_plm_ascend.bringup.check import Check, Verdict

log = logging.getLogger(__name__)
Answer = tuple[Check, Verdict]
_WORDS = {True: "yes", False: "NO", None: "-"}


def write_report(path: Path, machine: dict[str, str], answers: Sequence[Answer]) -> None:
    """Write bringup.md."""
    lines = ["# First run on a device", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in machine.items()]
    lines += ["", "| check | as needed | answer |", "|---|---|---|"]
    lines += [f"| {check.name} | {_WORDS[verdict.passed]} | {_cell(verdict.answer)} |" for check, verdict in answers]
    for check, verdict in answers:
        lines += ["", f"## {check.name}", "", f"{check.question} Asked by: {check.how}.", "", verdict.answer]
        if verdict.passed is False:
            lines += ["", f"**What to do:** {check.otherwise}."]
        if verdict.figures:
            lines += ["", "| figure | value |", "|---|---|"]
            lines += [f"| {name} | {value:.3g} |" for name, value in verdict.figures.items()]
    with replacing_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write_verified(path: Path, answers: Sequence[Answer], chip: str | None) -> list[Record]:
    """Write verified.json: what passed now, and what an earlier file says of other chips or of forms not asked now.

    Returns:
        The records of now.
    """
    made = [Record(**verdict.record) for _, verdict in answers if verdict.record]
    asked = {check.name for check, _ in answers}
    kept: list[Record] = []
    if path.is_file():
        try:
            kept = [r for r in read_records(path) if r.chip != chip or f"{r.operation}-{r.form}-{r.dtype}" not in asked]
        except UserError as error:
            log.warning("the file that was there is replaced: %s", error)
    write_records(path, [*kept, *made])
    return made


def closing_words(path: Path, made: Sequence[Record]) -> list[str]:
    """What to tell in the end."""
    if not made:
        return ["no implementation was verified; `auto` stays with what it took before"]
    names = ", ".join(f"{record.operation} {record.form} ({record.dtype})" for record in made)
    lines = [f"verified on this machine: {names}; `auto` takes them from now on"]
    if path.resolve() != file_path().resolve():
        lines.append(f"where MS_PLM_VERIFIED names the list: export MS_PLM_VERIFIED={path.resolve()}")
    return lines
