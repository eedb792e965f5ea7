"""A tiny BERT and a tiny NEZHA with a classifier, samples for them, and the same in float64."""

from __future__ import annotations

import numpy as np
from oracle import _Model, cross_entropy

from ms_plm.config.model import ModelConfig
from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import named_tensors
from ms_plm.models.model import Model

HEADS, NEURONS, LAYERS, LENGTH, VOCABULARY = 4, 24, 3, 8, 40


def config(family: str = "bert", **changes) -> ModelConfig:
    """Three layers of width 16 with four heads."""
    values = {
        "model_type": family,
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": NEURONS,
        "max_position_embeddings": 16,
        "max_relative_position": 4,
        "initializer_range": 0.4,
        "id2label": {0: "no", 1: "yes"},
    }
    return ModelConfig(**{**values, **changes})


def model(family: str = "bert", training: bool = False, seed: int = 2, **changes) -> Model:
    """A classifier with biases that are not 0."""
    call = Call(training=training, wants=frozenset({"hidden_states"}))
    made = Model(config(family, **changes), "sequence_classification", Kernels(call)).initialise(seed)
    draw = np.random.default_rng(seed)
    for _, parameter in made.parameters_and_names():
        if parameter.ndim == 1:
            change = draw.normal(0, 0.1, parameter.shape).astype(np.float32)
            parameter.set_data(type(parameter)(parameter.asnumpy() + change).value())
    return made


def arrays(batch: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Samples with labels; some padding."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(3, LENGTH + 1, batch)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
    return {
        "input_ids": draw.integers(5, VOCABULARY, (batch, LENGTH)).astype(np.int32) * mask,
        "token_type_ids": np.zeros((batch, LENGTH), np.int32),
        "attention_mask": mask,
        "labels": draw.integers(0, 2, batch).astype(np.int32),
        "weights": np.ones(batch, np.float32),
        "counted": np.ones(batch, np.float32),
    }


def tensors64(of: Model) -> dict[str, np.ndarray]:
    """Its tensors by the names of Hugging Face, float64."""
    return {name: value.astype(np.float64) for name, value in named_tensors(of).items()}


def loss64(of: ModelConfig, tensors: dict[str, np.ndarray], batch: dict[str, np.ndarray]) -> float:
    """Mean cross-entropy of the classifier, in float64 NumPy."""
    net = _Model(of.to_huggingface(), tensors)
    state = net.embed(batch["input_ids"], batch["token_type_ids"])
    for layer in range(of.num_hidden_layers):
        state, _ = net.layer(state, batch["attention_mask"], f"encoder.layer.{layer}.")
    pooled = np.tanh(net.dense(state[:, 0], "pooler.dense"))
    return cross_entropy(net.dense(pooled, "classifier"), batch["labels"])
