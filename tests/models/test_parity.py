"""Hidden states, logits, losses and gradients against transformers (golden files; tools/goldens made them)."""

from __future__ import annotations

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from golden_files import GOLDENS, read_golden
from mindspore import ParameterTuple, Tensor

from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import load
from ms_plm.models.names import name_table
from ms_plm.tasks.pretraining import PretrainingLoss
from ms_plm.training.forward import Forward

CASES = [
    ("nezha_k8", 16, "auto"),
    ("nezha_k8", 200, "reference"),
    ("nezha_k8", 700, "auto"),
    ("bert", 16, "reference"),
]
SLOW_CASES = [
    ("nezha_k64", 200, "auto"),
    ("nezha_gelu_new", 16, "auto"),
    ("bert", 200, "auto"),
    ("bert_gelu_new", 16, "reference"),
]


@pytest.fixture(
    scope="module",
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)],
    ids=lambda case: "-".join(map(str, case)),
)
def case(request):
    """What our model computes on a golden file's inputs, beside what transformers computed."""
    name, length, request_kernels = request.param
    golden = read_golden(name, length)
    kernels = Kernels(Call(training=True, wants=frozenset({"hidden_states", "probabilities"})), request_kernels)
    model, _ = load(GOLDENS / name, head="pretraining", kernels=kernels)
    loss = PretrainingLoss(model, nsp=True)
    ids, types, mask = (Tensor(golden[key]) for key in ("input_ids", "token_type_ids", "attention_mask"))
    out = model(ids, types, mask)
    count = len(golden["masked_positions"])
    names, parameters = zip(*model.parameters_and_names(), strict=True)
    forward = Forward(loss, ParameterTuple(parameters))
    weights = Tensor(np.array([1 / count, 1 / len(ids)], np.float32))
    labels = Tensor(golden["masked_labels"]), Tensor(np.ones(count, np.float32)), Tensor(golden["next_sentence_labels"])
    positions = Tensor(golden["masked_positions"])
    terms, gradients = forward(Tensor(1.0, ms.float32), weights, None, ids, types, mask, positions, *labels)
    table = name_table(model.config, f"{model.config.model_type}.")
    gradients = {table[name]: value.asnumpy() for name, value in zip(names, gradients, strict=True)}
    return SimpleNamespace(golden=golden, out=out, terms=terms.asnumpy(), gradients=gradients)


def _rows(values: Tensor, golden: dict) -> np.ndarray:
    array = values.asnumpy()
    return array.reshape(-1, array.shape[-1])[golden["rows"]]


def test_hidden_states_agree(case) -> None:
    for number, states in enumerate(case.out.hidden_states):
        np.testing.assert_allclose(
            _rows(states, case.golden), case.golden[f"hidden_states.{number}"], rtol=0, atol=1e-4
        )


def test_attention_probabilities_agree(case) -> None:
    for number, probabilities in enumerate(case.out.attentions):
        if f"attentions.{number}" in case.golden:
            expected = case.golden[f"attentions.{number}"]
            np.testing.assert_allclose(probabilities.asnumpy(), expected, rtol=0, atol=1e-5)


def test_logits_agree(case) -> None:
    out, golden = case.out, case.golden
    np.testing.assert_allclose(_rows(out.prediction_logits, golden), golden["prediction_logits"], rtol=0, atol=1e-4)
    for key in ("pooler_output", "seq_relationship_logits"):
        np.testing.assert_allclose(getattr(out, key).asnumpy(), golden[key], rtol=0, atol=1e-4)


def test_losses_agree(case) -> None:
    expected = [case.golden["masked_lm_loss"], case.golden["next_sentence_loss"]]
    np.testing.assert_allclose(case.terms, expected, rtol=0, atol=1e-5)


def test_every_gradient_agrees(case) -> None:
    expected = {k.removeprefix("gradient."): v for k, v in case.golden.items() if k.startswith("gradient.")}
    assert expected.keys() == case.gradients.keys()
    for name, value in expected.items():
        error = np.abs(case.gradients[name] - value).max()
        assert error <= max(1e-3 * np.abs(value).max(), 1e-6), f"{name}: {error}"
