"""A recipe's sections made into the parts of a step; every kind of training and the dry run build theirs here."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from mindspore import nn

from ms_plm.config.finetuning import FinetuneMethod
from ms_plm.config.precision import PrecisionPolicy
from ms_plm.config.recipe import Recipe
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.training.forward import AdversarialForward, Forward, LossInParts
from ms_plm.training.hardware import Device
from ms_plm.training.optimizer import layer_rates
from ms_plm.training.overflow import NpuStatus
from ms_plm.training.sharding import Sharding
from ms_plm.training.step import StepOptions, TrainingStep

log = logging.getLogger(__name__)


def micro_batch(recipe: Recipe, ranks: int) -> int:
    """Sequences of one forward on one device."""
    return recipe.impl.micro_batch or max(1, recipe.train.batch // ranks)


def build_kernels(
    recipe: Recipe, device: Device, policy: PrecisionPolicy, rank: int = 0, ranks: int = 1, **more: Any
) -> Kernels:
    """The implementations that training takes on a device; `more` says what else is known, see `Call`.

    Raises:
        UserError: one was asked for (`impl.kernels`) that cannot serve this run.
    """
    impl = recipe.impl
    seed = recipe.train.seed * ranks + rank  # for the device's own dropout only
    call = Call(
        device.name,
        policy.precision,
        training=True,
        exact_dropout=impl.exact_resume,
        seed=seed,
        chip=device.chip,
        length=recipe.data.max_length,
        **more,
    )
    kernels = Kernels(call, impl.kernels)
    if not impl.exact_resume and kernels.choose("dropout")[0].name == "stock":
        log.info("dropout is the device's own (impl.exact_resume: false): a resumed run draws other masks")
    return kernels


def build_step(
    recipe: Recipe,
    loss: nn.Cell | LossInParts,
    model: Model,
    policy: PrecisionPolicy,
    ranks: int = 1,
    sharding: Sharding | None = None,
) -> TrainingStep:
    """The compiled update of a recipe.

    Args:
        recipe: its train, method and impl sections count.
        loss: see `TrainingStep`; over `model`.
        model: its parameters that require gradients are trained.
        policy: decides on a loss scale.
        ranks: number of processes.
        sharding: of the optimizer's state.
    """
    train, impl = recipe.train, recipe.impl
    micro_batches = train.batch // (micro_batch(recipe, ranks) * ranks)
    scale = None
    if policy.loss_scaling:
        scale = impl.loss_scale or float(2**15 * micro_batches * ranks)
    if impl.recompute:
        for each in loss.models if isinstance(loss, LossInParts) else (model,):
            each.encoder.recompute_layers()
    status = NpuStatus if policy.loss_scaling and policy.overflow == "saturates" else None
    forward, rates = _method(recipe, model)
    looked_up = forward is Forward and loss.takes_words
    table = model.encoder.embeddings.word_embeddings.weight if looked_up else None
    options = StepOptions(train.clip_norm, scale, impl.loss_scale_window, ranks, status, forward, rates, table)
    return TrainingStep(loss, trained(model), train, model.kernels, options, micro_batches > 1, sharding)


def _method(recipe: Recipe, model: Model) -> tuple[Callable[..., nn.Cell], dict[str, float] | None]:
    """How a recipe of fine-tuning wants losses and gradients made, and the parameters' shares of the rate."""
    method = recipe.method if isinstance(recipe.method, FinetuneMethod) else FinetuneMethod()
    forward, rates, layers = Forward, None, model.config.num_hidden_layers
    if method.layer_decay != 1.0:
        rates = layer_rates(trained(model), layers, method.layer_decay)
        log.info(
            "method.layer_decay: pooler and head learn at the whole rate, layers at %.3g of it (top) to %.3g, "
            "embeddings at %.3g",
            *(method.layer_decay**steps for steps in (1, layers, layers + 1)),
        )
    if method.fgm:
        table = model.encoder.embeddings.word_embeddings.weight
        forward = functools.partial(AdversarialForward, table=table, epsilon=method.fgm)
        log.info("method.fgm: every update adds the gradients at perturbed word embeddings (about twice the time)")
    return forward, rates


def trained(model: nn.Cell) -> dict:
    """Parameters that training changes, by the names under which their state is stored."""
    return {name: parameter for name, parameter in model.parameters_and_names() if parameter.requires_grad}
