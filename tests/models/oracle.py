"""NEZHA, BERT and RoBERTa in float64 NumPy, written from the formulas: an oracle that shares no code with ms_plm.

Sources: BERT (arXiv 1810.04805) appendix A.2 and its released model; NEZHA (arXiv 1909.00204) section 2.1, with the
sinusoid evaluated at the shifted index 0..2K, as the released models were trained; RoBERTa (arXiv 1907.11692) as
transformers documents it: positions from pad_token_id + 1, padding at pad_token_id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import erf, logsumexp


def oracle(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> dict:
    """Evaluate the model.

    Args:
        config: content of config.json.
        tensors: Hugging Face names to arrays, with or without the family's prefix; heads may be absent.
        inputs: `input_ids` `[B, S]`; optional `token_type_ids`, `attention_mask` `[B, S]`; for the losses either
            `labels` `[B, S]` (-100: no label) or flat `masked_positions`, `masked_labels` (and `masked_weights`) `[M]`,
            and `next_sentence_labels` `[B]`.

    Returns:
        `hidden_states` and `attentions` (lists), `last_hidden_state` `[B, S, H]`; where the tensors allow
        `pooler_output` `[B, H]`, `prediction_logits` `[B, S, V]`, `seq_relationship_logits` `[B, 2]`, `logits` of
        RoBERTa's classifier `[B, L]`; where the labels allow `masked_lm_loss`, `next_sentence_loss`, and `loss`, their
        sum.
    """
    model = _Model(config, tensors)
    ids = np.asarray(inputs["input_ids"])
    types = np.asarray(inputs.get("token_type_ids", np.zeros_like(ids)))
    mask = np.asarray(inputs.get("attention_mask", np.ones_like(ids)))
    states, probabilities = [model.embed(ids, types)], []
    for layer in range(config["num_hidden_layers"]):
        state, attention = model.layer(states[-1], mask, f"encoder.layer.{layer}.")
        states.append(state)
        probabilities.append(attention)
    out = {"hidden_states": states, "attentions": probabilities, "last_hidden_state": states[-1]}
    if "pooler.dense.weight" in model.tensors:
        out["pooler_output"] = np.tanh(model.dense(states[-1][:, 0], "pooler.dense"))
    if "classifier.out_proj.weight" in model.tensors:
        out["logits"] = model.dense(np.tanh(model.dense(states[-1][:, 0], "classifier.dense")), "classifier.out_proj")
    if "cls.predictions.bias" in model.tensors or "lm_head.bias" in model.tensors:
        out["prediction_logits"] = model.predict_tokens(states[-1])
    if "cls.seq_relationship.weight" in model.tensors:
        out["seq_relationship_logits"] = model.dense(out["pooler_output"], "cls.seq_relationship")
    return {**out, **_losses(out, inputs)}


def cross_entropy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Weighted mean of -log softmax(logits)[label]; logits `[n, classes]`, labels and weights `[n]`."""
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    losses = logsumexp(logits, axis=-1) - logits[np.arange(len(labels)), labels]
    return float((weights * losses).sum() / weights.sum())


def relative_table(max_relative_position: int, size: int) -> np.ndarray:
    """Sinusoid `[2K+1, D]`: row p holds sin and cos of p / 10000^(2m/D) at columns 2m and 2m+1."""
    table = np.zeros((2 * max_relative_position + 1, size))
    for row in range(len(table)):
        for column in range(size):
            angle = row / 10000 ** ((column - column % 2) / size)
            table[row, column] = np.cos(angle) if column % 2 else np.sin(angle)
    return table


def _losses(out: dict, inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    losses = {}
    if "prediction_logits" in out and ("masked_positions" in inputs or "labels" in inputs):
        logits = out["prediction_logits"].reshape(-1, out["prediction_logits"].shape[-1])
        if "masked_positions" in inputs:
            positions, labels = inputs["masked_positions"], inputs["masked_labels"]
        else:
            flat = np.asarray(inputs["labels"]).reshape(-1)
            positions = np.flatnonzero(flat != -100)
            labels = flat[positions]
        losses["masked_lm_loss"] = cross_entropy(logits[positions], labels, inputs.get("masked_weights"))
    if "seq_relationship_logits" in out and inputs.get("next_sentence_labels") is not None:
        losses["next_sentence_loss"] = cross_entropy(out["seq_relationship_logits"], inputs["next_sentence_labels"])
    return {**losses, "loss": sum(losses.values())} if losses else {}


class _Model:
    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
        prefix = f"{config['model_type']}."
        self.config = config
        self.tensors = {name.removeprefix(prefix): np.asarray(value, np.float64) for name, value in tensors.items()}

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def normalise(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + self.config.get("layer_norm_eps", 1e-12))
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def activate(self, x: np.ndarray) -> np.ndarray:
        kind = self.config.get("hidden_act", "gelu")
        if kind == "gelu":
            return 0.5 * x * (1 + erf(x / np.sqrt(2)))
        if kind == "gelu_new":
            return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        if kind == "relu":
            return np.maximum(x, 0)
        raise ValueError(f"unknown hidden_act {kind!r}")

    def embed(self, ids: np.ndarray, types: np.ndarray) -> np.ndarray:
        x = self.tensors["embeddings.word_embeddings.weight"][ids]
        x = x + self.tensors["embeddings.token_type_embeddings.weight"][types]
        if "embeddings.position_embeddings.weight" in self.tensors:
            x = x + self.tensors["embeddings.position_embeddings.weight"][self.positions(ids)]
        return self.normalise(x, "embeddings.LayerNorm")

    def positions(self, ids: np.ndarray) -> np.ndarray:
        if self.config["model_type"] != "roberta":
            return np.arange(ids.shape[1])
        pad = self.config.get("pad_token_id", 1)
        return np.cumsum(ids != pad, axis=1) * (ids != pad) + pad

    def layer(self, x: np.ndarray, mask: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        context, probabilities = self.attend(x, mask, f"{name}attention.self.")
        x = self.normalise(
            x + self.dense(context, f"{name}attention.output.dense"), f"{name}attention.output.LayerNorm"
        )
        inner = self.activate(self.dense(x, f"{name}intermediate.dense"))
        return self.normalise(x + self.dense(inner, f"{name}output.dense"), f"{name}output.LayerNorm"), probabilities

    def attend(self, x: np.ndarray, mask: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """s_ij = q_i . (k_j + r_ij) / sqrt(D) + mask_j;  o_i = sum_j p_ij (v_j + r_ij)."""
        batch, length, hidden = x.shape
        size = self.config.get("head_size") or hidden // self.config["num_attention_heads"]
        queries, keys, values = (
            self.dense(x, f"{name}{part}").reshape(batch, length, -1, size) for part in ("query", "key", "value")
        )
        scores = np.einsum("bind,bjnd->bnij", queries, keys)
        relative = self._is_relative()
        if relative:
            reach = self.config.get("max_relative_position", 64)
            offsets = np.arange(length)[None, :] - np.arange(length)[:, None]
            positions = relative_table(reach, size)[np.clip(offsets, -reach, reach) + reach]
            scores += np.einsum("bind,ijd->bnij", queries, positions, optimize=True)
        scores = scores / np.sqrt(size) - 10000.0 * (1 - mask[:, None, None, :])
        probabilities = np.exp(scores - logsumexp(scores, axis=-1, keepdims=True))
        context = np.einsum("bnij,bjnd->bind", probabilities, values, optimize=True)
        if relative:
            context += np.einsum("bnij,ijd->bind", probabilities, positions, optimize=True)
        return context.reshape(batch, length, -1), probabilities

    def _is_relative(self) -> bool:
        default = "functional_relative" if self.config["model_type"] == "nezha" else "absolute"
        return (self.config.get("position_embedding_type") or default) == "functional_relative"

    def predict_tokens(self, x: np.ndarray) -> np.ndarray:
        start, inner, norm = "cls.predictions", "cls.predictions.transform", ".LayerNorm"
        if self.config["model_type"] == "roberta":
            start, inner, norm = "lm_head", "lm_head", ".layer_norm"
        transformed = self.normalise(self.activate(self.dense(x, f"{inner}.dense")), inner + norm)
        return transformed @ self.tensors["embeddings.word_embeddings.weight"].T + self.tensors[f"{start}.bias"]
