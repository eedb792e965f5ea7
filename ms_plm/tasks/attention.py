"""What the heads of a model look at in one input: all probabilities of attention, with the tokens that they join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of a model in one input of S tokens.

    Attributes:
        tokens: entries of the vocabulary as people read them, `[CLS]` and `[SEP]` included.
        ids: theirs.
        probabilities: float32 `[layers, heads, S, S]`, query x key, rows adding up to 1; NaN where a layer has fewer
            heads than others.
    """

    tokens: list[str]
    ids: list[int]
    probabilities: np.ndarray


def attention_maps(
    model: Model, tokenizer: Tokenizer, text: str, pair: str | None = None, max_length: int | None = None
) -> AttentionMaps:
    """Probabilities of every layer and head for one text, or a pair of texts.

    Args:
        model: with any head, built to give probabilities: `Kernels(Call(wants=frozenset({"probabilities"})))`.
        tokenizer: the model's.
        text, pair: special tokens in them, such as [MASK], are those tokens.
        max_length: what is longer is cut.

    Raises:
        UserError: the model gives no probabilities; the input is longer than an absolute position table.
    """
    if "probabilities" not in model.kernels.call.wants:
        raise UserError("attention: the model was built without probabilities; build it with a Call that wants them.")
    batch = tokenizer([text], None if pair is None else [pair], max_length)
    length = batch.input_ids.shape[1]
    if model.limit is not None and length > model.limit:
        raise UserError(
            f"text: {length} tokens with the special ones, but this model has {model.limit} absolute positions. "
            "Shorten the text, or cut it (max_length, on the command line --length)."
        )
    layers = [
        layer.asnumpy()[0] for layer in model(batch.input_ids, batch.token_type_ids, batch.attention_mask).attentions
    ]
    maps = np.full((len(layers), max(map(len, layers)), length, length), np.nan, np.float32)
    for number, layer in enumerate(layers):
        maps[number, : len(layer)] = layer
    ids = batch.input_ids[0].tolist()
    return AttentionMaps([tokenizer.readable[number] for number in ids], ids, maps)
