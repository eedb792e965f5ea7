"""Pretrained language models of Noah's Ark Lab on MindSpore and Ascend. Importing this does not import MindSpore."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_LAZY = {"load": "ms_plm.models.folder", "save": "ms_plm.models.folder", "run": "ms_plm.workflow"}
__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        # behind each of these comes MindSpore, and OpenMP with it, which reads its settings when it is loaded
        import_module("ms_plm.training.hardware").settle_threads()
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ms_plm' has no attribute {name!r}")
