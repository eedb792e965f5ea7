"""PyTorch files with the names of the original releases, from seeded transformers models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from _convert_common import CONFIG, HIDDEN, INPUTS, REACH, draw, write_beside, write_tensors
from transformers import BertConfig, BertForPreTraining, BertForSequenceClassification, NezhaConfig, NezhaForPreTraining

VERSIONS = f"torch {torch.__version__}, transformers {transformers.__version__}"
WIDER = 32
"""Hidden size of TinyBERT's teacher."""


def make(out: Path) -> None:
    """nezha_torch (gamma and beta, no model_type), tinybert (fit_dense, junk in its configuration), dynabert."""
    torch.set_num_threads(1)
    relative = {"max_relative_position": REACH, "use_relative_position": True}
    options = {**CONFIG, "attn_implementation": "eager"}

    nezha = NezhaForPreTraining(NezhaConfig(**{**CONFIG, "max_relative_position": REACH}))
    write_beside(out / "nezha_torch", {**CONFIG, **relative}, "bert_config.json")
    save(out, "nezha_torch", nezha, old_name)

    tinybert = BertForPreTraining(BertConfig(**options))
    junk = {"cell": {}, "emb_size": HIDDEN, "structure": [], "pre_trained": "", "training": ""}
    projection = {f"fit_dense.{leaf}": draw(f"fit_dense.{leaf}", shape) for leaf, shape in
                  (("weight", (WIDER, HIDDEN)), ("bias", (WIDER,)))}  # fmt: skip
    write_beside(out / "tinybert", {**CONFIG, **junk})
    save(out, "tinybert", tinybert, str, projection)

    dynabert = BertForSequenceClassification(BertConfig(**options, num_labels=3))
    junk = {"finetuning_task": "mnli", "num_labels": 3, "output_intermediate": True, "pruned_heads": {}}
    write_beside(out / "dynabert", {**CONFIG, **junk})
    save(out, "dynabert", dynabert, str)


def save(
    out: Path,
    name: str,
    model: torch.nn.Module,
    rename: Callable[[str], str],
    more: dict[str, np.ndarray] | None = None,
) -> None:
    """Draw the weights, compute in float64, write the file, its tensors as safetensors, and the outputs."""
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw(f"{name}.{key}", tuple(parameter.shape))))
        inputs = {key: torch.from_numpy(value).long() for key, value in INPUTS.items()}
        found = model.eval().double()(**inputs, output_hidden_states=True)
    model.float()
    state = {rename(key): value.contiguous() for key, value in model.state_dict().items()}
    state |= {key: torch.from_numpy(value) for key, value in (more or {}).items()}
    torch.save(state, out / name / "pytorch_model.bin")
    write_tensors(out / f"{name}.tensors.safetensors", {k: v.numpy().copy() for k, v in state.items()}, VERSIONS)
    outputs = {"last_hidden_state": found.hidden_states[-1]}
    outputs |= {key: found[key] for key in ("prediction_logits", "seq_relationship_logits", "logits") if key in found}
    arrays = {key: value.numpy().astype(np.float32) for key, value in outputs.items()}
    write_tensors(out / f"{name}.outputs.safetensors", {**INPUTS, **arrays}, VERSIONS)


def old_name(key: str) -> str:
    """A transformers name as the original PyTorch NEZHA has it, with the LayerNorm names of old files."""
    key = f"bert.{key.removeprefix('nezha.')}" if key.startswith("nezha.") else key
    return key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
