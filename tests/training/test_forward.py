"""Adversarial training (FGM) of a tiny classifier, against two plain passes with NumPy in between."""

from __future__ import annotations

import functools

import mindspore as ms
import numpy as np
import pytest
from mindspore import ParameterTuple, Tensor, ops

from ms_plm.common import rng
from ms_plm.config.model import ModelConfig
from ms_plm.config.recipe import TrainSection
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tasks.text import TextLoss
from ms_plm.training.forward import AdversarialForward, Forward, LookupForward
from ms_plm.training.step import StepOptions, TrainingStep, rng_maker

LENGTHS, EPSILON = (8, 5, 7, 3), 0.5
BATCH, LENGTH = len(LENGTHS), 8
WEIGHTS = np.array([1, 1, 2, 0], np.float32)
TABLE = "encoder.embeddings.word_embeddings.weight"


class Problem:
    """A model with dropout, and four sequences, the last without weight, in which no two tokens are the same.

    So each row of the word embeddings is read at one position, and its gradient is that position's.
    """

    def __init__(self, kernels: str = "auto", compute: str = "fp32") -> None:
        config = ModelConfig(
            vocab_size=BATCH * LENGTH + 1,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=24,
            max_relative_position=4,
            initializer_range=0.2,
        )
        chosen = Kernels(Call(training=True, compute=compute), kernels)
        self.model = Model(config.with_labels(("a", "b", "c")), "sequence_classification", chosen).initialise(5)
        self.loss, self.named = TextLoss(self.model), dict(self.model.parameters_and_names())
        mask = (np.arange(LENGTH) < np.array(LENGTHS)[:, None]).astype(np.int32)
        tokens = 1 + np.random.default_rng(0).permutation(BATCH * LENGTH).reshape(BATCH, LENGTH)
        self.arrays = {
            "input_ids": tokens.astype(np.int32) * mask,
            "token_type_ids": np.zeros((BATCH, LENGTH), np.int32),
            "attention_mask": mask,
            "labels": np.array([0, 1, 2, 1], np.int32),
            "weights": WEIGHTS,
            "dropout_keys": rng.sample_keys(1, 0, np.arange(BATCH), rng.DROPOUT),
        }
        self.finish = rng_maker(self.model)
        self.adversarial = functools.partial(AdversarialForward, table=self.named[TABLE], epsilon=EPSILON)

    def cell(self, make):
        """Forward and gradients: a function of the samples' weights and of the loss scale, results by name."""
        forward = make(self.loss, ParameterTuple(list(self.named.values())))
        forward.set_train(True)

        def run(weights: np.ndarray = WEIGHTS, scale: float = 1.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            batch = self.finish({**self.arrays, "weights": weights})
            inputs = (Tensor(batch[name]) for name in ("rng", *TextLoss.inputs))
            terms, gradients = forward(Tensor(scale, ms.float32), Tensor(1 / WEIGHTS.sum(keepdims=True)), *inputs)
            return terms.asnumpy(), {k: g.asnumpy() for k, g in zip(self.named, gradients, strict=True)}

        return run


def test_rows_looked_up_outside_have_the_gradient_that_their_table_would_get() -> None:
    problem = Problem("auto")
    expected_terms, expected = problem.cell(Forward)()
    table = problem.named.pop(TABLE)
    forward = functools.partial(LookupForward, table=table)
    problem.named["rows"] = table  # the last of the gradients
    cell = forward(problem.loss, ParameterTuple([p for n, p in problem.named.items() if n != "rows"]))
    terms, got = problem.cell(lambda loss, parameters: cell)()
    np.testing.assert_allclose(terms, expected_terms, rtol=1e-6)
    rows, summed = got.pop("rows"), np.zeros(table.shape)
    assert rows.shape == (BATCH, LENGTH, table.shape[1])
    np.add.at(summed, problem.arrays["input_ids"], rows)
    close({**got, TABLE: summed}, expected)


def moves(ids: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """By how much each row of the table is moved, float64 `[V, H]`, from the table's gradient."""
    moved = np.zeros(gradient.shape)
    for row in ids:
        tokens = row[row > 0]
        slope = gradient[tokens].astype(np.float64)
        length = np.linalg.norm(slope)
        moved[tokens] = EPSILON * slope / length if length > 0 else 0.0
    return moved


def close(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, value in expected.items():
        error = np.abs(got[name] - value).max()
        assert error <= max(1e-5 * np.abs(value).max(), 1e-7), f"{name}: {error}"


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_gradients_are_those_of_two_passes_with_the_table_moved_in_between(kernels: str) -> None:
    problem = Problem(kernels)
    table, plain, adversarial = problem.named[TABLE], problem.cell(Forward), problem.cell(problem.adversarial)
    terms, first = plain()
    got_terms, got = adversarial()
    before = table.asnumpy().copy()
    moved = moves(problem.arrays["input_ids"], first[TABLE])
    lengths = np.linalg.norm(moved[problem.arrays["input_ids"]].reshape(BATCH, -1), axis=1)
    np.testing.assert_allclose(lengths, [EPSILON] * 3 + [0.0], rtol=1e-6)
    ops.assign(table, Tensor((before + moved).astype(np.float32)))
    worse, second = plain()
    assert worse > terms + 0.1, "it moves against the model"
    np.testing.assert_allclose(got_terms, terms, rtol=1e-6)
    close(got, {name: first[name] + second[name] for name in first})

    ops.assign(table, Tensor(before))
    # neither the loss scale nor what else is in the batch enters a sequence's perturbation
    scaled = adversarial(scale=2.0**12)[1]
    close({name: value / 2.0**12 for name, value in scaled.items()}, got)
    parts = [adversarial(weights=WEIGHTS * np.float32(part))[1] for part in ([1, 1, 0, 0], [0, 0, 1, 1])]
    close({name: parts[0][name] + parts[1][name] for name in got}, got)
    np.testing.assert_array_equal(table.asnumpy(), before)


class Trainer:
    """A compiled step over the problem."""

    def __init__(self, micro_batches: int = 1, loss_scale: float | None = None, compute: str = "fp32") -> None:
        self.problem, self.micro_batches = Problem(compute=compute), micro_batches
        options = StepOptions(loss_scale=loss_scale, forward=self.problem.adversarial)
        kernels, train = self.problem.model.kernels, TrainSection(steps=10)
        self.step = TrainingStep(self.problem.loss, self.problem.named, train, kernels, options, micro_batches > 1)

    def update(self, weights: np.ndarray = WEIGHTS):
        arrays = {**self.problem.arrays, "weights": weights}
        parts = [{} for _ in range(self.micro_batches)]
        for name, array in arrays.items():
            for part, values in zip(parts, np.split(array, self.micro_batches), strict=True):
                part[name] = values
        return self.step(1e-3, [4.0], [self.problem.finish(part) for part in parts])

    def moments(self) -> dict[str, np.ndarray]:
        return {n: p.asnumpy().copy() for n, p in self.step.state().items() if n.startswith("first_moment.")}


@pytest.fixture(scope="module")
def whole() -> Trainer:
    trainer = Trainer()
    trainer.update()
    return trainer


@pytest.mark.slow
def test_four_micro_batches_are_one_batch(whole: Trainer) -> None:
    parts = Trainer(micro_batches=4)
    parts.update()
    close(parts.moments(), whole.moments())


@pytest.mark.slow
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_half_precision_learns_the_same_and_skips_an_overflow(whole: Trainer, micro_batches: int) -> None:
    half = Trainer(micro_batches, loss_scale=2.0**12, compute="fp16")
    half.update()
    before = half.moments()
    for name, moment in whole.moments().items():
        assert np.abs(before[name] - moment).max() <= max(2e-2 * np.abs(moment).max(), 1e-5), name
    assert not bool(half.update(np.array([np.inf, 1, 1, 1], np.float32)).finite.asnumpy())
    for name, moment in half.moments().items():
        np.testing.assert_array_equal(moment, before[name], err_msg=name)
    assert half.step.state()["loss_scale"].asnumpy() == 2.0**11
    assert bool(half.update().finite.asnumpy())
