"""The compiled update: accumulation, overflow, loss scale, forms of kernels, half precision."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, ops
from scaled import KEPT, Register, Slope
from tiny import LENGTH, MASKED, Trainer, micro_batch

from ms_plm.config.recipe import OptimizerSection, TrainSection
from ms_plm.kernels import Call, Kernels
from ms_plm.training.step import StepOptions, TrainingStep

BATCH = 8


@pytest.fixture(scope="module")
def whole() -> Trainer:
    """One forward an update, dropout on, kernels chosen by themselves."""
    return Trainer()


@pytest.fixture(scope="module")
def half() -> Trainer:
    """The same in half precision with a loss scale."""
    return Trainer(compute="fp16", options=StepOptions(loss_scale=2.0**15, window=1000))


def _run(trainer: Trainer, steps: int) -> np.ndarray:
    """Loss terms of every step, from the beginning."""
    trainer.restart()
    return np.array([trainer.update(np.arange(BATCH) + BATCH * n).terms.asnumpy() for n in range(steps)])


def test_four_micro_batches_are_one_batch(whole: Trainer) -> None:
    parts = Trainer(micro_batches=4)
    losses, states = [], []
    for trainer in (whole, parts):
        losses.append(_run(trainer, 1))
        first = trainer.values()
        losses.append(_run(trainer, 10))
        states.append((first, trainer.values()))
    np.testing.assert_allclose(losses[0], losses[2], rtol=2e-6)
    np.testing.assert_allclose(losses[1], losses[3], rtol=1e-5)
    (first, last), (first_parts, last_parts) = states
    for name, moment in first.items():
        if name.startswith("first_moment."):  # after one update a tenth of the gradient
            error = np.abs(moment - first_parts[name]).max()
            assert error <= max(1e-5 * np.abs(moment).max(), 1e-8), name
        elif not name.startswith("second_moment."):
            assert np.abs(last[name] - last_parts[name]).max() <= 1e-5, name


def test_twenty_steps_are_the_same_with_reference_kernels(whole: Trainer) -> None:
    """Rounding differs, nothing else: the losses agree to 2e-6 of themselves."""
    reference = Trainer("reference")
    assert reference.model.kernels.choose("dropout")[0].name == "hash"
    assert whole.model.kernels.choose("dropout")[0].name in ("native", "host_mask")
    np.testing.assert_allclose(_run(whole, 20), _run(reference, 20), rtol=2e-6)


@pytest.mark.parametrize("kernels", ["auto", pytest.param("reference", marks=pytest.mark.slow)])
def test_recomputed_layers_give_the_same_bits(whole: Trainer, kernels: str) -> None:
    """Dropout included: its masks depend on keys alone."""
    kept = whole if kernels == "auto" else Trainer(kernels)
    again = Trainer(kernels, recompute=True)
    np.testing.assert_array_equal(_run(kept, 3), _run(again, 3))
    for name, value in kept.values().items():
        np.testing.assert_array_equal(value, again.values()[name], name)


def test_the_same_step_gives_the_same_bits(whole: Trainer) -> None:
    np.testing.assert_array_equal(_run(whole, 3), _run(whole, 3))


def test_other_keys_give_other_losses_and_no_keys_give_none(whole: Trainer) -> None:
    whole.restart()
    batch = micro_batch(np.arange(BATCH))
    host_mask = whole.model.kernels.choose("dropout")[0].name == "host_mask"
    shape = (whole.model.plan.size(BATCH, LENGTH),) if host_mask else (BATCH, 2)
    losses = []
    for keys in (batch["dropout_keys"], batch["dropout_keys"] + 1):
        finished = whole.finish({**batch, "dropout_keys": keys})
        assert finished["rng"].shape == shape
        losses.append(whole.step(0.0, [BATCH * MASKED, BATCH], [finished]).terms.asnumpy())
    assert (losses[0] != losses[1]).all()


def test_a_step_at_rate_zero_changes_no_weight(whole: Trainer) -> None:
    whole.restart()
    before = whole.values()
    whole.update(np.arange(BATCH), rate=0.0)
    after = whole.values()
    for name in dict(whole.model.parameters_and_names()):
        np.testing.assert_array_equal(before[name], after[name])


def test_a_term_without_weight_counts_nothing(whole: Trainer) -> None:
    whole.restart()
    batch = whole.finish(micro_batch(np.arange(BATCH)))
    result = whole.step(0.0, [BATCH * MASKED, 0.0], [batch])
    assert result.terms.asnumpy()[1] == 0.0
    assert np.isfinite(result.norm.asnumpy())
    assert (whole.values()["first_moment.next_sentence.dense.weight"] == 0).all()


class Scaled:
    """A step over `Slope` with a loss scale that doubles after three good updates."""

    def __init__(self, loss_scale: float | None = 1024.0, accumulate: bool = False, status=None) -> None:
        self.loss = Slope()
        train = TrainSection(steps=5, optimizer=OptimizerSection(name="lamb"))
        options = StepOptions(loss_scale=loss_scale, window=3, status=status)
        named = {"dense.weight": self.loss.weight}
        self.step = TrainingStep(self.loss, named, train, Kernels(Call(training=True)), options, accumulate)

    def update(self, *micro_batches: float):
        """Each value fills one micro-batch."""
        return self.step(0.1, [4.0], [{"x": np.full((2, 3), value, np.float32)} for value in micro_batches])

    def state(self) -> dict[str, np.ndarray]:
        values = {name: parameter.asnumpy().copy() for name, parameter in self.step.state().items()}
        return {**values, "weight": self.loss.weight.asnumpy().copy()}


@pytest.mark.parametrize(("accumulate", "bad"), [(False, np.inf), (True, np.nan)])
def test_an_overflow_skips_the_update_and_halves_the_scale(accumulate: bool, bad: float) -> None:
    step, untouched = Scaled(accumulate=accumulate), Scaled(accumulate=accumulate)
    parts = 2 if accumulate else 1
    for one in (step, untouched):
        assert bool(one.update(*[0.5] * parts).finite.asnumpy())
    before = step.state()
    result = step.update(*[0.5, bad][-parts:])
    after = step.state()
    assert not bool(result.finite.asnumpy())
    assert not np.isfinite(result.norm.asnumpy())
    for name in KEPT:
        np.testing.assert_array_equal(before[name], after[name])
    assert (after["loss_scale"], after["skipped_updates"], after["good_updates"]) == (512.0, 1, 0)
    for one in (step, untouched):
        assert bool(one.update(*[0.25] * parts).finite.asnumpy())
    for name in KEPT:
        np.testing.assert_allclose(step.state()[name], untouched.state()[name], rtol=1e-6)


def test_a_scale_that_is_too_large_comes_down_until_gradients_are_finite() -> None:
    step = Scaled(loss_scale=2.0**70)
    results = [step.update(4.0) for _ in range(10)]
    finite = [bool(result.finite.asnumpy()) for result in results]
    skipped = finite.index(True)
    assert finite == [False] * skipped + [True] * (10 - skipped)
    state = step.state()
    assert (state["skipped_updates"], state["applied_updates"]) == (skipped, 10 - skipped)
    assert float(results[skipped].scale.asnumpy()) == 2.0 ** (70 - skipped)


def test_the_scale_doubles_after_a_window_of_good_updates() -> None:
    step = Scaled()
    scales = [float(step.update(0.5).scale.asnumpy()) for _ in range(7)]
    assert scales == [1024.0] * 3 + [2048.0] * 3 + [4096.0]


def test_the_scale_never_falls_below_one() -> None:
    step = Scaled(loss_scale=2.0)
    for _ in range(3):
        step.update(np.inf)
    assert step.state()["loss_scale"] == 1.0


def test_the_scale_does_not_show_in_results() -> None:
    scaled, plain = Scaled(loss_scale=4096.0), Scaled(loss_scale=None)
    for value in (0.5, -0.25):
        one, other = scaled.update(value), plain.update(value)
        np.testing.assert_allclose(one.terms.asnumpy(), other.terms.asnumpy(), rtol=1e-6)
        np.testing.assert_allclose(one.norm.asnumpy(), other.norm.asnumpy(), rtol=1e-6)
    np.testing.assert_allclose(scaled.state()["weight"], plain.state()["weight"], rtol=1e-6)


def test_without_a_loss_scale_a_broken_update_is_skipped_too() -> None:
    step = Scaled(loss_scale=None)
    before = step.state()
    assert not bool(step.update(np.nan).finite.asnumpy())
    after = step.state()
    np.testing.assert_array_equal(before["weight"], after["weight"])
    assert (after["loss_scale"], after["skipped_updates"]) == (1.0, 1)


def test_half_precision_learns_through_an_overflow(half: Trainer) -> None:
    half.restart()
    losses, finite, scales = [], [], []
    for number in range(50):
        if number == 20:  # as a run of bad luck would leave it
            half.assign("loss_scale", np.float32(2.0**40))
        result = half.update(np.arange(BATCH), rate=1e-3)
        losses.append(result.terms.asnumpy().sum())
        finite.append(bool(result.finite.asnumpy()))
        scales.append(float(result.scale.asnumpy()))
    assert finite[:20] == [True] * 20
    skipped = finite.count(False)
    assert not finite[20]
    assert finite[20 : 20 + skipped] == [False] * skipped
    assert all(finite[20 + skipped :])
    assert scales[20 : 21 + skipped] == [2.0 ** (40 - n) for n in range(skipped + 1)]
    assert half.values()["skipped_updates"] == skipped
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5


def test_half_precision_begins_where_full_precision_does(whole: Trainer, half: Trainer) -> None:
    np.testing.assert_allclose(_run(half, 3), _run(whole, 3), rtol=2e-3)


@pytest.mark.parametrize("accumulate", [False, True])
def test_where_overflow_saturates_the_register_decides(accumulate: bool) -> None:
    """Gradients stay finite; the update is skipped and the scale halved all the same, and the next one is applied."""
    registers = []

    def register() -> Register:
        registers.append(Register())
        return registers[-1]

    step = Scaled(accumulate=accumulate, status=register)
    parts = (0.5, 0.25)[: 1 + accumulate]
    assert bool(step.update(*parts).finite.asnumpy())
    before = step.state()
    ops.assign(registers[0].word, Tensor(np.float32(1.0)))
    result = step.update(*parts)
    assert result.terms.shape == (1,)
    assert np.isfinite(result.terms.asnumpy()).all()
    assert not bool(result.finite.asnumpy())
    after = step.state()
    for name in KEPT:
        np.testing.assert_array_equal(before[name], after[name])
    assert (after["loss_scale"], after["skipped_updates"], after["good_updates"]) == (512.0, 1, 0)
    ops.assign(registers[0].word, Tensor(np.float32(0.0)))
    assert bool(step.update(*parts).finite.asnumpy())
    assert float(registers[0].cleared.asnumpy()) == 3 * len(parts)
