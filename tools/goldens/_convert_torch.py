"""PyTorch files with the names of the original releases, from seeded transformers models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from _convert_common import CONFIG, HIDDEN, INPUTS, POSITIONS, REACH, draw, write_beside, write_tensors
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertForSequenceClassification,
    NezhaConfig,
    NezhaForPreTraining,
    RobertaConfig,
    RobertaForSequenceClassification,
)

VERSIONS = f"torch {torch.__version__}, transformers {transformers.__version__}"
WIDER = 32
"""Hidden size of TinyBERT's teacher."""


def make(out: Path) -> None:
    """nezha_torch (gamma and beta, no model_type), tinybert (fit_dense, junk in its configuration), dynabert and more.

    dynaroberta takes its vocabulary from the folder `roberta` beside `out` (roberta.py).
    """
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

    config = {**CONFIG, "vocab_size": 360, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    config |= {"max_position_embeddings": POSITIONS + 2, **junk}
    dynaroberta = RobertaForSequenceClassification(RobertaConfig(**config, attn_implementation="eager"))
    # DynaBERT's code, of transformers 2.1, says no model_type and pad_token_id, and keeps a pooler that it does not use
    pooler = {f"roberta.pooler.dense.{leaf}": draw(f"pooler.{leaf}", shape) for leaf, shape in
              (("weight", (HIDDEN, HIDDEN)), ("bias", (HIDDEN,)))}  # fmt: skip
    write_beside(out / "dynaroberta", config)
    (out / "dynaroberta" / "vocab.txt").unlink()
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(out.parent / "roberta" / name, out / "dynaroberta" / name)
    save(out, "dynaroberta", dynaroberta, str, pooler, {**INPUTS, "token_type_ids": 0 * INPUTS["token_type_ids"]})


def save(
    out: Path,
    name: str,
    model: torch.nn.Module,
    rename: Callable[[str], str],
    more: dict[str, np.ndarray] | None = None,
    inputs: dict[str, np.ndarray] = INPUTS,
) -> None:
    """Draw the weights, compute in float64, write the file, its tensors as safetensors, and the outputs."""
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw(f"{name}.{key}", tuple(parameter.shape))))
        tensors = {key: torch.from_numpy(value).long() for key, value in inputs.items()}
        found = model.eval().double()(**tensors, output_hidden_states=True)
    model.float()
    state = {rename(key): value.contiguous() for key, value in model.state_dict().items()}
    state |= {key: torch.from_numpy(value) for key, value in (more or {}).items()}
    torch.save(state, out / name / "pytorch_model.bin")
    write_tensors(out / f"{name}.tensors.safetensors", {k: v.numpy().copy() for k, v in state.items()}, VERSIONS)
    outputs = {"last_hidden_state": found.hidden_states[-1]}
    outputs |= {key: found[key] for key in ("prediction_logits", "seq_relationship_logits", "logits") if key in found}
    arrays = {key: value.numpy().astype(np.float32) for key, value in outputs.items()}
    write_tensors(out / f"{name}.outputs.safetensors", {**inputs, **arrays}, VERSIONS)


def old_name(key: str) -> str:
    """A transformers name as the original PyTorch NEZHA has it, with the LayerNorm names of old files."""
    key = f"bert.{key.removeprefix('nezha.')}" if key.startswith("nezha.") else key
    return key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
