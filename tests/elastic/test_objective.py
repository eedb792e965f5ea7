"""What sub-networks learn in one update: terms by hand, gradients that add up, the teacher's width."""

from __future__ import annotations

import numpy as np
import pytest
from elastic_models import arrays, config, model
from mindspore import ParameterTuple, Tensor
from scipy.special import log_softmax, softmax

from ms_plm.common import rng
from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.finetuning import TextLimits
from ms_plm.config.recipe import TrainSection
from ms_plm.elastic.objective import elastic_loss, views
from ms_plm.elastic.parts import extracted
from ms_plm.elastic.subnetworks import SubNetwork, of_method
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tasks.kinds import named_task
from ms_plm.tasks.text import TextKind
from ms_plm.training.forward import Forward
from ms_plm.training.step import StepOptions, TrainingStep, rng_maker

METHOD = {
    "widths": (1.0,),
    "subnetworks": [{"layers": (0, 2), "heads": (2, 2), "intermediate": (12, 12)}],
    "teacher": {"from": "x"},
    "losses": {"embedding": 0.5, "hidden": 0.25, "prediction": 2.0, "labels": 0.125},
}
INPUTS = ("input_ids", "token_type_ids", "attention_mask")


class Elastic:
    """A whole model with its sub-networks, a teacher of the same shape, and the loss."""

    def __init__(self, changes: dict | None = None, **teacher) -> None:
        method = ElasticMethod.model_validate({**METHOD, **(changes or {}), "teacher": {"from": "x", **teacher}})
        self.whole, self.teacher = model("nezha", training=True), model("nezha", training=True, seed=7)
        self.parts = of_method(self.whole.config, method)
        self.views = views(self.whole, self.parts)
        kind = TextKind(named_task("glue/sst-2"), ("no", "yes"), TextLimits())
        self.loss = elastic_loss(method, self.whole.config, self.parts, self.views, kind, self.teacher)
        batch = arrays(seed=1)
        batch["dropout_keys"] = rng.sample_keys(3, 0, np.arange(4), rng.DROPOUT)
        self.batch = rng_maker(*self.views)(batch)
        weights = self.loss.weights_of(batch)
        self.inverse = Tensor(np.array([1 / weights[name] for name in self.loss.terms], np.float32))

    def answers(self, number: int) -> tuple:
        """What the teacher tells a part."""
        return self.loss.shared[number](*(Tensor(self.batch[name]) for name in self.loss.inputs))

    def inputs(self, number: int, dropout: bool) -> list:
        drawn = self.batch["rng"]
        drawn = drawn[number] if isinstance(drawn, list) else drawn
        mine = [Tensor(self.batch[name]) for name in self.loss.inputs]
        return [Tensor(drawn) if dropout else None, *mine, *self.answers(number)]


@pytest.fixture(scope="module")
def elastic() -> Elastic:
    return Elastic()


def outputs(of, batch) -> tuple[list[np.ndarray], np.ndarray]:
    """Hidden states and logits in float64."""
    out = of(*(Tensor(batch[name]) for name in INPUTS))
    states = [state.asnumpy().astype(np.float64) for state in out.hidden_states]
    return states, out.task_logits.asnumpy().astype(np.float64)


def expected(student, teacher, kept, batch) -> np.ndarray:
    """Terms of one sub-network, from the definition: states before the layers that are kept, and after the last."""
    (own, logits), (theirs, told) = student, teacher
    mask = batch["attention_mask"].astype(np.float64)

    def difference(a, b):
        return ((((a - b) ** 2).mean(-1)) * mask).sum() / mask.sum()

    hidden = sum(difference(own[place], theirs[of]) for place, of in enumerate(kept) if place > 0)
    hidden += difference(own[-1], theirs[-1])
    soft = -(softmax(told, -1) * log_softmax(logits, -1)).sum(-1).mean()
    labels = -log_softmax(logits, -1)[np.arange(4), batch["labels"]].mean()
    return np.array([0.5 * difference(own[0], theirs[0]), 0.25 * hidden, 2.0 * soft, 0.125 * labels])


def test_terms_of_every_sub_network_are_those_of_the_definition(elastic):
    teacher = outputs(elastic.teacher, elastic.batch)
    assert [part.layers for part in elastic.parts] == [(0, 1, 2), (0, 2)]
    for number, part in enumerate(elastic.parts):
        found = elastic.loss.parts[number](*elastic.inputs(number, dropout=False)).asnumpy() * elastic.inverse.asnumpy()
        student = extracted(elastic.whole, part, elastic.whole.kernels)
        own = expected(outputs(student, elastic.batch), teacher, part.layers, elastic.batch)
        np.testing.assert_allclose(found, own, rtol=2e-5, err_msg=part.name)


def test_a_steps_gradients_are_the_sum_of_those_of_its_sub_networks(elastic):
    """With dropout, by the same keys; a sub-network has none where it does not reach."""
    named = dict(elastic.whole.parameters_and_names())
    every = ParameterTuple(list(named.values()))
    total = [np.zeros(parameter.shape) for parameter in every]
    for number, part in enumerate(elastic.parts):
        _, found = Forward(elastic.loss.parts[number], every)(
            Tensor(1.0), elastic.inverse, *elastic.inputs(number, dropout=True)
        )
        own = dict(zip(named, (gradient.asnumpy() for gradient in found), strict=True))
        if part.width is None:
            assert not own["encoder.layers.2.intermediate.weight"][12:].any()
            assert own["encoder.layers.2.intermediate.weight"][:12].any()
            assert not own["encoder.layers.1.output.weight"].any()
        total = [a + b for a, b in zip(total, own.values(), strict=True)]
    kernels = elastic.whole.kernels
    step = TrainingStep(elastic.loss, named, TrainSection(steps=1), kernels, StepOptions(), accumulate=False)
    step.accumulation(elastic.inverse, step.tensors(elastic.batch))
    largest = max(np.abs(gradient).max() for gradient in total)
    for name, own, of_step in zip(named, total, step.accumulation.totals, strict=True):
        np.testing.assert_allclose(of_step.asnumpy(), own, atol=1e-5 * largest, err_msg=name)
    before = {name: parameter.asnumpy().copy() for name, parameter in named.items()}
    result = step._update(Tensor(1e-2))
    assert float(result[1].asnumpy()) == pytest.approx(np.sqrt(sum((g**2).sum() for g in total)), rel=1e-5)
    for name, parameter in named.items():
        assert name.endswith("key.bias") or np.abs(parameter.asnumpy() - before[name]).max() > 0
    shared = elastic.views[1].encoder.layers[1].intermediate.weight.asnumpy()
    np.testing.assert_array_equal(shared, named["encoder.layers.2.intermediate.weight"].asnumpy())


def test_sub_networks_drop_other_values_by_the_same_keys(elastic):
    first, second = elastic.views
    keys = elastic.batch["dropout_keys"]
    masks = [model.plan.host_mask(keys, 8)[:512] for model in (first, second)]
    assert first.plan.end <= second.plan.end - second.config.num_hidden_layers
    assert 0.1 < np.mean(masks[0] != masks[1]) < 0.3  # 2 x 0.1 x 0.9


def test_masks_that_are_made_on_the_host_are_one_for_each_sub_network():
    """Where there are no native operations."""
    kernels = Kernels(Call(training=True), {"dropout": "host_mask"})
    whole = Model(config("nezha"), "sequence_classification", kernels)
    seen = views(whole, [SubNetwork.of(whole.config, width) for width in (1.0, 0.5)])
    keys = rng.sample_keys(3, 0, np.arange(4), rng.DROPOUT)
    masks = rng_maker(*seen)({**arrays(), "dropout_keys": keys})["rng"]
    assert [len(mask) for mask in masks] == [model.plan.size(4, 8) for model in seen]
    assert len(masks[0]) > len(masks[1])


def test_a_teacher_of_the_same_width_answers_for_each_width_once():
    same = Elastic({"widths": (1.0, 0.5), "depths": (1.0, 0.67), "subnetworks": ()}, width="same")
    answers = [id(cell) for cell in same.loss.shared]
    assert answers[0] == answers[2] != answers[1] == answers[3]
    told = same.answers(1)[-1].asnumpy()
    narrow = extracted(same.teacher, SubNetwork.of(same.teacher.config, 0.5))
    logits = narrow(*(Tensor(same.batch[name]) for name in INPUTS)).task_logits.asnumpy()
    np.testing.assert_allclose(told, logits, atol=1e-5)
