"""What verbs that draw share: whether a picture can be written, asked before the work that it needs."""

from __future__ import annotations

from pathlib import Path

from ms_plm.common.errors import UsageError, UserError


def check_picture(option: str, path: str, needed: bool = True) -> None:
    """Before a model is opened, rather than after.

    Args:
        option: of the command line, such as `--output`.
        path: given with it.
        needed: without matplotlib there is nothing left to do.

    Raises:
        UserError: matplotlib is needed and not installed.
        UsageError: it does not write such files.
    """
    from ms_plm.pictures.canvas import REMEDY, writable_formats

    formats = writable_formats()
    if needed and not formats:
        raise UserError(f"{option}: pictures need matplotlib, which is not installed; {REMEDY}.")
    ending = Path(path).suffix[1:].lower()
    if formats and ending and ending not in formats:
        raise UsageError(f"{option} {path}: expected a name that ends in one of {', '.join(sorted(formats))}.")
