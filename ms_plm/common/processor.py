"""The processor that this process runs on: model, features, and the cores it may use."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_features() -> tuple[str, set[str]]:
    """Model name and flags of the CPU as Linux tells them; ("CPU", empty) elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "CPU", set()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return model.group(1).strip() if model else "CPU", set(flags.group(1).split()) if flags else set()


def architecture() -> str:
    """`x86_64`, `aarch64`, or what the system calls itself."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


def cpu_description() -> str:
    """Such as `CPU, 2 cores (AMD EPYC 9B14)`."""
    count = cores()
    return f"CPU, {count} core{'s' if count > 1 else ''} ({cpu_features()[0]})"
