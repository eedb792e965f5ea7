"""Layer maps, projections and weights of a whole objective: a 12-layer teacher and a 4-layer student, by hand."""

from __future__ import annotations

import loss_oracle as oracle
import mindspore as ms
import numpy as np
import pytest
from mindspore import ParameterTuple, Tensor

from ms_plm.config.distillation import DistillMethod
from ms_plm.config.model import ModelConfig
from ms_plm.distill.objective import DistillationLoss, Objective
from ms_plm.kernels import Call, Kernels
from ms_plm.models.heads import Projection
from ms_plm.models.model import Model
from ms_plm.training.forward import Forward

BATCH, LENGTH, HEADS = 2, 6, 2
IDS = np.random.default_rng(3).integers(5, 30, (BATCH, LENGTH)).astype(np.int32)
MASK = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], np.int32)
METHOD = {
    "teacher": {"from": "x"},
    "layer_map": (0, 0, 5, 10),
    "losses": {"embedding": 0.5, "hidden": 2.0, "attention": {"weight": 3.0, "layers": "uniform"}},
}


def config(layers: int, size: int) -> ModelConfig:
    return ModelConfig(
        model_type="bert",
        vocab_size=30,
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        intermediate_size=2 * size,
        initializer_range=0.3,
    )


class Toy:
    """A pair of models, what an independent reading of them gives, and the loss."""

    def __init__(self, parity: str, projection: str) -> None:
        method = DistillMethod.model_validate({**METHOD, "parity": parity})
        objective = Objective.of(method, 4, 12)
        every = frozenset({"hidden_states", "scores"})
        sizes = (config(4, 8), config(12, 12))
        self.plain = [Model(c, kernels=Kernels(Call(training=True, wants=every)), pooler=False) for c in sizes]
        part = {"shared": "projection", "per_layer": "projections"}[projection]
        self.student = self._model(sizes[0], objective, False, Projection(part, 12))
        self.teacher = self._model(sizes[1], objective, True, None)
        self.outputs = [model(Tensor(IDS), attention_mask=Tensor(MASK)) for model in (self._same(0), self._same(1))]
        self.loss = DistillationLoss(objective, self.student, self.teacher)
        self.arrays = {
            "input_ids": IDS,
            "token_type_ids": np.zeros_like(IDS),
            "attention_mask": MASK,
            "counted": np.ones(BATCH, np.float32),
        }

    def _model(self, of: ModelConfig, objective: Objective, teacher: bool, projection: Projection | None) -> Model:
        call = Call(training=True, wants=objective.wants(), wants_of=objective.layers(teacher))
        return Model(of, kernels=Kernels(call), pooler=False, projection=projection).initialise(4 + teacher)

    def _same(self, which: int) -> Model:
        return self.plain[which].initialise(4 + which)

    def terms(self, **changes: np.ndarray) -> np.ndarray:
        arrays = {**self.arrays, **changes}
        sums = self.loss(None, *(Tensor(arrays[name]) for name in self.loss.inputs)).asnumpy()
        weights = self.loss.weights_of(arrays)
        return sums / [weights[name] for name in self.loss.terms]

    def expected(self, parity: str) -> np.ndarray:
        """Embedding; layers 3 and 4 with the teacher's 5 and 10; maps of 1 to 4 with those of 3, 6, 9 and 12."""
        student, teacher = self.outputs
        states = [[s.asnumpy().astype(np.float64) for s in out.hidden_states] for out in self.outputs]
        scores = [[s.asnumpy().astype(np.float64) for s in out.attention_scores] for out in (student, teacher)]
        mask = np.ones_like(MASK) if parity == "original" else MASK
        wide = [self.project(state, number) for number, state in enumerate(states[0])]
        embedding = oracle.hidden_mse(wide[0], states[1][0], mask)
        hidden = sum(oracle.hidden_mse(wide[s], states[1][t], mask) for s, t in ((3, 5), (4, 10)))
        maps = 0.0
        for s, t in ((1, 3), (2, 6), (3, 9), (4, 12)):
            ours, theirs = scores[0][s - 1], scores[1][t - 1]
            original = parity == "original"
            maps += oracle.maps_original(ours, theirs) if original else oracle.maps_mse(ours, theirs, mask)
        return np.array([0.5 * embedding, 2.0 * hidden, 3.0 * maps])

    def project(self, state: np.ndarray, number: int) -> np.ndarray:
        layer = self.student.projection if hasattr(self.student, "projection") else self.student.projections[number]
        return state @ layer.weight.asnumpy().astype(np.float64).T + layer.bias.asnumpy()


@pytest.fixture(scope="module", params=[("none", "per_layer"), ("original", "shared")], ids=["ours", "original"])
def toy(request) -> tuple[str, Toy]:
    return request.param[0], Toy(*request.param)


def test_terms_compare_the_layers_that_the_map_names(toy) -> None:
    parity, made = toy
    np.testing.assert_allclose(made.terms(), made.expected(parity), rtol=2e-5)


def test_samples_that_only_fill_up_count_nothing(toy) -> None:
    _, made = toy
    counted = np.array([0, 1], np.float32)
    one = made.terms(counted=counted)
    other = IDS.copy()
    other[0] = 7
    np.testing.assert_allclose(made.terms(counted=counted, input_ids=other), one, rtol=1e-6)
    assert not np.allclose(one, made.terms(), rtol=1e-4)


def test_gradients_reach_the_student_and_its_projection_and_nothing_of_the_teacher(toy) -> None:
    _, made = toy
    named = dict(made.student.parameters_and_names())
    inputs = [Tensor(made.arrays[name]) for name in made.loss.inputs]
    weights = Tensor(np.ones(len(made.loss.terms), np.float32))
    forward = Forward(made.loss, ParameterTuple(named.values()))
    _, gradients = forward(Tensor(1.0, ms.float32), weights, None, *inputs)
    size = {name: float(np.abs(g.asnumpy()).max()) for name, g in zip(named, gradients, strict=True)}
    used = [name for name in named if name.startswith("project") and name.endswith("weight")]
    reached = {name for name in used if size[name] > 0}
    if hasattr(made.student, "projections"):
        assert reached == {f"projections.{number}.weight" for number in (0, 3, 4)}
    else:
        assert reached == set(used)
    assert all(size[f"encoder.layers.{layer}.intermediate.weight"] > 0 for layer in range(4))
    assert not any(parameter.requires_grad for parameter in made.teacher.get_parameters())


def test_only_layers_that_are_compared_give_their_scores(toy) -> None:
    _, made = toy
    assert made.loss.objective.layers(teacher=True) == {2, 5, 8, 11}
    chosen = [layer.attention.kernel for layer in made.teacher.encoder.layers]
    assert [getattr(kernel, "want_scores", False) for kernel in chosen].count(True) == 4
