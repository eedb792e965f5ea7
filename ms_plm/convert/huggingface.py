"""The configuration of a folder that transformers is to read: without what only ms_plm understands."""

from __future__ import annotations

from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig

OURS = ("provenance", "quantization", "head_size", "layer_heads", "layer_intermediate")
"""Keys of config.json that transformers does not have."""


def huggingface_config(config: ModelConfig, architecture: str) -> dict[str, Any]:
    """config.json for transformers.

    A sub-network with fewer heads is written as a pruned model (`pruned_heads`): those that are left count as the first
    ones of the full number, and it is the shapes that matter.

    Raises:
        UserError: transformers cannot express the model; says what stands in the way.
    """
    values = config.to_huggingface(architecture)
    if config.position_embedding_type == "none":
        raise UserError("position_embedding_type none: transformers has no BERT without positions.")
    if config.position_embedding_type == "functional_relative":
        del values["position_embedding_type"]
        values["use_relative_position"] = True
    for key in OURS:
        values.pop(key, None)
    if config.layer_intermediate:
        if len(set(config.layer_intermediate)) > 1:
            raise UserError(
                f"layer_intermediate {list(config.layer_intermediate)}: transformers has one intermediate_size for all "
                "layers."
            )
        values["intermediate_size"] = config.layer_intermediate[0]
    size = config.attention_head_size
    heads, rest = divmod(config.hidden_size, size)
    kept = [config.heads(layer) for layer in range(config.num_hidden_layers)]
    if rest or max(kept) > heads:
        raise UserError(
            f"head_size {size}: transformers divides hidden_size {config.hidden_size} among the heads, and has no "
            f"{max(kept)} heads of that size."
        )
    values["num_attention_heads"] = heads
    if pruned := {str(layer): list(range(number, heads)) for layer, number in enumerate(kept) if number < heads}:
        values["pruned_heads"] = pruned
    return values
