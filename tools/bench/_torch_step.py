"""Worker of train_step.py: the training step of Hugging Face's NEZHA or BERT on PyTorch.

Eager: as transformers' documentation trains it. Compiled: what a user can build beyond that, torch.compile, the fused
AdamW, and the head on masked positions only. bf16 is autocast's. BERT takes scaled_dot_product_attention.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import transformers
from _serving import serve, worker_arguments
from _step_data import SIZES, make_batches
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForPreTraining, NezhaConfig, NezhaForPreTraining

Batch = dict[str, torch.Tensor]


def build_model(args) -> torch.nn.Module:
    sizes = {
        "vocab_size": args.vocabulary,
        "hidden_size": args.hidden,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.hidden // 64,
        "intermediate_size": 4 * args.hidden,
        "max_position_embeddings": max(512, args.length),
    }
    if args.family == "bert":
        return BertForPreTraining(BertConfig(**sizes, attn_implementation="sdpa")).train()
    return NezhaForPreTraining(NezhaConfig(**sizes)).train()


def to_torch(batch: dict[str, np.ndarray]) -> Batch:
    """All arrays as int64 tensors, and `labels` `[B, S]` with -100 where nothing is predicted."""
    labels = np.full(batch["input_ids"].size, -100)
    labels[batch["masked_positions"]] = batch["masked_labels"]
    arrays = {**batch, "labels": labels.reshape(batch["input_ids"].shape)}
    return {name: torch.from_numpy(np.asarray(value)).long() for name, value in arrays.items()}


def loss_of_all(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The library's own loss, which decodes every position."""
    inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask", "labels")}
    return model(**inputs, next_sentence_label=batch["next_sentence_labels"]).loss


def loss_of_masked(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The same value from the masked positions."""
    inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
    hidden, pooled = model.base_model(**inputs)[:2]
    rows = hidden.flatten(0, 1)[batch["masked_positions"]]
    predictions, relationship = model.cls(rows, pooled)
    masked = cross_entropy(predictions.float(), batch["masked_labels"])
    return masked + cross_entropy(relationship.float(), batch["next_sentence_labels"])


def build_optimizer(model: torch.nn.Module, fused: bool) -> torch.optim.Optimizer:
    named = list(model.named_parameters())
    free = {name for name, _ in named if name.endswith("bias") or "LayerNorm" in name}
    groups = [
        {"params": [p for name, p in named if name not in free], "weight_decay": 0.01},
        {"params": [p for name, p in named if name in free], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-4, eps=1e-6, fused=fused or None)


def main() -> None:
    args = worker_arguments(__doc__, **SIZES, family="nezha", precision="fp32", compiled=0)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = build_model(args)
    optimizer = build_optimizer(model, fused=bool(args.compiled))
    batches = [to_torch(batch) for batch in make_batches(args.batch, args.length, args.vocabulary)]

    def eager(batch: Batch) -> torch.Tensor:
        return (loss_of_masked if args.compiled else loss_of_all)(model, batch)

    loss_of: Callable[[Batch], torch.Tensor] = torch.compile(eager) if args.compiled else eager

    def step(number: int) -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            loss = loss_of(batches[number % len(batches)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    how = "torch.compile, fused AdamW, masked positions only" if args.compiled else "eager"
    serve(step, f"torch {torch.__version__}, transformers {transformers.__version__}, {args.precision}, {how}")


if __name__ == "__main__":
    main()
