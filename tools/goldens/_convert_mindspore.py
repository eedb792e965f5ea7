"""Checkpoints of cells whose attributes are called as in MindSpore's model zoo, so that the parameters are."""

from __future__ import annotations

import math
from pathlib import Path

import mindspore as ms
import numpy as np
from _convert_common import (
    CONFIG,
    HEADS,
    HIDDEN,
    INNER,
    INPUTS,
    LAYERS,
    POSITIONS,
    VOCABULARY,
    draw,
    write_beside,
    write_tensors,
)
from mindspore import Parameter, nn, ops

SIZE = HIDDEN // HEADS


def make(out: Path) -> None:
    """bert_mindspore (newer names, pretraining) and tinybert_mindspore (older names, `tinybert_`, a classifier)."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    for name, older in (("bert_mindspore", False), ("tinybert_mindspore", True)):
        network = Wrapped(older)
        for key, parameter in network.parameters_and_names():
            parameter.set_data(ms.Tensor(draw(f"{name}.{key}", tuple(parameter.shape))))
        found = network(*(ms.Tensor(value) for value in INPUTS.values()))
        write_beside(out / name, CONFIG)
        saved = [{"name": key, "data": value} for key, value in network.parameters_and_names()]
        saved.append({"name": f"adam_m.{saved[0]['name']}", "data": saved[0]["data"]})
        saved.append({"name": "global_step", "data": ms.Tensor(7, ms.int32)})
        path = out / name / f"{name}.ckpt"
        path.unlink(missing_ok=True)
        ms.save_checkpoint(saved, str(path))
        path.chmod(0o644)
        outputs = {key: value.asnumpy() for key, value in found.items()}
        write_tensors(out / f"{name}.outputs.safetensors", {**INPUTS, **outputs}, f"mindspore {ms.__version__}")


def zeros(*shape: int) -> Parameter:
    return Parameter(ms.Tensor(np.zeros(shape, np.float32)))


class Lookup(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.embedding_table = zeros(len(VOCABULARY), HIDDEN)


class Postprocessor(nn.Cell):
    def __init__(self, older: bool) -> None:
        super().__init__()
        self.older = older
        if older:
            self.embedding_table, self.full_position_embeddings = zeros(2, HIDDEN), zeros(POSITIONS, HIDDEN)
        else:
            self.token_type_embedding = nn.Embedding(2, HIDDEN)
            self.full_position_embedding = nn.Embedding(POSITIONS, HIDDEN)
        self.layernorm = nn.LayerNorm((HIDDEN,))

    def construct(self, words, types):
        kinds = self.embedding_table if self.older else self.token_type_embedding.embedding_table
        places = self.full_position_embeddings if self.older else self.full_position_embedding.embedding_table
        return self.layernorm(words + ops.gather(kinds, types, 0) + places[: words.shape[1]])


class Output(nn.Cell):
    def __init__(self, wide: int) -> None:
        super().__init__()
        self.dense, self.layernorm = nn.Dense(wide, HIDDEN), nn.LayerNorm((HIDDEN,))

    def construct(self, x, residual):
        return self.layernorm(residual + self.dense(x))


class Projections(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.query_layer, self.key_layer, self.value_layer = (nn.Dense(HIDDEN, HIDDEN) for _ in range(3))

    def construct(self, x, mask):
        shape = (x.shape[0], x.shape[1], HEADS, SIZE)
        query, key, value = (
            layer(x).reshape(shape).transpose(0, 2, 1, 3)
            for layer in (self.query_layer, self.key_layer, self.value_layer)
        )
        shares = ops.softmax(ops.matmul(query, key.transpose(0, 1, 3, 2)) / math.sqrt(SIZE) + mask)
        return ops.matmul(shares, value).transpose(0, 2, 1, 3).reshape(x.shape)


class Attention(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.output = Projections(), Output(HIDDEN)

    def construct(self, x, mask):
        return self.output(self.attention(x, mask), x)


class Layer(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.output = Attention(), Output(INNER)
        self.intermediate = nn.Dense(HIDDEN, INNER, activation="gelu")

    def construct(self, x, mask):
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Transformer(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.CellList([Layer() for _ in range(LAYERS)])


class Bert(nn.Cell):
    def __init__(self, older: bool) -> None:
        super().__init__()
        start = "tinybert" if older else "bert"
        self.parts = (f"{start}_embedding_lookup", f"{start}_embedding_postprocessor", f"{start}_encoder")
        for part, cell in zip(self.parts, (Lookup(), Postprocessor(older), Transformer()), strict=True):
            setattr(self, part, cell)
        self.dense = nn.Dense(HIDDEN, HIDDEN, activation="tanh")

    def construct(self, ids, types, mask):
        lookup, postprocessor, encoder = (getattr(self, part) for part in self.parts)
        x = postprocessor(ops.gather(lookup.embedding_table, ids, 0), types)
        added = (1.0 - mask.astype(ms.float32)).expand_dims(1).expand_dims(1) * -10000.0
        for layer in encoder.layers:
            x = layer(x, added)
        return x, self.dense(x[:, 0])


class Predictions(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(HIDDEN, HIDDEN, activation="gelu")
        self.layernorm, self.output_bias = nn.LayerNorm((HIDDEN,)), zeros(len(VOCABULARY))


class Relationship(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(HIDDEN, 2)


class Task(nn.Cell):
    def __init__(self, older: bool) -> None:
        super().__init__()
        self.bert, self.older = Bert(older), older
        if older:
            self.dense_1 = nn.Dense(HIDDEN, 3)
        else:
            self.cls1, self.cls2 = Predictions(), Relationship()

    def construct(self, ids, types, mask):
        x, pooled = self.bert(ids, types, mask)
        if self.older:
            return {"last_hidden_state": x, "pooler_output": pooled}
        rows = self.cls1.layernorm(self.cls1.dense(x))
        logits = ops.matmul(rows, self.bert.bert_embedding_lookup.embedding_table.T) + self.cls1.output_bias
        return {
            "last_hidden_state": x,
            "prediction_logits": logits,
            "seq_relationship_logits": self.cls2.dense(pooled),
        }


class Wrapped(nn.Cell):
    """The network with its loss, whose attribute is called bert again."""

    def __init__(self, older: bool) -> None:
        super().__init__()
        self.bert = Task(older)

    def construct(self, *inputs):
        return self.bert(*inputs)
