"""A tiny pretraining problem: a model, micro-batches of random tokens, and a step that can start again."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops

from ms_plm.common import rng
from ms_plm.config.model import ModelConfig
from ms_plm.config.recipe import OptimizerSection, TrainSection
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingLoss, head_for
from ms_plm.training.step import StepOptions, TrainingStep, rng_maker

VOCABULARY, LENGTH, MASKED = 64, 16, 3
RATE = 1e-4


def tiny_config(**changes) -> ModelConfig:
    """One NEZHA layer of width 32 with dropout."""
    values = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 32,
        "max_relative_position": 8,
        "initializer_range": 0.1,
    }
    return ModelConfig(**{**values, **changes})


def micro_batch(indices: np.ndarray, seed: int = 1) -> dict[str, np.ndarray]:
    """Arrays that depend on each sample's index alone; [MASKED] positions a sample, some padding, weights of 1."""
    rows, labels, positions, next_labels, masks = [], [], [], [], []
    for row, index in enumerate(indices):
        draw = np.random.default_rng((seed, int(index)))
        rows.append(draw.integers(5, VOCABULARY, LENGTH))
        labels.append(draw.integers(5, VOCABULARY, MASKED))
        positions.append(row * LENGTH + draw.choice(LENGTH - 4, MASKED, replace=False))
        next_labels.append(draw.integers(2))
        masks.append(np.arange(LENGTH) < LENGTH - draw.integers(4))
    ids, mask = np.array(rows, np.int32), np.array(masks, np.int32)
    return {
        "input_ids": ids * mask,
        "token_type_ids": np.repeat((np.arange(LENGTH) >= 8)[None], len(ids), 0).astype(np.int32),
        "attention_mask": mask,
        "masked_positions": np.concatenate(positions).astype(np.int32),
        "masked_labels": np.concatenate(labels).astype(np.int32),
        "masked_weights": np.ones(len(ids) * MASKED, np.float32),
        "next_sentence_labels": np.array(next_labels, np.int32),
        "dropout_keys": rng.sample_keys(seed, 0, np.asarray(indices), rng.DROPOUT),
    }


class Trainer:
    """A compiled step with everything that it changes.

    Args:
        kernels: `impl.kernels`.
        micro_batches: of an update; more than one accumulates.
        options: of the step.
        compute: fp32 or fp16.
        nsp: with the next-sentence term.
        optimizer: default: AdamW.
        recompute: layers compute their forward again.
        changes: to `tiny_config`.
    """

    def __init__(
        self,
        kernels: str | dict[str, str] = "auto",
        micro_batches: int = 1,
        options: StepOptions = StepOptions(),  # noqa: B008 (a constant tuple)
        compute: str = "fp32",
        nsp: bool = True,
        optimizer: OptimizerSection | None = None,
        recompute: bool = False,
        **changes,
    ) -> None:
        self.micro_batches, self.nsp = micro_batches, nsp
        chosen = Kernels(Call(training=True, compute=compute), kernels)
        self.model = Model(tiny_config(**changes), head_for(nsp), chosen).initialise(seed=4)
        if recompute:
            self.model.encoder.recompute_layers()
        train = TrainSection(steps=10, optimizer=optimizer or OptimizerSection())
        named = dict(self.model.parameters_and_names())
        self.step = TrainingStep(PretrainingLoss(self.model, nsp), named, train, chosen, options, micro_batches > 1)
        self.finish = rng_maker(self.model)
        self.state = {**named, **self.step.state()}
        self._first = self.values()

    def values(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and of the state."""
        return {name: parameter.asnumpy().copy() for name, parameter in self.state.items()}

    def restart(self) -> None:
        """Put everything back to what it was at the beginning."""
        for name, value in self._first.items():
            self.assign(name, value)

    def assign(self, name: str, value: np.ndarray) -> None:
        """Set a parameter in place: `set_data` does not reach a compiled graph that touches it only inside an `if`."""
        ops.assign(self.state[name], Tensor(value))

    def update(self, indices: np.ndarray, rate: float = RATE, seed: int = 1):
        """One update on the given samples, cut into the micro-batches."""
        parts = [self.finish(micro_batch(part, seed)) for part in np.split(np.asarray(indices), self.micro_batches)]
        weights = [len(indices) * MASKED] + [len(indices)] * self.nsp
        return self.step(rate, weights, parts)
