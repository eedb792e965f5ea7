"""What the makers of tests/goldens/convert share: the vocabulary, the sizes, the inputs, seeded weights."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (*SPECIALS, *"，。abcdefghij", *(f"##{letter}" for letter in "abcdefghij"), *"天地玄黄宇宙洪荒")
HIDDEN, LAYERS, HEADS, INNER, POSITIONS, REACH = 16, 2, 4, 24, 32, 3
CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "type_vocab_size": 2,
    "vocab_size": len(VOCABULARY),
}
INPUTS = {
    "input_ids": np.array([[2, 9, 12, 30, 33, 3, 7, 20, 3], [2, 31, 4, 34, 3, 0, 0, 0, 0]], np.int32),
    "token_type_ids": np.array([[0] * 6 + [1] * 3, [0] * 9], np.int32),
    "attention_mask": np.array([[1] * 9, [1] * 5 + [0] * 4], np.int32),
}


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 weights that depend on the name alone, large enough that no part of a model is nearly idle."""
    draws = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith(("gamma", "LayerNorm.weight")):
        draws = 1.0 + 0.2 * draws
    elif len(shape) == 2:
        draws = draws * (0.25 if "embedding" in name else 1 / math.sqrt(HIDDEN))
    else:
        draws = 0.2 * draws
    return draws.astype(np.float32)


def write_beside(folder: Path, config: dict | None, config_name: str = "config.json") -> None:
    """Vocabulary and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in VOCABULARY), encoding="utf-8")
    if config is not None:
        (folder / config_name).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, np.ndarray], versions: str) -> None:
    about = json.dumps({"made_by": "tools/goldens/convert.py", "with": versions})
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path, {"about": about})
