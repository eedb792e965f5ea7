"""Recipes of kind `elastic`: one model learns to work at several widths and depths (DynaBERT, arXiv 2004.04037).

Three recipes follow one another: width, width and depth, final fine-tuning; each begins with the model of the one
before.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.data.buckets import padded_lengths
from ms_plm.distill.answers import with_answers
from ms_plm.distill.objective import Given
from ms_plm.distill.opening import open_teacher
from ms_plm.elastic.extraction import FACT
from ms_plm.elastic.figures import ElasticEvaluator
from ms_plm.elastic.importance import importance
from ms_plm.elastic.objective import elastic_loss, views
from ms_plm.elastic.rewiring import rewire
from ms_plm.elastic.subnetworks import check_whole, of_method
from ms_plm.models.folder import ModelFolder, open_folder
from ms_plm.models.model import Model
from ms_plm.tasks.kind import TaskKind
from ms_plm.tokenization import Tokenizer
from ms_plm.training.finetuning import TaskData, check_length, own_tokenizer
from ms_plm.training.session import Context, Job
from ms_plm.training.throughput import training_flops

log = logging.getLogger(__name__)


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
    _check_elastic(opened, name, kind)
    outputs = (kind.labels or 1) if kind.labelled else None
    kernels = context.kernels(wants=frozenset({"hidden_states"} if method.losses.on_layers else ()))
    model = opened.build(kind.head, kernels=kernels, labels=outputs)
    check_length(model, recipe.data.max_length, recipe.model.from_)
    tokenizer = own_tokenizer(recipe, recipe.model.from_, opened.tokenizer)
    parts = of_method(model.config, method)
    samples = kind.samples(data.train.examples, tokenizer, training=True).rows
    if method.rewire.on != "none":
        scale = 1024.0 if context.policy.loss_scaling else 1.0
        put_in_order(recipe, data, model, tokenizer, scale)
    teacher, known = _teacher(context, data, opened)
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
        "%d sub-networks (%s) at %d padded length%s: up to %d graphs to compile (data.lengths bounds them)",
        len(parts),
        ", ".join(part.name for part in parts),
        len(lengths),
        "s" if len(lengths) > 1 else "",
        len(parts) * len(lengths),
    )
    facts = {FACT: {"widths": method.widths, "depths": method.depths}}
    if teacher is not None:
        facts |= {"teacher": method.teacher.from_}
    return replace(
        job,
        flops_per_token=sum(training_flops(each.config, mean, 0.0) for each in models),
        fingerprint=hashlib.sha256(f"{job.fingerprint}{known}{method.rewire}".encode()).hexdigest(),
        facts={**job.facts, **facts},
        show=(lambda folder: evaluators[0].draw(folder, model.config, lengths[-1])) if evaluators else None,
    )


def _check_elastic(opened: ModelFolder, name: str, kind: TaskKind) -> None:
    try:
        check_whole(opened.config)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    if opened.lacks(kind.head):
        raise UserError(
            f"{name}: has no {kind.head.replace('_', ' ')} head, so that nothing says which heads and neurons matter. "
            "Fine-tune it on the task first: ms-plm run RECIPE of kind finetune "
            f"model.from={opened.weights.path.parent}."
        )


def put_in_order(recipe: Recipe, data: TaskData, model: Model, tokenizer: Tokenizer, scale: float = 1.0) -> None:
    """Rewire a model by what some examples say, as `method.rewire` of a recipe has it.

    Args:
        recipe: of kind `elastic`.
        data: its task.
        model: is changed.
        tokenizer: its own.
        scale: of the loss while it is differentiated, where half precision needs it.
    """
    method = recipe.method.rewire
    splits = [data.train] if method.on == "train" else [s for n, s in data.splits.items() if n.startswith("dev")]
    if not splits:
        raise UserError("method.rewire.on: dev, but the task has no dev set; expected train.")
    examples = [example for split in splits for example in split.examples]
    if method.rows is not None and method.rows < len(examples):
        chosen = np.sort(np.random.default_rng(recipe.train.seed).permutation(len(examples))[: method.rows])
        examples = [examples[number] for number in chosen]
    rows = data.kind.samples(examples, tokenizer, training=True).rows
    lengths = padded_lengths(rows.lengths, recipe.data.lengths)
    rewire(model, importance(data.kind.loss(model), rows, lengths, method.batch, method.accumulate, scale))
    log.info("heads and neurons are in the order of their importance to %d examples of %s", len(examples), method.on)


def _teacher(context: Context, data: TaskData, opened: ModelFolder) -> tuple[Model | None, str]:
    """The model that is learned of, and a fingerprint of it."""
    section = context.recipe.method.teacher
    if section is None:
        return None, ""
    kind = data.kind
    labels = (kind.labels or 1) if kind.labelled else None
    folder, name, fingerprint = open_teacher(section.from_, kind.head, labels, data.task.name)
    _check_same_shape(folder.config, opened.config, name)
    theirs, ours = folder.config.labels, opened.config.labels
    if theirs and ours and theirs != ours:
        raise UserError(
            f"{name}: numbers its labels {', '.join(theirs)}, model.from {', '.join(ours)}: what it says of one class "
            "would be learned for another. Take the model that model.from began with, or fine-tune the teacher anew."
        )
    wants = frozenset({"hidden_states"} if context.recipe.method.losses.on_layers else ())
    kernels = context.kernels(section.precision, wants=wants)
    return folder.build(kind.head, kernels=kernels), fingerprint


def _check_same_shape(teacher: ModelConfig, model: ModelConfig, name: str) -> None:
    check_whole(teacher)
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"):
        ours, theirs = getattr(model, key), getattr(teacher, key)
        if ours != theirs:
            raise UserError(
                f"{name}: {key} is {theirs}, in model.from it is {ours}; sub-networks learn of a model of the whole's "
                "shape. Name the fine-tuned model, or the elastic one of the stage before."
            )
