"""What `ms-plm doctor` tells of kernels. These functions import MindSpore; the doctor calls them in a child process."""

from __future__ import annotations

import logging

Row = tuple[str, str, str]

NATIVE = "from ms_plm.cli.doctor_kernels import native; print(*native(), sep='\\n')"
TABLE = "from ms_plm.cli.doctor_kernels import table; print(*table({device!r}, {precision!r}), sep='\\n')"
"""Code for the child."""


def native() -> tuple[str, str]:
    """`ok` and the library of native CPU operations, built if it is not yet there, or `absent` and why."""
    from ms_plm.kernels.native import build, library

    reason = library.unavailable()
    return ("ok", str(build.ensure())) if reason is None else ("absent", reason)


def rows(device: str, precision: str) -> list[Row]:
    """Every operation's implementations in training, as (operation, implementation, why or why not).

    An operation's first row, the only one with its name, is the form that `auto` takes; the others follow, those first
    that it would rather take.
    """
    from ms_plm.kernels import Call, Kernels
    from ms_plm.kernels.choice import implementations, rank, refusal
    from ms_plm.kernels.verified import proof

    kernels = Kernels(Call(device, compute=precision, training=True, chip=_chip(device)))
    made: list[Row] = []
    for operation, forms in implementations().items():
        refusals = {form.name: refusal(form, kernels.call) for form in forms}
        if all(refusals.values()):
            made.append((operation, "none", "no implementation serves this run"))
        else:
            chosen, reason = kernels.choose(operation)
            made.append((operation, chosen.name, reason.split("; passed over")[0]))
            refusals.pop(chosen.name)
        preferred = sorted(forms, key=lambda form: rank(form, kernels.call), reverse=True)
        for form in (form for form in preferred if form.name in refusals):
            record = None if form.proven else proof(form, kernels.call)
            verified = f"; verified on this machine {record.date}" if record else ""
            made.append(("", form.name, (refusals[form.name] or "slower") + verified))
    return made


def _chip(device: str) -> str | None:
    """The chip of this machine's Ascend device, where it has one."""
    from ms_plm.config.recipe import ImplSection
    from ms_plm.training.hardware import missing_for_ascend, open_device

    return None if device != "ascend" or missing_for_ascend() else open_device(ImplSection(device="ascend")).chip


def table(device: str, precision: str) -> list[str]:
    """The rows as aligned lines, then what the package warned of while it chose."""
    with _Warnings() as warned:
        made = rows(device, precision)
    operation, name = (max(len(row[column]) for row in made) for column in (0, 1))
    lines = [f"  {row[0]:<{operation}} {row[1]:<{name}} {row[2]}" for row in made]
    return lines + [f"  note: {message}" for message in dict.fromkeys(warned.messages)]


class _Warnings(logging.Handler):
    """Collects the package's warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> _Warnings:
        logging.getLogger("ms_plm").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("ms_plm").removeHandler(self)
