"""The child process of a dry run: builds a recipe's step as training does, compiles it for Ascend and calls it once.

    python -m ms_plm_ascend.simulate.worker RECIPE.yaml VOCABULARY_SIZE DEVICES RESULT.json

Its environment is that of `stubs.Stubs.environment`. No data is read: only shapes matter, and nothing is computed.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm.config.loading import load_recipe
from ms_plm.config.places import place
from ms_plm.config.precision import PrecisionPolicy, policy_for
from ms_plm.config.recipe import Recipe
from ms_plm.data.masking import largest_count
from ms_plm.kernels import Kernels
from ms_plm.models.folder import load
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingLoss, head_for
from ms_plm.training.assembly import build_kernels, build_step, micro_batch, trained
from ms_plm.training.hardware import open_device
from ms_plm.training.parallel import join_messages
from ms_plm.training.sharding import Sharding
from ms_plm.training.step import TrainingStep, rng_maker
from ms_plm_ascend.precision.mindir import export_operators
from ms_plm_ascend.precision.walk import Walk, walk


def main(arguments: Sequence[str]) -> int:
    """Write what was found, or the reason why nothing was, as JSON."""
    recipe_file, vocabulary, devices, result = arguments
    try:
        found = compile_step(load_recipe(recipe_file), int(vocabulary), int(devices))
    except UserError as error:
        found = {"error": str(error)}
    with replacing_file(Path(result)) as temporary:
        temporary.write_text(json.dumps(found))
    return 0


def compile_step(recipe: Recipe, vocabulary: int, devices: int) -> dict:
    """Compile and call one update of a recipe, as the first of `devices`; memory in bytes, time in seconds."""
    device = open_device(recipe.impl)
    policy = policy_for(recipe.impl.precision, device.name, device.chip)
    if devices > 1:
        from mindspore import communication

        communication.init()
        join_messages(recipe.impl.parallel)
    kernels = build_kernels(recipe, device, policy, 0, devices)
    model = build_model(recipe, vocabulary, kernels)
    batch = micro_batch(recipe, devices)
    step = build_step(
        recipe, PretrainingLoss(model, recipe.data.nsp), model, policy, devices, sharding(recipe, model, devices)
    )
    begun = time.monotonic()
    weights = [1.0] * len(step.loss.terms)
    inputs = rng_maker(model)(shapes_only(recipe, batch))
    step(1e-4, weights, [inputs] * (2 if step.accumulate else 1))
    seconds = time.monotonic() - begun
    found = {
        "peak": int(ms.runtime.max_memory_allocated()),
        "parameters": sum(int(np.prod(p.shape)) for p in model.get_parameters()),
        "state": _state(model, step),
        "micro_batch": batch,
        "micro_batches": max(1, recipe.train.batch // (batch * devices)),
        "accumulates": step.accumulate,
        "policy": policy.summary,
        "seconds": seconds,
        "chosen": [[operation, name, reason] for (operation, name), reason in sorted(kernels.chosen.items())],
    }
    walked = walk_casts(recipe, model, policy)  # after memory was told: this one's model counts too
    return {**found, "types": walked.describe(), "wrong_types": walked.findings}


def walk_casts(recipe: Recipe, like: Model, policy: PrecisionPolicy) -> Walk:
    """The casts of the same step with one layer and a small vocabulary: types depend on neither."""
    changes: dict[str, object] = {"num_hidden_layers": 1, "vocab_size": 128}
    for name in ("layer_heads", "layer_intermediate"):
        if sizes := getattr(like.config, name):
            changes[name] = sizes[:1]
    model = Model(like.config.model_copy(update=changes), head_for(recipe.data.nsp), like.kernels)
    step = build_step(recipe, PretrainingLoss(model, recipe.data.nsp), model, policy)
    inputs = rng_maker(model)(shapes_only(recipe, 2))
    return walk(export_operators(step.graphs(1e-4, [1.0] * len(step.loss.terms), inputs)), policy)


def build_model(recipe: Recipe, vocabulary: int, kernels: Kernels) -> Model:
    """The model of a recipe."""
    head = head_for(recipe.data.nsp)
    if recipe.model.from_:
        return load(place(recipe.model.from_), head, kernels=kernels, new_head=True, seed=recipe.train.seed)[0]
    return Model(recipe.model.build(vocabulary), head, kernels)


def sharding(recipe: Recipe, model: Model, devices: int) -> Sharding | None:
    """Of the optimizer's state, as the first process has it."""
    if devices == 1 or not recipe.impl.parallel.shard_optimizer:
        return None
    group = SimpleNamespace(rank=0, ranks=devices)
    return Sharding({name: parameter.shape for name, parameter in trained(model).items()}, group)


def shapes_only(recipe: Recipe, batch: int) -> dict[str, np.ndarray]:
    """A micro-batch of the shapes that the loader would hand over."""
    length = recipe.data.max_length
    slots = batch * largest_count(recipe.data.masking.ratio, length)
    shape = (batch, length)
    return {
        "input_ids": np.ones(shape, np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "attention_mask": np.ones(shape, np.int32),
        "masked_positions": np.arange(slots, dtype=np.int32),
        "masked_labels": np.ones(slots, np.int32),
        "masked_weights": np.ones(slots, np.float32),
        "next_sentence_labels": np.zeros(batch, np.int32),
        "dropout_keys": np.ones((batch, 2), np.int32),
    }


def _state(model: Model, step: TrainingStep) -> int:
    """Bytes that do not depend on the batch: parameters, moments and, with several forwards, sums of gradients."""
    held = [*model.get_parameters(), *(p for p in step.state().values() if p is not None)]
    held += trained(model).values() if step.accumulate else []
    return sum(int(np.prod(parameter.shape)) * ms.Tensor(0, parameter.dtype).itemsize for parameter in held)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    sys.exit(main(sys.argv[1:]))
