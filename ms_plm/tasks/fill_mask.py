"""Filling in [MASK]: the most probable tokens for every masked place of a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from ms_plm.common.errors import UserError
from ms_plm.evaluation.metrics import log_softmax
from ms_plm.models.model import Model
from ms_plm.tokenization import Batch, Tokenizer

MASK = "[MASK]"
_TEXTS = 16  # texts in one forward
_ROWS = 32  # masked places whose logits are computed at once
_LENGTHS = 32  # lengths are rounded up to multiples of this: few shapes, few compilations


class _Hidden(nn.Cell):
    """Hidden states `[B, S, H]`."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, input_ids, token_type_ids, attention_mask):
        return self.model.encoder(input_ids, token_type_ids, attention_mask)[0]


class _Logits(nn.Cell):
    """Rows `[M, H]` to fp32 logits `[M, V]`."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, rows):
        return self.model.masked_logits(rows)


class PlaceLogits:
    """Logits of chosen places of batches. Graphs are compiled once: one for a shape of batches, one for all places.

    Args:
        model: with a masked-LM head.
    """

    def __init__(self, model: Model) -> None:
        if not model.has_masked_lm:
            raise UserError(f"a masked-LM head is needed; this model was loaded with head={model.head!r}.")
        self._hidden, self._logits = _Hidden(model), _Logits(model)

    def __call__(
        self,
        input_ids: np.ndarray,
        token_type_ids: np.ndarray,
        attention_mask: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
    ) -> Iterator[np.ndarray]:
        """Logits of the places `(rows[i], columns[i])` in their order, fp32 `[at most 32, V]` at a time.

        Args:
            input_ids, token_type_ids, attention_mask: int32 `[B, S]`.
            rows, columns: int `[m]`.
        """
        inputs = (Tensor(values) for values in (input_ids, token_type_ids, attention_mask))
        hidden = self._hidden(*inputs).asnumpy()[rows, columns]
        for start in range(0, len(hidden), _ROWS):
            block = hidden[start : start + _ROWS]
            padded = np.zeros((_ROWS, hidden.shape[1]), np.float32)
            padded[: len(block)] = block
            yield self._logits(Tensor(padded)).asnumpy()[: len(block)]


class MaskFiller:
    """Fills in the masks of texts; graphs are compiled once for a shape.

    Args:
        model: with a masked-LM head.
        tokenizer: the model's.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._logits = PlaceLogits(model)

    def __call__(self, texts: Sequence[str], top_k: int = 5) -> list[dict[str, Any]]:
        """See `fill_masks`."""
        if top_k < 1:
            raise UserError(f"top_k: expected at least 1, found {top_k}.")
        texts = list(texts)
        for number, text in enumerate(texts, 1):
            if MASK not in text and self.tokenizer.options.mask_token not in text:
                raise UserError(f"text {number}: expected {MASK} at least once, found {text[:80]!r}.")
        results = []
        for start in range(0, len(texts), _TEXTS):
            results += self._fill(texts[start : start + _TEXTS], start, min(top_k, self.tokenizer.vocab_size))
        return results

    def _fill(self, texts: list[str], first: int, top_k: int) -> Iterator[dict[str, Any]]:
        mask_token = self.tokenizer.options.mask_token
        batch = self.tokenizer([text.replace(MASK, mask_token) for text in texts])
        self._check_lengths(batch.attention_mask.sum(axis=1), first)
        rows, columns = np.nonzero(batch.input_ids == self.tokenizer.mask_id)
        ids, probabilities = self._candidates(self._logits(*self._padded(batch), rows, columns), top_k)
        for number, text in enumerate(texts):
            masks = [
                {"position": int(columns[place]), "candidates": self._named(ids[place], probabilities[place])}
                for place in np.flatnonzero(rows == number)
            ]
            yield {"text": text, "filled": self._filled(text, masks), "masks": masks}

    def _named(self, ids: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
        return [
            {"token": self.tokenizer.readable[token], "id": int(token), "probability": float(probability)}
            for token, probability in zip(ids, probabilities, strict=True)
        ]

    def _filled(self, text: str, masks: list[dict[str, Any]]) -> str:
        """The text with the first candidate in every mask's place."""
        parts = text.replace(self.tokenizer.options.mask_token, MASK).split(MASK)
        tokens = [mask["candidates"][0]["token"].removeprefix("##") for mask in masks]
        filled = ""
        for part, token in zip(parts, [*tokens, ""], strict=True):
            filled += part
            filled += token if filled and not filled[-1].isspace() else token.lstrip()
        return filled

    def _check_lengths(self, lengths: np.ndarray, first: int) -> None:
        limit = self.model.limit
        if limit is not None and lengths.max() > limit:
            number = int(lengths.argmax())
            raise UserError(
                f"text {first + number + 1}: {lengths[number]} tokens with the special ones, but this model has "
                f"{limit} absolute positions. Shorten the text."
            )

    def _padded(self, batch: Batch) -> list[np.ndarray]:
        """The batch's arrays; rows and columns are padded to a few shapes."""
        count, length = batch.input_ids.shape
        width = -(-length // _LENGTHS) * _LENGTHS
        if self.model.limit is not None:
            width = min(width, self.model.limit)
        height = 1 if count == 1 else _TEXTS
        arrays = []
        for values, fill in (
            (batch.input_ids, self.tokenizer.pad_id),
            (batch.token_type_ids, 0),
            (batch.attention_mask, 0),
        ):
            padded = np.full((height, width), fill, np.int32)
            padded[:count, :length] = values
            arrays.append(padded)
        return arrays

    def _candidates(self, blocks: Iterable[np.ndarray], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Best ids and their probabilities, both `[m, top_k]`, from blocks of the logits of masked places."""
        ids, probabilities = [], []
        for logits in blocks:
            scores = log_softmax(logits[:, : self.tokenizer.vocab_size])  # the rest has no tokens: see check_vocabulary
            best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
            ids.append(best)
            probabilities.append(np.exp(np.take_along_axis(scores, best, axis=1)))
        return np.concatenate(ids), np.concatenate(probabilities)


def fill_masks(model: Model, tokenizer: Tokenizer, texts: Sequence[str], top_k: int = 5) -> list[dict[str, Any]]:
    """The most probable tokens for every [MASK] of every text, each mask by itself.

    Args:
        model: with a masked-LM head.
        tokenizer: the model's.
        texts: each with one or more literal `[MASK]`.
        top_k: candidates for each mask.

    Returns:
        For each text `{"text", "filled", "masks"}`: the text, the text with the best candidates, and for each mask in
        the text's order `{"position": index of the token, "candidates": [{"token", "id", "probability"}, ...]}`.

    Raises:
        UserError: a text without [MASK], one that is longer than an absolute position table, or no masked-LM head.
    """
    return MaskFiller(model, tokenizer)(texts, top_k)
