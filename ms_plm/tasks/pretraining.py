"""Masked-LM and next-sentence pretraining: named sums of losses, and figures on held-out data."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from ms_plm.data.loader import pretraining_weights
from ms_plm.models.model import Model


def head_for(nsp: bool) -> str:
    """The model's head: with or without next-sentence prediction."""
    return "pretraining" if nsp else "masked_lm"


def term_names(nsp: bool) -> tuple[str, ...]:
    """Names of the loss terms, in the order of the tensors below."""
    return ("masked_lm", "next_sentence") if nsp else ("masked_lm",)


def input_names(nsp: bool) -> tuple[str, ...]:
    """Arrays of a micro-batch in the order of `PretrainingLoss.construct`, after `rng`."""
    names = ("input_ids", "token_type_ids", "attention_mask", "masked_positions", "masked_labels", "masked_weights")
    return (*names, "next_sentence_labels") if nsp else names


class PretrainingLoss(nn.Cell):
    """Sums of losses over one micro-batch, fp32 `[terms]`; the update divides each by its own weight.

    Args:
        model: with the head `head_for(nsp)`.
        nsp: whether there is a next-sentence term.
    """

    takes_words = False  # the masked-LM head reads the word embeddings too

    def __init__(self, model: Model, nsp: bool) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.nsp = model, nsp
        self.tied_lookup = model.kernels.build("tied_lookup")
        self.masked_lm_loss = model.kernels.build("masked_lm_loss")
        self.cross_entropy_sum = model.kernels.build("cross_entropy_sum")
        self.terms, self.inputs = term_names(nsp), input_names(nsp)

    weights_of = staticmethod(pretraining_weights)

    def construct(self, rng, input_ids, token_type_ids, attention_mask, positions, labels, weights, next_labels=None):
        model = self.model
        words, embedding = self.tied_lookup(model.encoder.embeddings.word_embeddings.weight, input_ids)
        hidden = model.encoder(input_ids, token_type_ids, attention_mask, rng, words)[0]
        rows = model.masked_lm.transform(model.masked_rows(hidden, positions))
        masked = self.masked_lm_loss(rows, embedding, model.masked_lm.bias, labels, weights)
        if not self.nsp:
            return ops.stack((masked,))
        logits = model.next_sentence(model.pooler(hidden))
        counted = ops.ones_like(next_labels).astype(ms.float32)
        return ops.stack((masked, self.cross_entropy_sum(logits, next_labels, counted)))


class PretrainingFigures(nn.Cell):
    """What evaluation needs of one batch.

    Args:
        model: with the head `head_for(nsp)`, or `pretraining` where `nsp` is false.
        nsp: whether next-sentence logits are wanted.
    """

    def __init__(self, model: Model, nsp: bool) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.nsp = model, nsp
        self.softmax, self.largest = ops.Softmax(-1), ops.ReduceMax()

    def construct(self, input_ids, token_type_ids, attention_mask, positions, labels):
        """Masked-LM loss of every slot fp32 `[M]`, predicted ids int32 `[M]`, then with `nsp` logits fp32 `[B, 2]`.

        logsumexp as in `kernels/loss.py`: the stock CPU log-softmax is wrong by 4e-6.
        """
        model = self.model
        hidden = model.encoder(input_ids, token_type_ids, attention_mask)[0]
        logits = model.masked_logits(model.masked_rows(hidden, positions))
        total = self.largest(logits, -1) - ops.log(self.largest(self.softmax(logits), -1))
        losses = total - ops.gather_elements(logits, 1, labels.reshape((-1, 1))).reshape((-1,))
        predictions = ops.argmax(logits, -1).astype(ms.int32)
        if not self.nsp:
            return losses, predictions
        return losses, predictions, model.next_sentence(model.pooler(hidden))
