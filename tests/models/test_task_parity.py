"""Heads for tasks against transformers: logits, the standard loss and every gradient (golden files)."""

from __future__ import annotations

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from golden_files import SLOW_TASKS, TASKS, read_task
from mindspore import ParameterTuple, Tensor, nn, ops

from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import load
from ms_plm.models.model import Model
from ms_plm.models.names import name_table

CHOICES = 3


class _Loss(nn.Cell):
    """The loss that transformers' classes have, in stock operators; logits beside it."""

    def __init__(self, model: Model, task: str) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.task, self.classes = model, task, model.config.num_labels

    def construct(self, ids, types, mask, labels):
        logits = self.model.task_logits(self.model.encoder(ids, types, mask)[0])
        if self.task == "regression":
            loss = ops.mse_loss(logits.reshape((-1,)), labels)
        elif self.task == "question_answering":
            starts = ops.cross_entropy(logits[:, :, 0], labels[:, 0], ignore_index=ids.shape[1])
            ends = ops.cross_entropy(logits[:, :, 1], labels[:, 1], ignore_index=ids.shape[1])
            loss = (starts + ends) / 2
        elif self.task == "multiple_choice":
            loss = ops.cross_entropy(logits.reshape((-1, CHOICES)), labels)
        else:
            loss = ops.cross_entropy(logits.reshape((-1, self.classes)), labels.reshape((-1,)), ignore_index=-100)
        return loss, logits


@pytest.fixture(
    scope="module", params=[*TASKS, *(pytest.param(task, marks=pytest.mark.slow) for task in SLOW_TASKS)], ids="-".join
)
def case(request):
    """What our model computes on a golden file's inputs, beside what transformers computed."""
    family, task = request.param
    folder, golden = read_task(family, task)
    head = "sequence_classification" if task == "regression" else task
    model, _ = load(folder, head, kernels=Kernels(Call(training=True)))
    names, parameters = zip(*model.parameters_and_names(), strict=True)
    both = ms.value_and_grad(_Loss(model, task), None, ParameterTuple(parameters), has_aux=True)
    inputs = (Tensor(golden[name]) for name in ("input_ids", "token_type_ids", "attention_mask", "labels"))
    (loss, logits), gradients = both(*inputs)
    table = name_table(model.config, f"{family}.", head)
    return SimpleNamespace(
        golden=golden,
        loss=loss.asnumpy(),
        logits=logits.asnumpy(),
        gradients={table[name]: value.asnumpy() for name, value in zip(names, gradients, strict=True)},
    )


def test_logits_agree(case) -> None:
    wanted = case.golden["logits"]
    assert case.logits.dtype == np.float32
    assert case.logits.size == wanted.size
    np.testing.assert_allclose(case.logits.reshape(wanted.shape), wanted, rtol=0, atol=2e-5)


def test_losses_agree(case) -> None:
    np.testing.assert_allclose(case.loss, case.golden["loss"], rtol=0, atol=1e-5)


def test_every_gradient_agrees(case) -> None:
    expected = {k.removeprefix("gradient."): v for k, v in case.golden.items() if k.startswith("gradient.")}
    assert expected.keys() == case.gradients.keys()
    for name, value in expected.items():
        error = np.abs(case.gradients[name] - value).max()
        assert error <= max(1e-4 * np.abs(value).max(), 1e-6), f"{name}: {error}"
