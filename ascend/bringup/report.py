"""What bring-up leaves behind: bringup.md for people, verified.json for `ms_plm.kernels.verified`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm.kernels.verified import Record, file_path, read_records, write_records
from ms_plm_ascend.bringup.check import Check, Verdict

log = logging.getLogger(__name__)
Answer = tuple[Check, Verdict]
_WORDS = {True: "yes", False: "NO", None: "-"}


def withheld(answers: Sequence[Answer]) -> dict[str, list[str]]:
    """Forms, as `OPERATION-FORM`, that do not count as verified whatever their own check says: an open question that
    they rest on was answered otherwise. With the names of those questions."""
    found: dict[str, list[str]] = {}
    for check, verdict in answers:
        if verdict.passed is False:
            for form in check.gates:
                found.setdefault(form, []).append(check.name)
    return found


def write_report(path: Path, machine: dict[str, str], answers: Sequence[Answer]) -> None:
    """Write bringup.md."""
    answers = _with_reasons(answers)
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


def _with_reasons(answers: Sequence[Answer]) -> list[Answer]:
    """The answers, with what keeps a form that is right from being written down."""
    lacking = withheld(answers)
    told = []
    for check, verdict in answers:
        if verdict.record and (names := lacking.get(_form(Record(**verdict.record)))):
            answer = f"{verdict.answer}; NOT in verified.json, since it rests on {', '.join(names)}"
            verdict = replace(verdict, answer=answer)
        told.append((check, verdict))
    return told


def _form(record: Record) -> str:
    return f"{record.operation}-{record.form}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write_verified(path: Path, answers: Sequence[Answer], chip: str | None) -> list[Record]:
    """Write verified.json: what passed now, and what an earlier file says of other chips or of forms not asked now.

    Of this chip, nothing that is `withheld` is in it.

    Returns:
        The records of now.
    """
    lacking, asked = withheld(answers), {check.name for check, _ in answers}
    found = [Record(**verdict.record) for _, verdict in answers if verdict.record]
    made = [record for record in found if _form(record) not in lacking]
    earlier: Sequence[Record] = ()
    if path.is_file():
        try:
            earlier = read_records(path)
        except UserError as error:
            log.warning("the file that was there is replaced: %s", error)
    others = [record for record in earlier if record.chip != chip]
    unasked = [record for record in earlier if record.chip == chip and f"{_form(record)}-{record.dtype}" not in asked]
    kept = others + [record for record in unasked if _form(record) not in lacking]
    write_records(path, [*kept, *made])
    return made


def closing_words(path: Path, made: Sequence[Record]) -> list[str]:
    """What to tell in the end."""
    if not made:
        return ["no implementation was verified; `auto` stays with what it took before"]
    names = ", ".join(f"{record.operation} {record.form} ({record.dtype})" for record in made)
    lines = [f"verified on this machine: {names}; `auto` takes them where they were faster"]
    if path.resolve() != file_path().resolve():
        lines.append(f"where MS_PLM_VERIFIED names the list: export MS_PLM_VERIFIED={path.resolve()}")
    return lines
