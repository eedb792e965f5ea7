"""A small training step, to see whether this installation works (`ms-plm doctor`)."""

from __future__ import annotations

import time

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.config.recipe import ImplSection, OptimizerSection, TrainSection
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingLoss
from ms_plm.training.hardware import open_device
from ms_plm.training.step import StepOptions, TrainingStep, rng_maker


def small_step(updates: int = 20) -> str:
    """Train a one-layer NEZHA on one random batch and check that it learns it.

    Returns:
        One line for people: device, time of compilation and of an update, the loss before and after.

    Raises:
        UserError: the loss is not finite or does not fall.
    """
    device = open_device(ImplSection())
    config = ModelConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    kernels = Kernels(Call(device.name, training=True, chip=device.chip))
    model = Model(config, "pretraining", kernels).initialise(0)
    train = TrainSection(steps=updates, optimizer=OptimizerSection(learning_rate=1e-2))
    named = dict(model.parameters_and_names())
    step = TrainingStep(PretrainingLoss(model, nsp=True), named, train, kernels, StepOptions(), accumulate=False)
    batch, finish = _random_batch(), rng_maker(model)
    losses, times = [], []
    for _ in range(updates):
        start = time.perf_counter()
        losses.append(float(step(1e-2, [8.0, 4.0], [finish(dict(batch))]).terms.asnumpy().sum()))
        times.append(time.perf_counter() - start)
    if not np.isfinite(losses).all() or losses[-1] > 0.8 * losses[0]:
        raise UserError(f"the small training step does not learn on {device.description}: losses {losses}.")
    return (
        f"{device.description}: compiled in {times[0]:.1f} s, {1000 * min(times[1:]):.1f} ms an update, "
        f"loss {losses[0]:.2f} -> {losses[-1]:.2f} in {updates} updates"
    )


def _random_batch() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shape = (4, 16)
    return {
        "input_ids": random.integers(5, 64, shape, dtype=np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "attention_mask": np.ones(shape, np.int32),
        "masked_positions": np.arange(3, 64, 8, dtype=np.int32),
        "masked_labels": random.integers(5, 64, 8, dtype=np.int32),
        "masked_weights": np.ones(8, np.float32),
        "next_sentence_labels": np.array([0, 1, 0, 1], np.int32),
        "dropout_keys": random.integers(0, 2**31, (4, 2), dtype=np.int32),
    }
