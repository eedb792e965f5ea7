"""A TensorFlow checkpoint with the variables of the original NEZHA graph, computed on as they are stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from _convert_common import (
    CONFIG,
    HEADS,
    HIDDEN,
    INNER,
    INPUTS,
    LAYERS,
    VOCABULARY,
    draw,
    write_beside,
    write_tensors,
)


def make(out: Path) -> None:
    """nezha_tf: a checkpoint with optimizer slots; the graph follows section 2.1 of the NEZHA report."""
    v1 = tf.compat.v1
    folder = out / "nezha_tf"
    vestiges = {"use_relative_position": True, "pooler_num_fc_layers": 3, "directionality": "bidi"}
    write_beside(folder, {**CONFIG, **vestiges}, "bert_config.json")
    with tf.Graph().as_default(), v1.Session() as session:
        variables: dict = {}

        def variable(name: str, *shape: int):
            """A stored tensor, in float64."""
            if name not in variables:
                variables[name] = v1.get_variable(name, initializer=draw(name, shape), use_resource=False)
            return tf.cast(variables[name], tf.float64)

        outputs = graph(variable)
        slots = {
            f"{name}/{slot}": v1.get_variable(f"{name}/{slot}", initializer=np.full(value.shape, 0.5, np.float32))
            for name, value in variables.items()
            for slot in ("adam_m", "adam_v")
        }
        stored = {**variables, **slots, "global_step": v1.get_variable("global_step", initializer=np.int64(1000))}
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(list(stored.values()), write_version=2)
        saver.save(session, str(folder / "model.ckpt"), write_meta_graph=False, write_state=False)
        few = [*variables, *list(slots)[:2], "global_step"]  # two slots show as much as all
        tensors = {name: np.asarray(value) for name, value in session.run({n: stored[n] for n in few}).items()}
        results = {name: value.astype(np.float32) for name, value in session.run(outputs).items()}
    write_tensors(out / "nezha_tf.tensors.safetensors", tensors, f"tensorflow {tf.__version__}")
    write_tensors(out / "nezha_tf.outputs.safetensors", {**INPUTS, **results}, f"tensorflow {tf.__version__}")


def graph(variable: Callable) -> dict:
    """NEZHA in float64; `variable(name, *shape)` gives a stored tensor."""
    size = HIDDEN // HEADS
    batch, length = INPUTS["input_ids"].shape

    def dense(x, name: str, wide: int):
        return tf.tensordot(x, variable(f"{name}/kernel", x.shape[-1], wide), 1) + variable(f"{name}/bias", wide)

    def norm(x, name: str):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        gamma, beta = (variable(f"{name}/LayerNorm/{part}", HIDDEN) for part in ("gamma", "beta"))
        return (x - mean) / tf.sqrt(variance + 1e-12) * gamma + beta

    def gelu(x):
        return 0.5 * x * (1 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def heads(x):
        return tf.transpose(tf.reshape(x, [batch, length, HEADS, size]), [0, 2, 1, 3])

    row = np.arange(2 * 64 + 1)[:, None] / 10000 ** (np.arange(size) // 2 * 2 / size)[None]
    table = np.where(np.arange(size) % 2, np.cos(row), np.sin(row))
    offsets = np.clip(np.arange(length)[None] - np.arange(length)[:, None], -64, 64) + 64
    relative = tf.constant(table[offsets])

    words = variable("bert/embeddings/word_embeddings", len(VOCABULARY), HIDDEN)
    types = variable("bert/embeddings/token_type_embeddings", 2, HIDDEN)
    x = norm(tf.gather(words, INPUTS["input_ids"]) + tf.gather(types, INPUTS["token_type_ids"]), "bert/embeddings")
    mask = (1.0 - INPUTS["attention_mask"][:, None, None, :].astype(np.float64)) * -10000.0
    for layer in range(LAYERS):
        start = f"bert/encoder/layer_{layer}"
        query, key, value = (
            heads(dense(x, f"{start}/attention/self/{part}", HIDDEN)) for part in ("query", "key", "value")
        )
        scores = tf.einsum("bnid,bnjd->bnij", query, key) + tf.einsum("bnid,ijd->bnij", query, relative)
        shares = tf.nn.softmax(scores / math.sqrt(size) + mask)
        context = tf.einsum("bnij,bnjd->bind", shares, value) + tf.einsum("bnij,ijd->bind", shares, relative)
        context = tf.reshape(context, [batch, length, HIDDEN])
        x = norm(x + dense(context, f"{start}/attention/output/dense", HIDDEN), f"{start}/attention/output")
        inner = gelu(dense(x, f"{start}/intermediate/dense", INNER))
        x = norm(x + dense(inner, f"{start}/output/dense", HIDDEN), f"{start}/output")
    pooled = tf.tanh(dense(x[:, 0], "bert/pooler/dense", HIDDEN))
    rows = norm(gelu(dense(x, "cls/predictions/transform/dense", HIDDEN)), "cls/predictions/transform")
    predictions = tf.tensordot(rows, words, [[-1], [-1]]) + variable("cls/predictions/output_bias", len(VOCABULARY))
    related = tf.matmul(pooled, variable("cls/seq_relationship/output_weights", 2, HIDDEN), transpose_b=True)
    return {
        "last_hidden_state": x,
        "prediction_logits": predictions,
        "seq_relationship_logits": related + variable("cls/seq_relationship/output_bias", 2),
    }
