"""Reading tests/goldens (its README.md says what is in the files)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
CASES = (
    *((name, length) for name in ("nezha_k8", "nezha_k64") for length in (16, 200, 700)),
    ("nezha_gelu_new", 16),
    ("bert", 16),
    ("bert", 200),
    ("bert_gelu_new", 16),
)
"""Every (model folder, length) that is recorded."""


def read_folder(name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """config.json and the tensors of a model folder, as they are on disk."""
    config = json.loads((GOLDENS / name / "config.json").read_text(encoding="utf-8"))
    return config, load_file(GOLDENS / name / "model.safetensors")


def read_golden(name: str, length: int) -> dict[str, np.ndarray]:
    """Inputs, outputs and gradients of a model at a length."""
    return load_file(GOLDENS / f"{name}_{length}.safetensors")
