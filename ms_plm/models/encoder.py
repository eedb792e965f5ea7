"""The one encoder: embeddings and post-LayerNorm transformer layers (Devlin et al. 2018; NEZHA, arXiv 1909.00204).

Shapes: B batch, S sequence, H hidden, N heads, D head size.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from ms_plm.config.model import ModelConfig
from ms_plm.config.precision import MASKED
from ms_plm.kernels import Kernels
from ms_plm.kernels.attention import table_tensor
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm.models.layers import DropoutAddLayerNorm, Embedding, LayerNorm, Linear


class Embeddings(nn.Cell):
    """Word, type and (absolute) position embeddings, LayerNorm, dropout."""

    def __init__(self, config: ModelConfig, kernels: Kernels, plan: DropoutPlan) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, size)
        self.token_type_embeddings = Embedding(config.type_vocab_size, size)
        self.absolute = config.position_embedding_type == "absolute"
        self.first_position = config.first_position
        if self.absolute:
            self.position_embeddings = Embedding(config.max_position_embeddings, size)
        self.norm = LayerNorm(kernels, size, config.layer_norm_eps)
        self.dropout = kernels.build("dropout", site=plan.hidden(config.hidden_dropout_prob, size))

    def construct(self, input_ids, token_type_ids, rng=None, inputs_embeds=None):
        length = input_ids.shape[1]
        x = ops.gather(self.word_embeddings.weight, input_ids, 0) if inputs_embeds is None else inputs_embeds
        x = x + ops.gather(self.token_type_embeddings.weight, token_type_ids, 0)
        if self.absolute:
            first = self.first_position
            x = x + self.position_embeddings.weight[first : first + length].reshape((1, length, -1))
        return self.dropout(self.norm(x), rng)


class SelfAttention(nn.Cell):
    """Projections around the attention kernel."""

    def __init__(self, config: ModelConfig, kernels: Kernels, plan: DropoutPlan, layer: int) -> None:
        super().__init__()
        heads, head_size = config.heads(layer), config.attention_head_size
        width = heads * head_size
        self.query, self.key, self.value = (Linear(kernels, config.hidden_size, width) for _ in range(3))
        relative = config.position_embedding_type == "functional_relative"
        self.kernel = kernels.build(
            "relative_attention" if relative else "attention",
            **({"reach": config.max_relative_position} if relative else {}),
            heads=heads,
            head_size=head_size,
            site=plan.scores(config.attention_probs_dropout_prob, heads),
            causal=config.is_decoder,
        )

    def construct(self, x, mask, positions, rng=None):
        query, key, value = self.query(x), self.key(x), self.value(x)
        context, scores, probabilities = self.kernel(query, key, value, mask, positions, rng)
        return context, scores, probabilities, (query, key, value)


class EncoderLayer(nn.Cell):
    """a = LN(x + drop(W_o attention(x))); y = LN(a + drop(W_2 act(W_1 a)))."""

    def __init__(self, config: ModelConfig, kernels: Kernels, plan: DropoutPlan, layer: int) -> None:
        super().__init__()
        size, epsilon, drop = config.hidden_size, config.layer_norm_eps, config.hidden_dropout_prob
        self.attention = SelfAttention(config, kernels, plan, layer)
        self.attention_output = Linear(kernels, config.heads(layer) * config.attention_head_size, size)
        self.attention_norm = DropoutAddLayerNorm(kernels, size, epsilon, plan.hidden(drop, size))
        self.intermediate = Linear(kernels, size, config.intermediate(layer), config.hidden_act)
        self.output = Linear(kernels, config.intermediate(layer), size)
        self.output_norm = DropoutAddLayerNorm(kernels, size, epsilon, plan.hidden(drop, size))

    def construct(self, x, mask, positions, rng=None):
        context, scores, probabilities, projected = self.attention(x, mask, positions, rng)
        x = self.attention_norm(self.attention_output(context), x, rng)
        return self.output_norm(self.output(self.intermediate(x)), x, rng), scores, probabilities, projected


class Encoder(nn.Cell):
    """Token ids to hidden states.

    Args:
        config: the model's configuration.
        kernels: chosen implementations; `Call.wants` decides which extra outputs there are.
        plan: numbers the dropout sites.
    """

    def __init__(self, config: ModelConfig, kernels: Kernels, plan: DropoutPlan) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, kernels, plan)
        numbers = range(config.num_hidden_layers)
        self.layers = nn.CellList([EncoderLayer(config, kernels.for_layer(i), plan, i) for i in numbers])
        of = kernels.call.wants_of
        self.told = tuple(of is None or i in of for i in numbers)
        self.first_alike = tuple(self.told.index(told) for told in self.told)  # those that share an implementation
        self.relative = config.position_embedding_type == "functional_relative"
        if self.relative:
            self.table = table_tensor(config.max_relative_position, config.attention_head_size)
        self.want_hidden = "hidden_states" in kernels.call.wants
        self.want_scores = "scores" in kernels.call.wants
        self.want_probabilities = "probabilities" in kernels.call.wants
        self.want_projected = "projected" in kernels.call.wants

    def recompute_layers(self) -> None:
        """Keep only what goes into each layer for the backward pass, which computes the rest again."""
        for layer in self.layers:
            layer.recompute()

    def construct(self, input_ids, token_type_ids, attention_mask, rng=None, inputs_embeds=None):
        """Hidden states of the last layer `[B, S, H]`, then (empty where not wanted) tuples of hidden states of all
        layers, and, of those that `Call.wants_of` names, of probabilities, scores, and queries, keys and values.

        `input_ids`, `token_type_ids`, `attention_mask` int32 `[B, S]`; rng: see `kernels/dropout.py`; `inputs_embeds`:
        rows `[B, S, H]` of the word embeddings where they have been looked up already.
        """
        length = input_ids.shape[1]
        mask = ((1.0 - attention_mask.astype(ms.float32)) * MASKED).reshape((-1, 1, 1, length))
        x = self.embeddings(input_ids, token_type_ids, rng, inputs_embeds)
        shared = ()
        for number, layer in enumerate(self.layers):
            positions = None
            if self.relative and self.first_alike[number] == number:
                positions = layer.attention.kernel.positions(self.table, length, length)
            shared = (*shared, positions)
        hidden, all_scores, all_probabilities, all_projected = (), (), (), ()
        if self.want_hidden:
            hidden = (x,)
        for number, layer in enumerate(self.layers):
            x, scores, probabilities, projected = layer(x, mask, shared[self.first_alike[number]], rng)
            if self.want_hidden:
                hidden = (*hidden, x)
            if self.want_scores and self.told[number]:
                all_scores = (*all_scores, scores)
            if self.want_probabilities and self.told[number]:
                all_probabilities = (*all_probabilities, probabilities)
            if self.want_projected and self.told[number]:
                all_projected = (*all_projected, projected)
        return x, hidden, all_probabilities, all_scores, all_projected
