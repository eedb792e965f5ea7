"""Five steps of every optimizer through the compiled training step, against a float64 optimizer."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from optimizer_oracle import OracleOptimizer

from ms_plm.config.recipe import OptimizerSection, TrainSection
from ms_plm.kernels import Call, Kernels
from ms_plm.training.optimizer import decays, layer_rates
from ms_plm.training.step import StepOptions, TrainingStep

SHAPES = {"dense.weight": (3, 5), "dense.bias": (3,), "norm.weight": (5,), "norm.bias": (5,), "table.weight": (4, 3)}
DECAYING = {"dense.weight", "table.weight"}
SHARES = {"dense.weight": 0.3, "dense.bias": 0.5, "norm.weight": 1.0, "norm.bias": 0.25, "table.weight": 1.0}
COUNT = 8
RATES = (0.01, 0.02, 0.03, 0.02, 0.01)


class Regression(nn.Cell):
    """Half the squared error of ((x * g + h) W^T + b) T^T, with gradients known in closed form."""

    terms, inputs = ("error",), ("x", "y")

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.weight, self.bias, self.scale, self.shift, self.table = (
            Parameter(Tensor(values[name]), name=name) for name in SHAPES
        )

    def named(self) -> dict[str, Parameter]:
        return dict(zip(SHAPES, (self.weight, self.bias, self.scale, self.shift, self.table), strict=True))

    def construct(self, rng, x, y):
        inner = ops.matmul(x * self.scale + self.shift, self.weight.T) + self.bias
        return ops.stack((0.5 * ops.reduce_sum(ops.square(ops.matmul(inner, self.table.T) - y)),))


def _gradients(p: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    normed = x * p["norm.weight"] + p["norm.bias"]
    inner = normed @ p["dense.weight"].T + p["dense.bias"]
    error = (inner @ p["table.weight"].T - y) / COUNT
    slope = error @ p["table.weight"]
    below = slope @ p["dense.weight"]
    return {
        "dense.weight": slope.T @ normed,
        "dense.bias": slope.sum(0),
        "norm.weight": (below * x).sum(0),
        "norm.bias": below.sum(0),
        "table.weight": error.T @ inner,
    }


def _start() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(2)
    values = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    values["norm.bias"][:] = 0  # a tensor without length: its ratio is 1
    values["dense.weight"] *= 20  # so long that NEZHA's limit on the ratio is met
    return values


OPTIONS = {
    "lamb": OptimizerSection(name="lamb", weight_decay=0.1),
    "lamb_nezha": OptimizerSection(name="lamb", variant="nezha", weight_decay=0.01),
    "adamw": OptimizerSection(name="adamw", weight_decay=0.1),
    "other_constants": OptimizerSection(name="adamw", weight_decay=0.0, beta1=0.8, beta2=0.95, epsilon=1e-3),
}


FUSED = {"optimizer_update": "fused_adam"}


@pytest.mark.parametrize(
    ("name", "form", "clip", "rates"),
    [
        ("lamb", "auto", 0.5, None),
        ("lamb", "reference", 0.5, SHARES),
        ("lamb_nezha", "auto", 0.5, SHARES),
        pytest.param("lamb_nezha", "reference", 0.5, SHARES, marks=pytest.mark.slow),
        ("adamw", "auto", 0.5, SHARES),
        ("adamw", "reference", 0.5, SHARES),
        ("adamw", FUSED, 0.5, SHARES),
        ("other_constants", "auto", 0.0, None),
    ],
)
def test_five_steps_follow_the_float64_optimizer(name: str, form: str | dict, clip: float, rates: dict | None) -> None:
    """Also where tensors learn at shares of the rate."""
    draw, loss = np.random.default_rng(3), Regression(_start())
    train = TrainSection(steps=5, optimizer=OPTIONS[name])
    kernels = Kernels(Call(training=True), form)
    options = StepOptions(clip_norm=clip, rates=rates)
    step = TrainingStep(loss, loss.named(), train, kernels, options, accumulate=False)
    oracle = OracleOptimizer(_start(), DECAYING, OPTIONS[name], clip, rates)
    for rate in RATES:
        x, y = draw.standard_normal((COUNT, 5)).astype(np.float32), draw.standard_normal((COUNT, 4)).astype(np.float32)
        result = step(rate, [COUNT], [{"x": x, "y": y}])
        norm = oracle.update(_gradients(oracle.parameters, x.astype(np.float64), y.astype(np.float64)), rate)
        assert norm > clip, "clipping is at work"
        assert float(result.norm.asnumpy()) == pytest.approx(norm, rel=3e-6)
    assert (oracle.largest_ratio > 10) == (name == "lamb_nezha"), "the limit on the ratio is at work"
    for key, parameter in loss.named().items():
        np.testing.assert_allclose(parameter.asnumpy(), oracle.parameters[key], rtol=3e-6, atol=1e-6, err_msg=key)
    state = {key: value.asnumpy() for key, value in step.state().items()}
    assert state["applied_updates"] == 5
    for key in SHAPES:
        for moment, expected in (("first", oracle.first[key]), ("second", oracle.second[key])):
            got = state[f"{moment}_moment.{key}"]
            assert np.abs(got - expected).max() <= 5e-6 * np.abs(expected).max(), key


def test_the_state_names_every_moment_by_its_parameter() -> None:
    loss = Regression(_start())
    train = TrainSection(steps=5)
    kernels = Kernels(Call(training=True))
    state = TrainingStep(loss, loss.named(), train, kernels, StepOptions(), accumulate=False).state()
    moments = {f"{moment}_moment.{name}" for moment in ("first", "second") for name in SHAPES}
    assert set(state) == moments | {"applied_updates", "loss_scale", "good_updates", "skipped_updates"}


@pytest.mark.parametrize(
    ("name", "decaying"),
    [
        ("encoder.embeddings.word_embeddings.weight", True),
        ("encoder.layers.3.attention.query.weight", True),
        ("pooler.dense.weight", True),
        ("encoder.layers.3.attention.query.bias", False),
        ("encoder.layers.3.attention_norm.weight", False),
        ("encoder.layers.3.output_norm.bias", False),
        ("encoder.embeddings.norm.weight", False),
        ("masked_lm.norm.weight", False),
        ("masked_lm.bias", False),
    ],
)
def test_matrices_decay_and_biases_and_norms_do_not(name: str, decaying: bool) -> None:
    assert decays(name) is decaying


def test_the_rate_falls_layer_by_layer_from_the_heads_to_the_embeddings() -> None:
    expected = {
        "sequence_classification.dense.weight": 1.0,
        "pooler.dense.bias": 1.0,
        "encoder.layers.11.output.weight": 0.5,
        "encoder.layers.10.attention.query.bias": 0.5**2,
        "encoder.layers.1.attention_norm.weight": 0.5**11,
        "encoder.layers.0.intermediate.weight": 0.5**12,
        "encoder.embeddings.word_embeddings.weight": 0.5**13,
        "encoder.embeddings.norm.bias": 0.5**13,
    }
    assert layer_rates(expected, layers=12, decay=0.5) == expected
    assert set(layer_rates(expected, layers=12, decay=1.0).values()) == {1.0}
