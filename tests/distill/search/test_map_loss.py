"""A map as an input of the graph: every map gives the terms and gradients of a distillation by that map alone."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import ParameterTuple, Tensor

from ms_plm.config.distillation import DistillMethod
from ms_plm.config.model import ModelConfig
from ms_plm.distill.objective import DistillationLoss, Objective
from ms_plm.distill.search.objective import AnyMap, MapLoss
from ms_plm.kernels import Call, Kernels
from ms_plm.models.heads import Projection
from ms_plm.models.model import Model
from ms_plm.training.forward import Forward

LENGTH = 6
IDS = np.random.default_rng(3).integers(5, 30, (2, LENGTH)).astype(np.int32)
ARRAYS = {
    "input_ids": IDS,
    "token_type_ids": np.zeros_like(IDS),
    "attention_mask": np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], np.int32),
    "counted": np.ones(2, np.float32),
}
METHOD = {"teacher": {"from": "x"}, "losses": {"embedding": 0.5, "hidden": 2.0, "attention": 3.0}}


def config(layers: int, size: int) -> ModelConfig:
    shape = {"num_hidden_layers": layers, "hidden_size": size, "num_attention_heads": 2, "intermediate_size": 16}
    return ModelConfig(model_type="bert", vocab_size=30, initializer_range=0.3, **shape)


def model(objective: Objective, teacher: bool) -> Model:
    call = Call(training=True, wants=objective.wants(), wants_of=objective.layers(teacher))
    of, projection = (config(3, 12), None) if teacher else (config(2, 8), Projection("projections", 12))
    return Model(of, kernels=Kernels(call), pooler=False, projection=projection).initialise(4 + teacher)


def values(objective: Objective, loss_type, *more: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    student = model(objective, False)
    return graph(loss_type(objective, student, model(objective, True)), student)(*more)


def graph(loss, student):
    """Terms and the gradients of their sum, by name; compiled once."""
    named = dict(student.parameters_and_names())
    forward = Forward(loss, ParameterTuple(list(named.values())))
    ones = Tensor(np.ones(len(loss.terms), np.float32))

    def run(*more):
        arrays = [Tensor(ARRAYS[name]) for name in loss.inputs if name in ARRAYS]
        terms, gradients = forward(Tensor(1.0, ms.float32), ones, None, *arrays, *map(Tensor, more))
        return terms.asnumpy(), {name: g.asnumpy() for name, g in zip(named, gradients, strict=True)}

    return run


@pytest.fixture(scope="module")
def by_input():
    objective = AnyMap.of(DistillMethod.model_validate(METHOD), 2, 3)
    student = model(objective, False)
    return graph(MapLoss(objective, student, model(objective, True)), student)


def test_a_map_gives_what_a_distillation_by_it_gives(by_input):
    layer_map = (3, 1)
    method = DistillMethod.model_validate({**METHOD, "layer_map": layer_map})
    terms, gradients = values(Objective.of(method, 2, 3), DistillationLoss)
    found_terms, found = by_input(np.array(layer_map, np.int32))
    np.testing.assert_allclose(found_terms, terms, rtol=2e-5)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_layer_that_is_not_supervised_counts_nothing(by_input):
    (_, hidden, attention), gradients = by_input(np.array([2, 0], np.int32))
    assert hidden > 0
    assert attention > 0
    assert not any(gradients[name].any() for name in gradients if name.startswith("encoder.layers.1."))
    assert not gradients["projections.2.weight"].any()
    (_, hidden, attention), _ = by_input(np.array([0, 0], np.int32))
    assert (hidden, attention) == (0, 0)
