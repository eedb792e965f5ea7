"""Worker of train_step.py: Hugging Face NEZHA on PyTorch, eager, fp32, as its documentation trains it."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from _step_data import make_batches, serve, worker_arguments
from transformers import NezhaConfig, NezhaForPreTraining


def to_torch(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Arguments of `NezhaForPreTraining`: labels `[B, S]` with -100 where nothing is predicted."""
    labels = np.full(batch["input_ids"].size, -100)
    labels[batch["masked_positions"]] = batch["masked_labels"]
    arrays = {
        **{name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")},
        "labels": labels.reshape(batch["input_ids"].shape),
        "next_sentence_label": batch["next_sentence_labels"],
    }
    return {name: torch.from_numpy(np.asarray(value)).long() for name, value in arrays.items()}


def main() -> None:
    args = worker_arguments(__doc__)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = NezhaConfig(
        vocab_size=args.vocabulary,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 64,
        intermediate_size=4 * args.hidden,
        max_position_embeddings=max(512, args.length),
    )
    model = NezhaForPreTraining(config).train()
    decayed = [p for n, p in model.named_parameters() if not n.endswith("bias") and "LayerNorm" not in n]
    others = [p for n, p in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, eps=1e-6)
    batches = [to_torch(batch) for batch in make_batches(args.batch, args.length, args.vocabulary)]

    def step(number: int) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = model(**batches[number % len(batches)]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    serve(step, f"transformers {transformers.__version__}, torch {torch.__version__}, eager, fp32")


if __name__ == "__main__":
    main()
