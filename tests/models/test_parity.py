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
from ms_plm.tasks.pretraining import PretrainingLoss, head_for
from ms_plm.training.forward import Forward

CASES = [
    ("nezha_k8", 16, "auto"),
    ("nezha_k8", 200, "reference"),
    ("nezha_k8", 700, "auto"),
    ("bert", 16, "reference"),
    ("roberta", 16, "auto"),
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
    nsp = "next_sentence_labels" in golden
    model, _ = load(GOLDENS / name, head=head_for(nsp), kernels=kernels)
    loss = PretrainingLoss(model, nsp)
    ids, types, mask = (Tensor(golden[key]) for key in ("input_ids", "token_type_ids", "attention_mask"))
    out = model(ids, types, mask)
    count = len(golden["masked_positions"])
    names, parameters = zip(*model.parameters_and_names(), strict=True)
    forward = Forward(loss, ParameterTuple(parameters))
    weights = Tensor(np.array([1 / count, 1 / len(ids)][: 1 + nsp], np.float32))
    labels = [Tensor(golden["masked_labels"]), Tensor(np.ones(count, np.float32))]
    labels += [Tensor(golden["next_sentence_labels"])] if nsp else []
    positions = Tensor(golden["masked_positions"])
    terms, gradients = forward(Tensor(1.0, ms.float32), weights, None, ids, types, mask, positions, *labels)
    table = name_table(model.config, f"{model.config.model_type}.")
    gradients = {table[name]: value.asnumpy() for name, value in zip(names, gradients, strict=True)}
    return SimpleNamespace(
        golden=golden, out=out, terms=terms.asnumpy(), gradients=gradients, roberta=model.config.model_type == "roberta"
    )


def _assert_rows(case, values: Tensor, key: str) -> None:
    """Rows of all positions; of RoBERTa those that are no padding, which has positions of its own in transformers."""
    array, rows = values.asnumpy(), case.golden["rows"]
    compared = case.golden["attention_mask"].reshape(-1)[rows] == 1 if case.roberta else slice(None)
    found = array.reshape(-1, array.shape[-1])[rows]
    np.testing.assert_allclose(found[compared], case.golden[key][compared], rtol=0, atol=1e-4)


def test_hidden_states_agree(case) -> None:
    for number, states in enumerate(case.out.hidden_states):
        _assert_rows(case, states, f"hidden_states.{number}")


def test_attention_probabilities_agree(case) -> None:
    for number, probabilities in enumerate(case.out.attentions):
        if f"attentions.{number}" in case.golden:
            found, expected = (
                np.moveaxis(values, 1, 2) for values in (probabilities.asnumpy(), case.golden[f"attentions.{number}"])
            )  # [B, S, N, S]
            queries = case.golden["attention_mask"] == 1 if case.roberta else slice(None)
            np.testing.assert_allclose(found[queries], expected[queries], rtol=0, atol=1e-5)


def test_logits_agree(case) -> None:
    out, golden = case.out, case.golden
    _assert_rows(case, out.prediction_logits, "prediction_logits")
    for key in {"pooler_output", "seq_relationship_logits"} & golden.keys():
        np.testing.assert_allclose(getattr(out, key).asnumpy(), golden[key], rtol=0, atol=1e-4)


def test_losses_agree(case) -> None:
    expected = [case.golden[key] for key in ("masked_lm_loss", "next_sentence_loss") if key in case.golden]
    np.testing.assert_allclose(case.terms, expected, rtol=0, atol=1e-5)


def test_every_gradient_agrees(case) -> None:
    expected = {k.removeprefix("gradient."): v for k, v in case.golden.items() if k.startswith("gradient.")}
    assert expected.keys() == case.gradients.keys()
    for name, value in expected.items():
        error = np.abs(case.gradients[name] - value).max()
        assert error <= max(1e-3 * np.abs(value).max(), 1e-6), f"{name}: {error}"
