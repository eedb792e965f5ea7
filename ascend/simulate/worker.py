"""The child process of a dry run: builds a recipe's step as training does, compiles it for Ascend and calls it once.

    python -m ms_plm_ascend.simulate.worker RECIPE.yaml VOCABULARY_SIZE DEVICES RESULT.json

Its environment is that of `stubs.Stubs.environment`. Only shapes matter, and nothing is computed: pretraining reads no
data; other kinds open theirs as training does, and take the longest micro-batch.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file
from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.loading import load_recipe
from ms_plm.config.places import place
from ms_plm.config.precision import PrecisionPolicy, policy_for
from ms_plm.config.recipe import Recipe
from ms_plm.data.masking import largest_count
from ms_plm.kernels import Kernels
from ms_plm.models.folder import load
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingLoss, head_for
from ms_plm.training.assembly import build_step, micro_batch, trained
from ms_plm.training.forward import LossInParts
from ms_plm.training.hardware import open_device
from ms_plm.training.parallel import join_messages
from ms_plm.training.session import Context
from ms_plm.training.sharding import Sharding
from ms_plm.training.step import TrainingStep, rng_maker
from ms_plm.workflow import KINDS
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


@dataclass(frozen=True)
class First:
    """The first process of a job whose others are not there."""

    ranks: int
    rank: int = 0
    main: bool = True

    def barrier(self) -> None:
        """Wait for nobody."""

    def sum(self, values):
        """Of one process."""
        return values


def compile_step(recipe: Recipe, vocabulary: int, devices: int) -> dict:
    """Compile and call one update of a recipe, as the first of `devices`; memory in bytes, time in seconds."""
    device = open_device(recipe.impl)
    policy = policy_for(recipe.impl.precision, device.name, device.chip)
    if devices > 1:
        from mindspore import communication

        communication.init()
        join_messages(recipe.impl.parallel)
    recipe, notes = plain(recipe)
    context = Context(recipe, device, policy, First(devices))
    model, loss, inputs = opened(context, vocabulary)
    step = build_step(recipe, loss, model, policy, devices, sharding(recipe, model, devices))
    begun = time.monotonic()
    step(1e-4, [1.0] * len(loss.terms), [inputs] * (2 if step.accumulate else 1))
    seconds, batch = time.monotonic() - begun, micro_batch(recipe, devices)
    found = {
        "peak": int(ms.runtime.max_memory_allocated()),
        "parameters": sum(int(np.prod(p.shape)) for p in model.get_parameters()),
        "vocabulary": model.config.vocab_size,
        "state": _state(model, step),
        "micro_batch": batch,
        "micro_batches": max(1, recipe.train.batch // (batch * devices)),
        "length": inputs["input_ids"].shape[1],
        "accumulates": step.accumulate,
        "policy": policy.summary,
        "seconds": seconds,
        "chosen": [[operation, name, reason] for (operation, name), reason in sorted(model.kernels.chosen.items())],
        "notes": notes,
    }
    if recipe.kind != "pretrain":
        return found
    walked = walk_casts(recipe, model, policy)  # after memory was told: this one's model counts too
    return {**found, "types": walked.describe(), "wrong_types": walked.findings}


def opened(context: Context, vocabulary: int) -> tuple[Model, nn.Cell | LossInParts, dict]:
    """The model of a recipe, the loss over it and the largest micro-batch."""
    recipe = context.recipe
    if recipe.kind == "pretrain":
        model = build_model(recipe, vocabulary, context.kernels())
        inputs = shapes_only(recipe, micro_batch(recipe, context.parallel.ranks))
        return model, PretrainingLoss(model, recipe.data.nsp), rng_maker(model)(inputs)
    job = importlib.import_module(KINDS[recipe.kind]).open_job(context)
    return job.model, job.loss, job.loader.largest()


def plain(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """A recipe without what would compute something before the first update, and what to know of that."""
    method, notes, changes = recipe.method, [], {}
    teacher = getattr(method, "teacher", None)
    if teacher is not None and teacher.cache:
        changes["teacher"] = teacher.model_copy(update={"cache": False})
        notes.append("the teacher is in this step; training reads its answers (method.teacher.cache) and needs less")
    if isinstance(method, ElasticMethod):
        changes["rewire"] = method.rewire.model_copy(update={"on": "none"})
    return recipe.model_copy(update={"method": method.model_copy(update=changes)}) if changes else recipe, notes


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
    return Sharding({name: parameter.shape for name, parameter in trained(model).items()}, First(devices))


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
