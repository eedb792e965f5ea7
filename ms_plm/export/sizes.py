"""How large a model folder is, and how much one forward of its exported graph computes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.config.model import ModelConfig
from ms_plm.models.folder import WEIGHTS
from ms_plm.models.heads import ON_POOLED, TASK_HEADS
from ms_plm.models.names import encoder_prefix, in_encoder, is_redundant, modern_name
from ms_plm.training.throughput import layer_multiply_adds


@dataclass(frozen=True)
class FolderSizes:
    """Of a model folder.

    Attributes:
        parameters: numbers in the encoder and, where there is one, the pooler: what is usually told of a model.
        parameters_with_heads: in all tensors; what repeats another tensor, such as a tied decoder, does not count.
        weights_bytes: of model.safetensors.
        has_pooler: whether there is one.
    """

    parameters: int
    parameters_with_heads: int
    weights_bytes: int
    has_pooler: bool


def folder_sizes(folder: str | Path) -> FolderSizes:
    """Count what a model folder holds; only the head of its file is read.

    Raises:
        UserError: there is no model.safetensors.
        DamagedFileError: it cannot be read.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            counts = {modern_name(name): math.prod(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(
            f"{path}: cannot be read as safetensors ({error}). The file is cut or damaged; copy it again."
        ) from error
    prefix = encoder_prefix(counts)
    counts = {name: count for name, count in counts.items() if not is_redundant(name)}
    pooler = {name for name in counts if name.removeprefix(prefix).startswith("pooler.")}
    usual = sum(count for name, count in counts.items() if in_encoder(name, prefix) or name in pooler)
    return FolderSizes(usual, sum(counts.values()), path.stat().st_size, bool(pooler))


def forward_flops(config: ModelConfig, length: int, head: str = "encoder", pooler: bool = True) -> int:
    """FLOPs of one forward of one sequence: 2 x multiply-adds of all matrix products, those of the head among them.

    What is computed is counted: the pooler, and what stands on it, at the first position only. Lookups, biases,
    softmax, LayerNorm and activations are left out (below 1 % of BERT-base at length 128). The TinyBERT paper
    (Jiao et al. 2020, table 1) tells 22.5, 11.3 and 7.6 billion for 12, 6 and 4 layers of BERT-base's size: these come
    out exactly with the pooler at every position, which is 0.7 % more than here for BERT-base. Its 1.2 for TinyBERT-4
    is 1.25 here.

    Args:
        config: the model.
        length: S.
        head: a key of `ms_plm.export.wrappers.GRAPHS`.
        pooler: of head `encoder`: whether the folder has one.
    """
    size = config.hidden_size
    total = length * layer_multiply_adds(config, length)
    if head in ON_POOLED or (head == "encoder" and pooler):
        total += size * size
    if head == "masked_lm":  # at every position, as it is exported
        total += length * (size * size + size * config.vocab_size)
    elif head in TASK_HEADS:
        outputs = {"question_answering": 2, "multiple_choice": 1}.get(head, config.num_labels)
        total += (1 if head in ON_POOLED else length) * size * outputs
    return 2 * total
