"""How much a model computes and holds: for the share of a device's peak that is used, and to compare models."""

from __future__ import annotations

from ms_plm.config.model import ModelConfig


def layer_multiply_adds(config: ModelConfig, length: int) -> int:
    """Multiply-adds per token of all matrix products in the layers, forward.

    Args:
        config: the model.
        length: S.
    """
    size, total = config.hidden_size, 0
    for layer in range(config.num_hidden_layers):
        width = config.heads(layer) * config.attention_head_size
        products = 2 if config.position_embedding_type != "functional_relative" else 4
        total += 4 * size * width + products * length * width + 2 * size * config.intermediate(layer)
    return total


def training_flops(config: ModelConfig, length: int, masked_share: float) -> float:
    """FLOPs per token of forward and backward: 3 x 2 x multiply-adds of all matrix products.

    Args:
        config: the model.
        length: S.
        masked_share: share of positions that pass through the masked-LM head.
    """
    size = config.hidden_size
    head = masked_share * (size * size + size * config.vocab_size)
    return 6.0 * (layer_multiply_adds(config, length) + head)


def parameter_count(config: ModelConfig) -> int:
    """Trained numbers of a pretraining model: encoder, pooler, and both heads (the decoder is the embedding)."""
    size = config.hidden_size
    transform, next_sentence = size * size + 3 * size, 2 * size + 2
    return encoder_parameters(config) + transform + config.vocab_size + next_sentence


def encoder_parameters(config: ModelConfig) -> int:
    """Numbers in the encoder and the pooler: what is usually told of a model."""
    size = config.hidden_size
    rows = config.vocab_size + config.type_vocab_size
    if config.position_embedding_type == "absolute":
        rows += config.max_position_embeddings
    total = rows * size + 2 * size
    for layer in range(config.num_hidden_layers):
        width, inner = config.heads(layer) * config.attention_head_size, config.intermediate(layer)
        total += 4 * size * width + 3 * width + size + 2 * size * inner + inner + size + 4 * size
    return total + size * size + size
