"""Recipes of kind `task_distill`: a student learns a task of a teacher that was fine-tuned on it (TinyBERT, 3.2).

First what goes on inside (embeddings, hidden states, attention), then, from that student, the predictions: two recipes,
or any mixture of terms in one.
"""

from __future__ import annotations

from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.distill.answers import with_answers
from ms_plm.distill.figures import DistillationEvaluator, task_batches
from ms_plm.distill.objective import DistillationLoss, Given
from ms_plm.distill.opening import open_pair
from ms_plm.tasks.runner import TaskEvaluator
from ms_plm.training.finetuning import TaskData, own_tokenizer
from ms_plm.training.session import Context, Job


def open_job(context: Context) -> Job:
    """The task, both models and the terms of a recipe.

    Raises:
        UserError: they do not fit each other.
    """
    recipe = context.recipe
    data = TaskData.open(recipe).numbered_as(ModelConfig.load(place(recipe.method.teacher.from_)).labels)
    kind, losses = data.kind, recipe.method.losses
    pair = open_pair(context, kind.head, (kind.labels or 1) if kind.labelled else None, data.task.name)
    tokenizer = own_tokenizer(recipe, recipe.method.teacher.from_, pair.tokenizer)
    task = kind.loss(pair.student) if losses.on_outputs else None
    samples = kind.samples(data.train.examples, tokenizer, training=True).rows
    teacher = pair.teacher
    if recipe.method.teacher.cache:
        samples, teacher = with_answers(samples, kind, teacher, pair.fingerprint, context), Given(stored=True)
    loss = DistillationLoss(pair.objective, pair.student, teacher, "task" if task else "", task)

    def terms(model, kind, splits, lengths, batch, group) -> DistillationEvaluator:
        return DistillationEvaluator(loss, task_batches(splits, lengths, batch, group), group.sum)

    measure = TaskEvaluator if losses.on_outputs else terms
    return pair.with_teacher(data.job(context, pair.student, tokenizer, loss, samples, measure))
