"""Recipes of kind `pretrain`: prepared text, masks, and a model that fills them in."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from mindspore import nn

from ms_plm.common.errors import UserError
from ms_plm.common.processor import cores
from ms_plm.config.places import place
from ms_plm.data.loader import EvaluationBatches, UpdateLoader
from ms_plm.data.sources import EVALUATION_SEED, PretrainingData, open_data
from ms_plm.models.folder import check_vocabulary, open_folder
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingLoss, head_for
from ms_plm.tasks.runner import PretrainingEvaluator
from ms_plm.tokenization import Tokenizer
from ms_plm.training.assembly import micro_batch
from ms_plm.training.session import Context, Job
from ms_plm.training.step import rng_maker
from ms_plm.training.throughput import training_flops

log = logging.getLogger(__name__)

TITLES = {
    "loss": "loss (all terms)",
    "masked_lm_loss": "masked-LM loss",
    "accuracy": "masked accuracy",
    "accuracy_words": "masked accuracy without punctuation and [UNK]",
    "next_sentence_loss": "next-sentence loss",
    "next_sentence_accuracy": "next-sentence accuracy",
}


def open_job(context: Context) -> Job:
    """The data, the model and the loss of a recipe.

    Raises:
        UserError: they do not fit each other.
    """
    recipe, data = context.recipe, open_corpus(context)
    model = _build_model(context, data)
    batches = held_out_batches(context, data)
    evaluator = PretrainingEvaluator(model, recipe.data.nsp, data.tokenizer)

    def figures() -> dict[str, float]:
        return evaluator.evaluate(batches, total=context.parallel.sum).figures()

    loss = PretrainingLoss(model, recipe.data.nsp)
    return corpus_job(context, data, model, loss, figures if batches is not None else None, TITLES)


def open_corpus(context: Context) -> PretrainingData:
    """The text of a recipe, prepared by the first process if need be."""
    recipe = context.recipe
    parent = place(recipe.model.from_) if recipe.model.from_ else None
    return context.first_then_all(lambda: open_data(recipe.data, recipe.evaluate, recipe.train.seed, cores(), parent))


def corpus_job(
    context: Context,
    data: PretrainingData,
    model: Model,
    loss: nn.Cell,
    evaluate: Callable[[], dict[str, float]] | None,
    titles: dict[str, str],
) -> Job:
    """A run over the samples of a corpus.

    Args:
        context: of the recipe.
        data: its text.
        model: is trained.
        loss: over it, see `TrainingStep`.
        evaluate: figures on held-out samples, or None.
        titles: of the figures, for people.
    """
    recipe, parallel = context.recipe, context.parallel
    length = recipe.data.max_length
    share = data.masking.largest_count(length) / length if model.has_masked_lm else 0.0
    loader = UpdateLoader(
        data.train,
        data.masking,
        recipe.train.seed,
        recipe.train.batch,
        micro_batch(recipe, parallel.ranks),
        parallel.rank,
        parallel.ranks,
        min(recipe.impl.workers, cores()),
        rng_maker(model),
        weigh=loss.weights_of,
    )
    return Job(
        model=model,
        tokenizer=data.tokenizer,
        loss=loss,
        loader=loader,
        total=recipe.train.steps or math.ceil(recipe.train.epochs * len(data.train) / recipe.train.batch),
        fingerprint=data.fingerprint,
        evaluate=evaluate,
        evaluate_every=recipe.evaluate.every,
        flops_per_token=training_flops(model.config, length, share),
        data=(
            f"{len(data.train)} samples of length {length}, vocabulary of {data.tokenizer.vocab_size}; held out: "
            f"{len(data.held_out) if data.held_out else 'no'} samples"
        ),
        titles=titles,
    )


def _build_model(context: Context, data: PretrainingData) -> Model:
    recipe, kernels = context.recipe, context.kernels()
    head, tokenizer = head_for(recipe.data.nsp), data.tokenizer
    if recipe.model.from_:
        parent = open_folder(place(recipe.model.from_))
        check_same_vocabulary(f"model.from {recipe.model.from_}", parent.tokenizer, tokenizer)
        model = parent.build(head, kernels=kernels, new_head=True, seed=recipe.train.seed, fresh=recipe.model.fresh)
    else:
        config = recipe.model.build(tokenizer.vocab_size, tokenizer.pad_id)
        check_vocabulary(config, tokenizer, "model.vocab_size")
        model = Model(config, head, kernels).initialise(recipe.train.seed)
    if model.limit is not None and recipe.data.max_length > model.limit:
        raise UserError(
            f"data.max_length {recipe.data.max_length} is more than the {model.limit} tokens that "
            f"model.max_position_embeddings {model.config.max_position_embeddings} allows; raise the latter, or use "
            "position_embedding_type: functional_relative, which has no limit."
        )
    return model


def check_same_vocabulary(parent: str, known: Tokenizer, used: Tokenizer) -> None:
    """Ids must mean the same as when the model `parent` was trained; equal sizes do not say so."""
    if known.vocabulary != used.vocabulary:
        first = next(
            (i for i, (a, b) in enumerate(zip(known.vocabulary, used.vocabulary, strict=False)) if a != b),
            min(known.vocab_size, used.vocab_size),
        )
        raise UserError(
            f"{parent}: its vocabulary ({known.vocab_size} entries) is not that of the data "
            f"({used.vocab_size} entries); they differ from id {first} on. Prepare the text with the vocabulary in "
            f"{parent}, or train a new model."
        )
    if known.fingerprint != used.fingerprint:
        log.warning("%s: same vocabulary, but text is lower-cased or split otherwise in this data", parent)


def held_out_batches(context: Context, data: PretrainingData) -> EvaluationBatches | None:
    """This process's batches of the held-out samples; None where there are none, which is logged."""
    if data.held_out is None:
        log.warning("no held-out documents (data.text.holdout, or `ms-plm prepare --holdout`): no evaluation")
        return None
    recipe, parallel = context.recipe, context.parallel
    return EvaluationBatches(
        data.held_out,
        data.masking,
        EVALUATION_SEED,
        recipe.impl.eval_batch or micro_batch(recipe, parallel.ranks),
        recipe.evaluate.samples,
        parallel.rank,
        parallel.ranks,
    )
