"""The checkpoints in tests/goldens/convert (its README.md says what they are), and copies of them to be changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from golden_files import GOLDENS
from safetensors.numpy import load_file, save_file

CONVERT = GOLDENS / "convert"
NEED_A_LIBRARY = {"nezha_torch": "torch", "tinybert": "torch", "dynabert": "torch", "dynaroberta": "torch"}
NEED_A_LIBRARY["nezha_tf"] = "tensorflow"
"""Checkpoints that only their framework can read; their tensors also lie beside them under the same names."""
NAMES = (*NEED_A_LIBRARY, "bert_mindspore", "tinybert_mindspore")


def tensors_of(name: str) -> dict[str, np.ndarray]:
    """Original names to arrays, of one that needs a library."""
    return load_file(CONVERT / f"{name}.tensors.safetensors")


def outputs_of(name: str) -> dict[str, np.ndarray]:
    """Inputs, and what the original framework computed."""
    return load_file(CONVERT / f"{name}.outputs.safetensors")


def copy_of(name: str, tmp_path: Path, change: Callable[[dict], None] | None = None, **config: object) -> Path:
    """A checkpoint's folder that needs no library, changed.

    Args:
        name: of a checkpoint here, or of a model folder in tests/goldens.
        tmp_path: where the copy, called after it, is put.
        change: changes the dictionary of tensors in place.
        config: keys of its configuration that are set; None removes one.
    """
    kept = CONVERT / name if name in NAMES else GOLDENS / name
    folder = tmp_path / name
    shutil.copytree(kept, folder, ignore=shutil.ignore_patterns("*.bin", "model.ckpt*"))
    if name in NEED_A_LIBRARY:
        shutil.copyfile(CONVERT / f"{name}.tensors.safetensors", folder / "weights.safetensors")
    if change:
        path = next(folder.glob("*.safetensors"))
        tensors = load_file(path)
        change(tensors)
        save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path)
    if config:
        path = folder / ("config.json" if (folder / "config.json").is_file() else "bert_config.json")
        values = {**json.loads(path.read_text(encoding="utf-8")), **config}
        path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}), encoding="utf-8")
    return folder
