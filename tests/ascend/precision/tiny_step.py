"""A tiny pretraining step for Ascend, exported on the CPU."""

from __future__ import annotations

import numpy as np

from ms_plm.config.model import ModelConfig
from ms_plm.config.precision import PrecisionPolicy
from ms_plm.config.recipe import OptimizerSection, TrainSection
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingLoss, head_for
from ms_plm.training.overflow import NpuStatus
from ms_plm.training.step import StepOptions, TrainingStep
from ms_plm_ascend.precision.mindir import Operator, export_operators

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=64,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=32,
    max_relative_position=8,
)
LENGTH = 32


def exported(
    policy: PrecisionPolicy,
    chip: str,
    kernels: dict[str, str] | None = None,
    optimizer: str = "adamw",
    accumulate: bool = False,
) -> list[Operator]:
    """The operators of an update of one NEZHA layer with dropout."""
    call = Call("ascend", policy.precision, training=True, exact_dropout=False, chip=chip)
    model = Model(CONFIG, head_for(True), Kernels(call, kernels or {}))
    options = StepOptions(
        loss_scale=1024.0 if policy.loss_scaling else None,
        status=NpuStatus if policy.overflow == "saturates" else None,
    )
    train = TrainSection(steps=1, optimizer=OptimizerSection(name=optimizer))
    named = {name: value for name, value in model.parameters_and_names() if value.requires_grad}
    step = TrainingStep(PretrainingLoss(model, True), named, train, model.kernels, options, accumulate)
    shape = (2, LENGTH)
    batch = {
        "input_ids": np.ones(shape, np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "attention_mask": np.ones(shape, np.int32),
        "masked_positions": np.arange(6, dtype=np.int32),
        "masked_labels": np.ones(6, np.int32),
        "masked_weights": np.ones(6, np.float32),
        "next_sentence_labels": np.zeros(2, np.int32),
        "rng": np.ones((2, 2), np.int32),
    }
    return export_operators(step.graphs(1e-4, [6.0, 2.0], batch))
