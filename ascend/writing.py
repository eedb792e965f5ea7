"""Whether results will find their place: asked before the minutes or hours that make them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ms_plm.common.errors import UserError


def need_folder(folder: Path, option: str) -> None:
    """Make a folder, and see that a file can be written into it.

    Raises:
        UserError: it cannot; `option` is what named it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{option} {folder}: expected a folder that can be written, found: {error.strerror}. Name another one."
        ) from error


def need_file(path: Path, option: str) -> None:
    """See that a file can be written, or replaced, at a path; its folder is made.

    Raises:
        UserError: it cannot; `option` is what named it.
    """
    if path.is_dir():
        raise UserError(f"{option} {path}: expected a file, found a folder. Name a file in it.")
    need_folder(path.parent, option)
