"""Versions of what computation stands on: MindSpore, and CANN on Ascend. Told from files, without importing either."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def mindspore_release() -> str | None:
    """The version of MindSpore that is installed; None where there is none."""
    try:
        return version("mindspore")
    except PackageNotFoundError:
        return None


def cann_release() -> str | None:
    """The version that CANN's folder (ASCEND_HOME_PATH) gives as its own, such as 8.3.RC1; None where there is none."""
    path = Path(os.environ.get("ASCEND_HOME_PATH") or "/nowhere") / "compiler" / "version.info"
    try:
        match = re.search(r"^Version=(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return match.group(1) if match else None
