"""Recipes of kind `finetune`: a pretrained model learns a task, and is measured by that task's figures."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from mindspore import nn

from ms_plm.common.errors import UserError
from ms_plm.common.processor import cores
from ms_plm.config.finetuning import TextLimits
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.data.benchmarks import BenchmarkTask, Split, read_augmented, read_task, without_train_texts
from ms_plm.data.buckets import BucketedLoader, LabelledSamples, padded_lengths
from ms_plm.data.tags import are_entities
from ms_plm.models.folder import open_folder
from ms_plm.models.model import Model
from ms_plm.tasks.confusion import draw_result
from ms_plm.tasks.kind import TaskKind, TaskSamples
from ms_plm.tasks.kinds import KINDS, named_task, own_task
from ms_plm.tasks.runner import TaskEvaluator
from ms_plm.tokenization import Tokenizer
from ms_plm.training.assembly import micro_batch
from ms_plm.training.forward import LossInParts
from ms_plm.training.session import Context, Job
from ms_plm.training.step import rng_maker
from ms_plm.training.throughput import training_flops

log = logging.getLogger(__name__)


def open_job(context: Context) -> Job:
    """The task, the model and the loss of a recipe.

    Raises:
        UserError: they do not fit each other.
    """
    recipe = context.recipe
    data = TaskData.open(recipe)
    opened = open_folder(place(recipe.model.from_))
    kind = data.kind
    outputs = (kind.labels or 1) if kind.labelled else None
    model = opened.build(
        kind.head,
        kernels=context.kernels(),
        new_head=True,
        seed=recipe.train.seed,
        labels=outputs,
        task=data.task.name,
        fresh=recipe.model.fresh,
    )
    tokenizer = own_tokenizer(recipe, recipe.model.from_, opened.tokenizer)
    check_length(model, recipe.data.max_length, recipe.model.from_)
    samples = kind.samples(data.train.examples, tokenizer, training=True).rows
    if recipe.method.class_weights == "balanced":
        samples = _balanced(data.task, samples, kind.labels)
    job = data.job(context, model, tokenizer, kind.loss(model), samples)
    return replace(
        job, patience=recipe.method.patience, flops_per_token=job.flops_per_token * (1 + (recipe.method.fgm > 0))
    )


@dataclass(frozen=True)
class TaskData:
    """A recipe's task: what is trained and evaluated on.

    Attributes:
        task: of a benchmark, or one's own.
        splits: `train`, one or more `dev...`.
        train: what of the training set is used.
        kind: the strategy for it.
    """

    task: BenchmarkTask
    splits: Mapping[str, Split]
    train: Split
    kind: TaskKind

    @classmethod
    def open(cls, recipe: Recipe) -> TaskData:
        """Read the files; errors as for `open_task`."""
        task, splits = open_task(recipe)
        train = splits["train"] if recipe.data.augmented else _chosen(splits["train"], recipe)
        return cls(task, splits, train, KINDS[task.kind](task, train.labels, recipe.data))

    def numbered_as(self, labels: Sequence[str] | None) -> TaskData:
        """The same task with its labels, if they are these, numbered in this order: a model's, matched by name."""
        own = self.kind.labels
        if not own or not labels or set(own) != set(labels) or tuple(own) == tuple(labels):
            return self
        splits = {name: replace(split, labels=tuple(labels)) for name, split in self.splits.items()}
        kind = KINDS[self.task.kind](self.task, tuple(labels), self.kind.limits)
        return replace(self, splits=splits, train=replace(self.train, labels=tuple(labels)), kind=kind)

    def held_out(self, tokenizer: Tokenizer) -> dict[str, tuple[Split, TaskSamples]]:
        """The dev sets, tokenized."""
        return {
            name: (split, self.kind.samples(split.examples, tokenizer))
            for name, split in self.splits.items()
            if name.startswith("dev")
        }

    def job(
        self,
        context: Context,
        model: Model,
        tokenizer: Tokenizer,
        loss: nn.Cell | LossInParts,
        samples: LabelledSamples,
        measure: Callable[..., Measure] = TaskEvaluator,
    ) -> Job:
        """A run over samples of the task.

        Args:
            context: of the recipe.
            model: is trained.
            tokenizer: its own.
            loss: over it, see `TrainingStep`.
            samples: are trained on.
            measure: makes what gives figures on the dev sets, with the arguments of `TaskEvaluator`.
        """
        recipe, parallel, kind = context.recipe, context.parallel, self.kind
        held_out = self.held_out(tokenizer)
        lengths = padded_lengths(samples.lengths, recipe.data.lengths)
        size = micro_batch(recipe, parallel.ranks)
        loader = BucketedLoader(
            samples,
            recipe.train.seed,
            lengths,
            loss.weights_of,
            recipe.train.batch,
            size,
            parallel.rank,
            parallel.ranks,
            min(recipe.impl.workers, cores()),
            rng_maker(*(loss.models if isinstance(loss, LossInParts) else (model,))),
        )
        evaluator = None
        if held_out:
            evaluator = measure(model, kind, held_out, lengths, recipe.impl.eval_batch or size, parallel)
        else:
            log.warning("no dev set: no evaluation, and the last checkpoint is the result")
        per_epoch, limits = loader.updates_per_epoch, recipe.data
        return Job(
            model=model,
            tokenizer=tokenizer,
            loss=loss,
            loader=loader,
            total=recipe.train.steps or math.ceil(recipe.train.epochs * per_epoch),
            fingerprint=_fingerprint([samples, *(held.rows for _, held in held_out.values())], kind.labels),
            evaluate=evaluator.figures if evaluator else None,
            evaluate_every=max(1, round(recipe.evaluate.every_epochs * per_epoch)),
            flops_per_token=training_flops(model.config, int(samples.lengths.mean()), 0.0),
            data=_describe(self.task, self.train, held_out, samples, lengths),
            keep_best=recipe.train.checkpoint.best != "none",
            facts={
                "task": self.task.name,
                "limits": {name: getattr(limits, name) for name in TextLimits.model_fields},
                **({"without_train_texts": True} if limits.without_train_texts else {}),
            },
            titles=evaluator.titles() if evaluator else {},
            show=(lambda folder, _: draw_result(evaluator, folder)) if isinstance(evaluator, TaskEvaluator) else None,
        )


class Measure(Protocol):
    """What gives figures on the dev sets, as `TaskEvaluator` does."""

    def figures(self) -> dict[str, float]:
        """Figures by name."""

    def titles(self) -> dict[str, str]:
        """Their names, for people."""


def own_tokenizer(recipe: Recipe, folder: str, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer of a folder, lower-casing as the recipe of a task wants it."""
    if recipe.data.lower_case is None:
        return tokenizer
    return Tokenizer.load(place(folder), lower_case=recipe.data.lower_case)


def open_task(recipe: Recipe) -> tuple[BenchmarkTask, dict[str, Split]]:
    """The task of a recipe and its splits: `train` (that of `data.augmented` where it is set), one or more `dev...`.

    Raises:
        UserError: there is no such task, it is of another kind, or its files are not there or not as they should be.
    """
    data = recipe.data
    if data.own:
        own = data.own
        files = {"train": own.train, **{n: f for n, f in (("dev", own.dev), ("test", own.test)) if f}}
        paths = {name: str(place(file)) for name, file in files.items()}
        task = own_task(own, paths)
        splits = read_task(task, Path(), splits=tuple(name for name in paths if name != "test"))
    else:
        task = named_task(data.task)
        if "train" not in task.splits:
            raise UserError(
                f"data.task: {task.name} has no training set. Train on another task, and score that run on this one: "
                f"ms-plm evaluate RUN FILES --task {task.name} --split test"
            )
        names = [name for name in task.splits if not name.startswith("test")]
        splits = read_task(task, place(data.folder), splits=names)
    if data.augmented:
        own = splits["train"]
        drawn = _drawn(len(own.examples), recipe)
        splits = {**splits, "train": read_augmented(task, place(data.augmented), own, drawn)}
    _check_tags(task, splits["train"].labels)
    for split in splits.values():
        for reason, count in split.dropped.items():
            log.info("%s %s: %d examples left out: %s", task.name, split.name, count, reason)
    if data.without_train_texts:
        for name in [name for name in splits if name.startswith("dev")]:
            count = len(splits[name].examples)
            splits = {**splits, name: without_train_texts(splits[name], splits["train"])}
            left_out = count - len(splits[name].examples)
            log.info("%s: %d of %d texts stand in the training set: left out", name, left_out, count)
    return task, splits


def _check_tags(task: BenchmarkTask, tags: Sequence[str] | None) -> None:
    """Figures of entities need tags that mark them."""
    wanted = [name for name in task.metrics if name.startswith("entity_")]
    if wanted and tags and not are_entities(tags):
        strange = next(tag for tag in tags if not are_entities([tag]))
        raise UserError(
            f"{task.name}: {wanted[0]} needs tags such as O, B-PER and I-PER, found {strange!r}. If the tags mark no "
            "entities, set data.own.metrics=[token_accuracy]."
        )


def _chosen(split: Split, recipe: Recipe) -> Split:
    """The training set, or `data.rows` examples of it, drawn by the seed."""
    chosen = _drawn(len(split.examples), recipe)
    return split if chosen is None else replace(split, examples=[split.examples[number] for number in chosen])


def _drawn(count: int, recipe: Recipe) -> list[int] | None:
    """Numbers of the `data.rows` examples out of so many that the seed draws; None: all."""
    rows = recipe.data.rows
    if rows is None or rows >= count:
        return None
    return sorted(np.random.default_rng(recipe.train.seed).permutation(count)[:rows].tolist())


def _balanced(task: BenchmarkTask, samples: LabelledSamples, labels: Sequence[str] | None) -> LabelledSamples:
    """The same samples, weighted so that every class counts the same in sum.

    Raises:
        UserError: there are no classes.
    """
    if not labels:
        raise UserError(f"method.class_weights: {task.name} has no classes; expected none.")
    weights = balanced_weights(samples.labels[samples.weights > 0], len(labels))
    return replace(samples, weights=(samples.weights * weights[samples.labels]).astype(np.float32))


def balanced_weights(numbers: np.ndarray, classes: int) -> np.ndarray:
    """Weight of every class, float `[classes]`, by which all count the same in sum: N / (classes x count)."""
    counts = np.bincount(numbers, minlength=classes)
    return len(numbers) / (classes * np.maximum(counts, 1))


def check_length(model: Model, length: int, name: str) -> None:
    """Raise a UserError where a model has fewer positions than `data.max_length`."""
    if model.limit is not None and length > model.limit:
        raise UserError(
            f"data.max_length {length} is more than the {model.limit} absolute positions of {name}; shorten it."
        )


def _fingerprint(sets: Sequence[LabelledSamples], labels) -> str:
    """Of what is learned, and of the dev sets, which decide on the best checkpoint."""
    digest = hashlib.sha256(repr(labels).encode())
    for samples in sets:
        for array in (samples.input_ids, samples.token_type_ids, samples.starts, samples.labels, samples.weights):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _describe(task: BenchmarkTask, train: Split, held_out: Mapping, samples: LabelledSamples, lengths) -> str:
    sizes = ", ".join(f"{name} {len(split.examples)}" for name, (split, _) in held_out.items()) or "no dev set"
    kind = f"{len(train.labels)} classes" if train.labels else task.kind.replace("_", " ")
    count = f"{len(train.examples)}" + (f" in {len(samples)} windows" if len(samples) != len(train.examples) else "")
    return (
        f"{task.name}, {kind}; train {count}, {sizes}; {samples.lengths.mean():.0f} tokens on average, "
        f"padded to {', '.join(map(str, lengths))}"
    )
