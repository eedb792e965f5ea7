"""The pretraining loss and the held-out figures against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor
from oracle import oracle
from scipy.special import log_softmax, logsumexp
from tiny import MASKED, VOCABULARY, micro_batch, tiny_config

from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import named_tensors
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingFigures, PretrainingLoss, head_for, input_names, term_names

BATCH = 3


def _batch() -> dict[str, np.ndarray]:
    """Uneven weights, and slots that are not used."""
    batch = micro_batch(np.arange(BATCH))
    weights = np.linspace(0.2, 2.0, BATCH * MASKED).astype(np.float32)
    weights[[4, 8]] = 0
    return {**batch, "masked_weights": weights}


def _model(nsp: bool) -> Model:
    model = Model(tiny_config(), head_for(nsp), Kernels(Call(training=True))).initialise(seed=2)
    draw = np.random.default_rng(0)
    for parameter in model.get_parameters():
        if parameter.ndim == 1:  # new biases are 0 and would not be tested
            parameter.set_data(Tensor(parameter.asnumpy() + draw.normal(0, 0.1, parameter.shape).astype(np.float32)))
    return model


def _oracle(model: Model, batch: dict[str, np.ndarray]) -> dict:
    return oracle(model.config.to_huggingface(), named_tensors(model), batch)


@pytest.mark.parametrize("nsp", [True, False])
def test_losses_are_weighted_sums(nsp: bool) -> None:
    model, batch = _model(nsp), _batch()
    loss = PretrainingLoss(model, nsp)
    assert loss.terms == (("masked_lm", "next_sentence") if nsp else ("masked_lm",))
    assert ("next_sentence_labels" in loss.inputs) is nsp
    terms = loss(None, *(Tensor(batch[name]) for name in loss.inputs)).asnumpy()
    expected = _oracle(model, batch)
    sums = [expected["masked_lm_loss"] * batch["masked_weights"].sum()]
    if nsp:
        sums.append(expected["next_sentence_loss"] * BATCH)
    np.testing.assert_allclose(terms, sums, rtol=3e-6)


def test_figures_are_losses_guesses_and_logits() -> None:
    model, batch = _model(nsp=True), _batch()
    names = ("input_ids", "token_type_ids", "attention_mask", "masked_positions", "masked_labels")
    losses, guesses, relations = PretrainingFigures(model, nsp=True)(*(Tensor(batch[name]) for name in names))
    expected = _oracle(model, batch)
    logits = expected["prediction_logits"].reshape(-1, VOCABULARY)[batch["masked_positions"]]
    labels = batch["masked_labels"]
    wanted = logsumexp(logits, axis=-1) - logits[np.arange(len(labels)), labels]
    np.testing.assert_allclose(losses.asnumpy(), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(guesses.asnumpy(), logits.argmax(-1))
    got = log_softmax(relations.asnumpy(), axis=-1)
    np.testing.assert_allclose(got, log_softmax(expected["seq_relationship_logits"], axis=-1), rtol=0, atol=1e-5)


def test_names_say_which_head_arrays_and_terms_there_are() -> None:
    assert (head_for(True), head_for(False)) == ("pretraining", "masked_lm")
    assert term_names(False) == ("masked_lm",)
    assert input_names(True) == (*input_names(False), "next_sentence_labels")
