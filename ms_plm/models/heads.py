"""What stands on the encoder: pooler, masked-LM head, next-sentence head. The pooler counts as a head."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_plm.config.model import ModelConfig
from ms_plm.kernels import Kernels
from ms_plm.models.layers import LayerNorm, Linear


class Pooler(nn.Cell):
    """tanh(W h[CLS] + b): `[B, S, H]` to `[B, H]` fp32."""

    def __init__(self, config: ModelConfig, kernels: Kernels) -> None:
        super().__init__()
        self.dense = Linear(kernels, config.hidden_size, config.hidden_size, activation="tanh")

    def construct(self, hidden):
        return self.dense(hidden[:, 0]).astype(ms.float32)


class MaskedLMHead(nn.Cell):
    """Dense, activation, LayerNorm, then the product with the word embeddings, which are passed in (tied); fp32."""

    def __init__(self, config: ModelConfig, kernels: Kernels) -> None:
        super().__init__()
        self.dense = Linear(kernels, config.hidden_size, config.hidden_size, config.hidden_act)
        self.norm = LayerNorm(kernels, config.hidden_size, config.layer_norm_eps)
        self.bias = Parameter(Tensor(np.zeros(config.vocab_size, np.float32)), name="bias")
        self.linear = kernels.build("linear")

    def transform(self, rows):
        """`[..., H]` to `[..., H]`: what is multiplied with the word embeddings."""
        return self.norm(self.dense(rows))

    def construct(self, rows, embedding):
        return self.linear(self.transform(rows), embedding, self.bias).astype(ms.float32)


class NextSentenceHead(nn.Cell):
    """Two classes from the pooled output, fp32: 0, the second sentence follows; 1, it is a random one."""

    def __init__(self, config: ModelConfig, kernels: Kernels) -> None:
        super().__init__()
        self.dense = Linear(kernels, config.hidden_size, 2)

    def construct(self, pooled):
        return self.dense(pooled).astype(ms.float32)
