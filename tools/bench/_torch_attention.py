"""Worker of attention.py: attention on PyTorch, forward and gradients of query, key and value.

`nezha`: NezhaSelfAttention of transformers, without its projections. `sdpa`: scaled_dot_product_attention, which has no
relative positions. bf16 is autocast's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _attention_sizes import DROPOUT, HEAD_SIZE, SHORT, SIZES, inputs
from _serving import resident_mb, serve, worker_arguments
from torch.nn.functional import scaled_dot_product_attention
from transformers import NezhaConfig
from transformers.models.deprecated.nezha.modeling_nezha import NezhaSelfAttention

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Given(torch.nn.Module):
    """Stands for a projection: gives what it was given."""

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.values


def nezha(batch: int, length: int, heads: int) -> Attention:
    """NezhaSelfAttention from query, key and value `[B, S, N*D]`."""
    config = NezhaConfig(
        hidden_size=heads * HEAD_SIZE,
        num_attention_heads=heads,
        max_position_embeddings=length,
        attention_probs_dropout_prob=DROPOUT,
    )
    module = NezhaSelfAttention(config).train()
    module.query, module.key, module.value = Given(), Given(), Given()
    mask = torch.zeros(batch, 1, 1, length)

    def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        module.query.values, module.key.values, module.value.values = query, key, value
        return module(query, mask)[0]

    return attention


def sdpa(batch: int, length: int, heads: int) -> Attention:
    """scaled_dot_product_attention from query, key and value `[B, S, N*D]`."""

    def attention(*arrays: torch.Tensor) -> torch.Tensor:
        split = (array.view(batch, length, heads, HEAD_SIZE).transpose(1, 2) for array in arrays)
        context = scaled_dot_product_attention(*split, dropout_p=DROPOUT)
        return context.transpose(1, 2).reshape(batch, length, heads * HEAD_SIZE)

    return attention


KINDS = {"nezha": nezha, "sdpa": sdpa}


def build_step(attention: Attention, arrays: list, low: bool) -> Callable[[int], float]:
    """A function that runs step n; `low`: in bf16."""
    *leaves, dcontext = map(torch.from_numpy, arrays)
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def step(number: int) -> float:
        for leaf in leaves:
            leaf.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            context = attention(*leaves)
        context.backward(dcontext.to(context.dtype))
        return float(leaves[0].grad[0, 0, 0])

    return step


def main() -> None:
    args = worker_arguments(__doc__, **SIZES, kind="nezha", precision="fp32", compiled=0)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    def build(batch: int, length: int) -> Callable[[int], float]:
        attention = KINDS[args.kind](batch, length, args.heads)
        if args.compiled:
            attention = torch.compile(attention)
        return build_step(attention, inputs(batch, length, args.heads), args.precision == "bf16")

    build(1, SHORT)(0)
    base = resident_mb()
    how = "torch.compile" if args.compiled else "eager"
    about = f"torch {torch.__version__}, {args.precision}, {how}"
    serve(build(args.batch, args.length), about, base_mb=base)


if __name__ == "__main__":
    main()
