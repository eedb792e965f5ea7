"""Recipes of kind `general_distill`: a student learns of a pretrained teacher on text (TinyBERT, section 3.2)."""

from __future__ import annotations

from ms_plm.distill.figures import DistillationEvaluator, corpus_batches
from ms_plm.distill.objective import DistillationLoss
from ms_plm.distill.opening import open_pair
from ms_plm.training.pretraining import check_same_vocabulary, corpus_job, held_out_batches, open_corpus
from ms_plm.training.session import Context, Job


def open_job(context: Context) -> Job:
    """The text, both models and the terms of a recipe.

    Raises:
        UserError: they do not fit each other.
    """
    recipe = context.recipe
    on_outputs = recipe.method.losses.on_outputs
    pair = open_pair(context, "masked_lm" if on_outputs else "encoder")
    data = open_corpus(context)
    check_same_vocabulary(f"method.teacher.from {recipe.method.teacher.from_}", pair.tokenizer, data.tokenizer)
    loss = DistillationLoss(pair.objective, pair.student, pair.teacher, "masked_lm" if on_outputs else "")
    evaluator = None
    if (batches := held_out_batches(context, data)) is not None:
        evaluator = DistillationEvaluator(loss, corpus_batches(batches), context.parallel.sum)
    evaluate, titles = (evaluator.figures, evaluator.titles()) if evaluator else (None, {})
    return pair.with_teacher(corpus_job(context, data, pair.student, loss, evaluate, titles))
