"""Recipes of kind `elastic`: one model learns to work at several widths and depths (DynaBERT, arXiv 2004.04037).

Three recipes follow one another: width, width and depth, final fine-tuning; each begins with the model of the one
before.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ms_plm.common.errors import UserError, about
from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.data.buckets import padded_lengths
from ms_plm.distill.answers import with_answers
from ms_plm.distill.objective import Given
from ms_plm.distill.opening import open_teacher
from ms_plm.elastic.extraction import FACT, among
from ms_plm.elastic.figures import ElasticEvaluator
from ms_plm.elastic.importance import importance
from ms_plm.elastic.objective import elastic_loss, views
from ms_plm.elastic.rewiring import Importance, rewire
from ms_plm.elastic.subnetworks import check_whole, of_method
from ms_plm.models.folder import ModelFolder, open_folder
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer
from ms_plm.training.finetuning import TaskData, check_length, own_tokenizer
from ms_plm.training.parallel import Parallel
from ms_plm.training.pretraining import check_same_vocabulary
from ms_plm.training.session import Context, Job
from ms_plm.training.throughput import training_flops

log = logging.getLogger(__name__)
SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "attention_head_size", "intermediate_size")
"""What of a teacher must be as in the whole model."""


def open_job(context: Context) -> Job:
    """The task, the model with its heads and neurons in order, and the loss over all sub-networks.

    Raises:
        UserError: they do not fit each other.
    """
    recipe = context.recipe
    method: ElasticMethod = recipe.method
    opened = open_folder(place(recipe.model.from_))
    data = TaskData.open(recipe).numbered_as(opened.config.labels)
    kind, name = data.kind, f"model.from {recipe.model.from_}"
    _check_elastic(opened, name, data)
    teacher, known = _teacher(context, data, opened)
    outputs = (kind.labels or 1) if kind.labelled else None
    kernels = context.kernels(wants=frozenset({"hidden_states"} if method.losses.on_layers else ()))
    model = opened.build(kind.head, kernels=kernels, labels=outputs)
    check_length(model, recipe.data.max_length, recipe.model.from_)
    tokenizer = own_tokenizer(recipe, recipe.model.from_, opened.tokenizer)
    parts = of_method(model.config, method)
    samples = kind.samples(data.train.examples, tokenizer, training=True).rows
    if method.rewire.on != "none":
        put_in_order(context, data, model, tokenizer)
    if teacher is not None and method.teacher.cache:
        samples, teacher = with_answers(samples, kind, teacher, known, context), Given(stored=True)
    models = views(model, parts)
    loss = elastic_loss(method, model.config, parts, models, kind, teacher)
    evaluators: list[ElasticEvaluator] = []

    def measure(_, *arguments) -> ElasticEvaluator:
        evaluators.append(ElasticEvaluator(parts, models, *arguments))
        return evaluators[0]

    job = data.job(context, model, tokenizer, loss, samples, measure)
    lengths, mean = padded_lengths(samples.lengths, recipe.data.lengths), int(samples.lengths.mean())
    log.info(
        "%d sub-networks (%s) at %d padded length%s: up to %d graphs to compile for training and as many for "
        "evaluation (data.lengths bounds them)",
        len(parts),
        ", ".join(part.name for part in parts),
        len(lengths),
        "s" if len(lengths) > 1 else "",
        len(parts) * len(lengths),
    )
    facts = {FACT: method.model_dump(mode="json", include={"widths", "depths", "subnetworks"})}
    if teacher is not None:
        facts |= {"teacher": method.teacher.from_}
    return replace(
        job,
        flops_per_token=sum(training_flops(each.config, mean, 0.0) for each in models),
        fingerprint=hashlib.sha256(f"{job.fingerprint}{known}{method.rewire}".encode()).hexdigest(),
        facts={**job.facts, **facts},
        show=(lambda folder, figures: evaluators[0].draw(folder, model.config, lengths[-1], figures))
        if evaluators
        else None,
    )


def _check_elastic(opened: ModelFolder, name: str, data: TaskData) -> None:
    """Whether a model has learned the task as a whole; without that nothing says which heads and neurons matter."""
    with about(name):
        check_whole(opened.config)
    remedy = (
        f"Fine-tune it on this task first: ms-plm run RECIPE of kind finetune model.from={opened.weights.path.parent}."
    )
    kind, config = data.kind, opened.config
    if opened.lacks(kind.head):
        raise UserError(
            f"{name}: has no {kind.head.replace('_', ' ')} head, so that nothing says which heads and neurons matter. "
            f"{remedy}"
        )
    trained = (config.provenance or {}).get("task")
    if trained not in (None, data.task.name):
        raise UserError(
            f"{name}: its head was trained on {trained} (provenance.task of its config.json), the data are "
            f"{data.task.name}. {remedy} If both are the same task under two names, write {data.task.name} there."
        )
    if kind.labelled:
        wanted, theirs = len(kind.labels) if kind.labels else 1, config.labels if kind.labels else None
        if config.num_labels != wanted or (theirs and set(theirs) != set(kind.labels)):
            raise UserError(
                f"{name}: its labels are {_named(config.labels, config.num_labels)}, those of the data are "
                f"{_named(kind.labels, wanted)}. {remedy}"
            )


def _named(labels: Sequence[str] | None, count: int) -> str:
    return ", ".join(labels) if labels else f"{count} without names"


def put_in_order(context: Context, data: TaskData, model: Model, tokenizer: Tokenizer) -> None:
    """Rewire a model by what some examples say, as `method.rewire` of a recipe has it.

    Args:
        context: of a recipe of kind `elastic`.
        data: its task.
        model: is changed.
        tokenizer: its own.

    Raises:
        UserError: there is no such set, or it does not say what matters, see `importance`.
    """
    recipe, method = context.recipe, context.recipe.method.rewire
    splits = [data.train] if method.on == "train" else [s for n, s in data.splits.items() if n.startswith("dev")]
    if not splits:
        raise UserError("method.rewire.on: dev, but the task has no dev set; expected train.")
    examples = [example for split in splits for example in split.examples]
    if method.rows is not None and method.rows < len(examples):
        chosen = np.sort(np.random.default_rng(recipe.train.seed).permutation(len(examples))[: method.rows])
        examples = [examples[number] for number in chosen]
    rows = data.kind.samples(examples, tokenizer, training=True).rows
    lengths = padded_lengths(rows.lengths, recipe.data.lengths)
    scale = 1024.0 if context.policy.loss_scaling else 1.0
    found = importance(data.kind.loss(model), rows, lengths, method.batch, method.accumulate, scale)
    rewire(model, of_first(found, context.parallel))
    log.info("heads and neurons are in the order of their importance to %d examples of %s", len(examples), method.on)


def of_first(own: Importance, parallel: Parallel) -> Importance:
    """The importance that the first process found, float32, for all: others may resolve a near-tie otherwise."""
    heads, neurons = np.stack(own.heads), np.stack(own.neurons)
    first = parallel.gather_arrays(np.concatenate((heads.ravel(), neurons.ravel())).astype(np.float32))[0]
    return Importance(first[: heads.size].reshape(heads.shape), first[heads.size :].reshape(neurons.shape))


def _teacher(context: Context, data: TaskData, opened: ModelFolder) -> tuple[Model | None, str]:
    """The model that is learned of, and a fingerprint of it."""
    method = context.recipe.method
    section = method.teacher
    if section is None:
        return None, ""
    kind = data.kind
    labels = (kind.labels or 1) if kind.labelled else None
    folder, name, fingerprint = open_teacher(section.from_, kind.head, labels, data.task.name)
    _check_same_shape(folder.config, opened.config, name)
    check_same_vocabulary(name, folder.tokenizer, opened.tokenizer)
    if section.width == "same":
        _check_widths(folder.config, method.widths, name)
    theirs, ours = folder.config.labels, opened.config.labels
    if theirs and ours and theirs != ours:
        raise UserError(
            f"{name}: numbers its labels {', '.join(theirs)}, model.from {', '.join(ours)}: what it says of one class "
            "would be learned for another. Take the model that model.from began with, or fine-tune the teacher anew."
        )
    wants = frozenset({"hidden_states"} if method.losses.on_layers else ())
    model = folder.build(kind.head, kernels=context.kernels(section.precision, wants=wants))
    check_length(model, context.recipe.data.max_length, name)
    return model, fingerprint


def _check_same_shape(teacher: ModelConfig, model: ModelConfig, name: str) -> None:
    with about(name):
        check_whole(teacher)
    for key in SHAPE:
        ours, theirs = getattr(model, key), getattr(teacher, key)
        if ours != theirs:
            raise UserError(
                f"{name}: {key} is {theirs}, in model.from it is {ours}; sub-networks learn of a model of the whole's "
                "shape. Name the fine-tuned model, or the elastic one of the stage before."
            )


def _check_widths(teacher: ModelConfig, widths: Sequence[float], name: str) -> None:
    """A narrow part of a teacher that never worked as one says nothing that is worth learning."""
    known = ((teacher.provenance or {}).get(FACT) or {}).get("widths", ())
    if lacking := [width for width in widths if not among(width, known)]:
        said, missed = (", ".join(f"{width:g}" for width in values) or "none" for values in (known, lacking))
        raise UserError(
            f"{name}: method.teacher.width is same, but the widths that it was trained at ({said}; provenance.elastic "
            f"of its config.json) lack {missed}. Name the result of a recipe of kind elastic that has them, or set "
            "method.teacher.width=full."
        )
