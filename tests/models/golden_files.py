"""Reading tests/goldens (its README.md says what is in the files)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
CASES = (
    *((name, length) for name in ("nezha_k8", "nezha_k64") for length in (16, 200, 700)),
    ("nezha_gelu_new", 16),
    ("bert", 16),
    ("bert", 200),
    ("bert_gelu_new", 16),
    ("roberta", 16),
)
"""Every (model folder, length) that is recorded."""


def read_folder(name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """config.json and the tensors of a model folder, as they are on disk."""
    config = json.loads((GOLDENS / name / "config.json").read_text(encoding="utf-8"))
    return config, load_file(GOLDENS / name / "model.safetensors")


def read_golden(name: str, length: int) -> dict[str, np.ndarray]:
    """Inputs, outputs and gradients of a model at a length."""
    return load_file(GOLDENS / f"{name}_{length}.safetensors")


def padded_folder(target: Path, rows: int = 128) -> Path:
    """`nezha_k8` with an embedding table of more rows than the vocabulary has entries; those beyond it always win."""
    shutil.copytree(GOLDENS / "nezha_k8", target)
    tensors = load_file(target / "model.safetensors")
    for name, value in tensors.items():
        if name.endswith("word_embeddings.weight") or name.startswith("cls.predictions.decoder.weight"):
            tensors[name] = np.concatenate([value, np.zeros((rows - len(value), value.shape[1]), np.float32)])
        elif name in ("cls.predictions.bias", "cls.predictions.decoder.bias"):
            tensors[name] = np.concatenate([value, np.full(rows - len(value), 100, np.float32)])
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**config, "vocab_size": rows}), encoding="utf-8")
    return target


TASKS = tuple(
    (family, task)
    for family in ("nezha", "bert")
    for task in (
        "sequence_classification",
        "regression",
        "token_classification",
        "question_answering",
        "multiple_choice",
    )
)
TASKS += (("roberta", "sequence_classification"), ("roberta", "multiple_choice"))
SLOW_TASKS = (("roberta", "token_classification"), ("roberta", "question_answering"))
"""Every (family, task) whose head is recorded."""


def task_folder(family: str, task: str) -> Path:
    """A model folder with a head for a task, as transformers wrote it."""
    return GOLDENS / "tasks" / f"{family}_{task}"


def read_task(family: str, task: str) -> tuple[Path, dict[str, np.ndarray]]:
    """The folder, and inputs, logits, loss and gradients."""
    folder = task_folder(family, task)
    return folder, load_file(folder / "golden.safetensors")
