"""What samples, masking and loading hand to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SampleBatch:
    """Unmasked samples `[n, S]`.

    Attributes:
        input_ids: int32; padding is the tokenizer's.
        token_type_ids: int32; 1 in the second segment of a pair.
        attention_mask: int32; 0 for padding.
        word_starts: bool; True where a word begins.
        maskable: bool; False for special tokens and padding.
        next_sentence_labels: int32 `[n]`, 0 where the second segment follows the first, 1 where it is a random one
            (BERT's order); None without pairs.
        masked: masks that come with the data (MindRecord), else None.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    attention_mask: np.ndarray
    word_starts: np.ndarray
    maskable: np.ndarray
    next_sentence_labels: np.ndarray | None = None
    masked: MaskedBatch | None = None


@dataclass(frozen=True)
class MaskedBatch:
    """What a masking strategy gives; `P` is its `largest_count(max_length)`.

    Attributes:
        input_ids: int32 `[n, S]`, what the model sees.
        positions: int32 `[n, P]`, ascending; unused slots are 0.
        labels: int32 `[n, P]`, the tokens that stood there; unused slots are 0.
        weights: float32 `[n, P]`; unused slots are 0.
    """

    input_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
