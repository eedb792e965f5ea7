"""Recipes of kind `task_distill`: a student learns a task of a teacher that was fine-tuned on it (TinyBERT, 3.2).

First what goes on inside (embeddings, hidden states, attention), then, from that student, the predictions: two recipes,
or any mixture of terms in one.
"""

from __future__ import annotations

from dataclasses import replace

from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.distill.answers import with_answers
from ms_plm.distill.figures import DistillationEvaluator, task_batches
from ms_plm.distill.objective import DistillationLoss
from ms_plm.distill.opening import open_pair
from ms_plm.tasks.kinds import KINDS
from ms_plm.tasks.runner import TaskEvaluator
from ms_plm.training.finetuning import TaskData, own_tokenizer
from ms_plm.training.session import Context, Job


def open_job(context: Context) -> Job:
    """The task, both models and the terms of a recipe.

    Raises:
        UserError: they do not fit each other.
    """
    recipe = context.recipe
    data = _in_teachers_order(TaskData.open(recipe), recipe)
    kind, losses = data.kind, recipe.method.losses
    pair = open_pair(context, kind.head, (kind.labels or 1) if kind.labelled else None)
    tokenizer = own_tokenizer(recipe, recipe.method.teacher.from_, pair.tokenizer)
    task = kind.loss(pair.student) if losses.on_outputs else None
    samples = kind.samples(data.train.examples, tokenizer, training=True).rows
    teacher = pair.teacher
    if recipe.method.teacher.cache:
        samples, teacher = with_answers(samples, kind, pair, context), None
    loss = DistillationLoss(pair.objective, pair.student, teacher, "task" if task else "", task)

    def terms(model, kind, splits, lengths, batch, group) -> DistillationEvaluator:
        return DistillationEvaluator(loss, task_batches(splits, lengths, batch, group), group.sum)

    measure = TaskEvaluator if losses.on_outputs else terms
    return pair.with_teacher(data.job(context, pair.student, tokenizer, loss, samples, measure))


def _in_teachers_order(data: TaskData, recipe: Recipe) -> TaskData:
    """The same task with its labels numbered as the teacher's: they are matched by name."""
    labels = ModelConfig.load(place(recipe.method.teacher.from_)).labels
    own = data.kind.labels
    if not own or not labels or set(own) != set(labels) or tuple(own) == labels:
        return data
    splits = {name: replace(split, labels=labels) for name, split in data.splits.items()}
    kind = KINDS[data.task.kind](data.task, labels, recipe.data)
    return replace(data, splits=splits, train=replace(data.train, labels=labels), kind=kind)
