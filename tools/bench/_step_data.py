"""The sizes and the batches of the training step that train_step.py measures; NumPy only."""

from __future__ import annotations

import numpy as np

SIZES = {"batch": 8, "length": 128, "layers": 4, "hidden": 768, "vocabulary": 21128, "threads": 2}
"""Options of both workers. Heads are 64 wide, the inner layer is four times as wide as the outer one."""

CLS, SEP, MASK, ORDINARY = 101, 102, 103, 106
BATCHES = 4


def masked_count(length: int) -> int:
    """Masked tokens of one sequence: 15 % of its ordinary ones."""
    return round(0.15 * (length - 3))


def make_batches(batch: int, length: int, vocabulary: int) -> list[dict[str, np.ndarray]]:
    """Seeded batches of full-length pairs with 15 % of the tokens masked, as int32 arrays.

    `input_ids`, `token_type_ids`, `attention_mask` `[B, S]`; `masked_positions` (flat into `[B*S]`), `masked_labels`
    `[M]`; `next_sentence_labels` `[B]`.
    """
    random = np.random.RandomState(batch * 1000 + length)
    count = masked_count(length)
    batches = []
    for _ in range(BATCHES):
        ids = random.randint(ORDINARY, vocabulary, (batch, length)).astype(np.int32)
        types = np.zeros_like(ids)
        types[:, length // 2 + 1 :] = 1
        ids[:, 0], ids[:, length // 2], ids[:, -1] = CLS, SEP, SEP
        free = np.setdiff1d(np.arange(length), (0, length // 2, length - 1))
        chosen = np.stack([np.sort(random.choice(free, count, replace=False)) for _ in range(batch)])
        positions = (chosen + np.arange(batch)[:, None] * length).reshape(-1).astype(np.int32)
        labels = ids.reshape(-1)[positions].copy()
        ids.reshape(-1)[positions] = MASK
        batches.append(
            {
                "input_ids": ids,
                "token_type_ids": types,
                "attention_mask": np.ones_like(ids),
                "masked_positions": positions,
                "masked_labels": labels,
                "next_sentence_labels": random.randint(0, 2, batch).astype(np.int32),
            }
        )
    return batches
