"""The proxy by which a map is judged: a short general distillation, then a short fine-tuning on each task.

Everything is compiled once; weights, moments and counters are put back before every map. Maps that are evaluated with
the same seed see the same samples, masks, dropout and new weights, so that they differ in nothing but the map.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe
from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.config.precision import policy_for
from ms_plm.config.recipe import EvaluateSection, OptimizerSection, Recipe, ScheduleSection, TrainSection
from ms_plm.config.search import ProxyTask
from ms_plm.data.benchmarks import Split
from ms_plm.data.buckets import BucketedLoader, padded_lengths
from ms_plm.data.loader import UpdateLoader
from ms_plm.data.sources import PretrainingData, open_data
from ms_plm.data.updates import Updates
from ms_plm.distill.opening import begin_with, open_pair
from ms_plm.distill.search.objective import AnyMap, MapLoss
from ms_plm.models.model import Model
from ms_plm.tasks.runner import TaskEvaluator
from ms_plm.tokenization import Tokenizer
from ms_plm.training.assembly import build_step, micro_batch
from ms_plm.training.finetuning import TaskData, check_length, own_tokenizer
from ms_plm.training.hardware import open_device
from ms_plm.training.parallel import Parallel
from ms_plm.training.pretraining import check_same_vocabulary
from ms_plm.training.schedule import build_schedule
from ms_plm.training.session import Context
from ms_plm.training.step import TrainingStep, rng_maker

_EVALUATED = 32
"""Sequences at a time where nothing is learned."""
_BATCHES = 8
"""Batches over which layers of the teacher are skipped."""


def open_proxy(folder: str) -> Proxy:
    """The proxy of the recipe in a run folder, for a worker."""
    return Proxy(load_recipe(folder))


def task_recipe(recipe: Recipe, task: ProxyTask) -> Recipe:
    """A proxy task as a recipe of fine-tuning."""
    train = TrainSection(
        steps=task.steps,
        batch=task.batch,
        seed=recipe.train.seed,
        optimizer=OptimizerSection(learning_rate=task.learning_rate),
        schedule=ScheduleSection(warmup_ratio=0.1),
    )
    impl = recipe.impl.model_copy(update={"micro_batch": None})
    return Recipe(kind="finetune", name=recipe.name, data=task, train=train, impl=impl)


def open_task(recipe: Recipe, task: ProxyTask) -> tuple[TaskData, Split]:
    """What a proxy task is learned on and judged by.

    Raises:
        UserError: see `ms_plm.training.finetuning.open_task`; or it has no dev set.
    """
    data = TaskData.open(task_recipe(recipe, task))
    dev = next((split for name, split in data.splits.items() if name.startswith("dev")), None)
    if dev is None:
        raise UserError(f"method.tasks: {data.task.name} has no dev set to judge a map by; name one (own.dev).")
    if task.dev_rows and task.dev_rows < len(dev.examples):
        chosen = np.sort(np.random.default_rng(recipe.train.seed).permutation(len(dev.examples))[: task.dev_rows])
        dev = replace(dev, examples=[dev.examples[number] for number in chosen])
    return data, dev


def open_text(recipe: Recipe) -> PretrainingData:
    """The text of the recipe; raw text is prepared first."""
    parent = place(recipe.model.from_) if recipe.model.from_ else None
    return open_data(recipe.data, EvaluateSection(), recipe.train.seed, processes=1, model_folder=parent)


class Proxy:
    """Answers `{"gene": [..], "seed": ..}` with `figures` by task and `seconds`, `{"skipped": true}` with the losses
    of `skipped_losses`.

    Args:
        recipe: of kind `search_layer_map`.

    Raises:
        UserError: teacher, student, text and tasks do not fit each other.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        device = open_device(recipe.impl)
        policy = policy_for(recipe.impl.precision, device.name, device.chip)
        context = Context(recipe, device, policy, Parallel(recipe.impl.parallel, device.name))
        pair = open_pair(context, "encoder", compared=AnyMap)
        self.student, self.teacher, self.data = pair.student, pair.teacher, open_text(recipe)
        check_same_vocabulary(f"method.teacher.from {recipe.method.teacher.from_}", pair.tokenizer, self.data.tokenizer)
        self.loss = MapLoss(pair.objective, pair.student, pair.teacher)
        self.step = build_step(recipe, self.loss, pair.student, policy)
        self.start = Start([*pair.student.get_parameters(), *self.step.state().values()])
        self.tasks = [_Task(context, task, pair.student.config, pair.tokenizer) for task in recipe.method.tasks]

    def __call__(self, job: Mapping[str, Any]) -> Any:
        if job.get("skipped"):
            return skipped_losses(self.teacher, self._inputs())
        begun = time.monotonic()
        encoder = self._distilled(job["gene"], job["seed"])
        figures = {task.name: task.figure(encoder, job["seed"]) for task in self.tasks}
        return {"figures": figures, "seconds": time.monotonic() - begun}

    def _distilled(self, gene: Sequence[int], seed: int) -> dict[str, np.ndarray]:
        """The student's encoder after the distillation, by names within it."""
        model, method = self.recipe.model, self.recipe.method
        self.start.restore()
        if not model.from_ or model.fresh:
            self.student.initialise(seed)
        if method.initial_layers:
            begin_with(self.student, self.teacher, method.initial_layers)
        _train(self.step, self._updates(gene, seed), self.recipe.train)
        return {name: np.array(p.asnumpy()) for name, p in self.student.encoder.parameters_and_names()}

    def _updates(self, gene: Sequence[int], seed: int) -> UpdateLoader:
        layer_map, drawn = np.array(gene, np.int32), rng_maker(self.student)
        train, size = self.recipe.train, micro_batch(self.recipe, 1)
        return UpdateLoader(
            self.data.train,
            self.data.masking,
            seed,
            train.batch,
            size,
            workers=0,
            finish=lambda batch: {**drawn(batch), "layer_map": layer_map},
            weigh=self.loss.weights_of,
        )

    def _inputs(self) -> list[tuple[np.ndarray, ...]]:
        updates = self._updates([0] * self.loss.depth, self.recipe.train.seed).updates(0, _BATCHES)
        names = ("input_ids", "token_type_ids", "attention_mask")
        return [tuple(part[name] for name in names) for update in updates for part in update.micro_batches]


class _Task:
    """One proxy task, over a model of its own."""

    def __init__(self, context: Context, task: ProxyTask, encoder: ModelConfig, tokenizer: Tokenizer) -> None:
        data, dev = open_task(context.recipe, task)
        teacher = context.recipe.method.teacher.from_
        self.recipe = task_recipe(context.recipe, task)
        context = replace(context, recipe=self.recipe)
        kind = data.kind
        tokenizer = own_tokenizer(self.recipe, teacher, tokenizer)
        config = encoder.with_labels(kind.labels or 1) if kind.labelled else encoder
        self.model = Model(config, kind.head, context.kernels())
        check_length(self.model, task.max_length, "the student")
        self.samples = kind.samples(data.train.examples, tokenizer, training=True).rows
        self.lengths = padded_lengths(self.samples.lengths, task.lengths)
        self.loss = kind.loss(self.model)
        self.step = build_step(self.recipe, self.loss, self.model, context.policy)
        self.start = Start([*self.model.get_parameters(), *self.step.state().values()])
        held_out = {"dev": (dev, kind.samples(dev.examples, tokenizer))}
        batch = self.recipe.impl.eval_batch or _EVALUATED
        self.evaluator = TaskEvaluator(self.model, kind, held_out, self.lengths, batch)
        self.name = f"{task.task or task.own.train} {data.task.metrics[0]}"

    def figure(self, encoder: Mapping[str, np.ndarray], seed: int) -> float:
        """The first figure of the task after a fine-tuning that begins with this encoder and new heads."""
        self.start.restore()
        self.model.initialise(seed)
        for name, parameter in self.model.encoder.parameters_and_names():
            parameter.set_data(Tensor(encoder[name]))
        train = self.recipe.train
        loader = BucketedLoader(
            self.samples,
            seed,
            self.lengths,
            self.loss.weights_of,
            train.batch,
            train.batch,
            workers=0,
            finish=rng_maker(self.model),
        )
        _train(self.step, loader, train)
        return self.evaluator.figures()["metric"]


class Start:
    """Values of parameters, to be put back.

    In place: a graph that has run keeps the memory of parameters that it reads only inside a branch, as an optimizer's
    moments, and no longer sees what `set_data` gives them (MindSpore 2.10, CPU).
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.parameters = list(parameters)
        self.values = [_kept(parameter.asnumpy()) for parameter in self.parameters]

    def restore(self) -> None:
        """Give every parameter the value that it had."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            ops.assign(parameter, Tensor(np.array(value)))  # a copy: updates are made in place


def _kept(value: np.ndarray) -> np.ndarray:
    """A copy; of zeros, such as moments, one that takes no memory."""
    return value.copy() if value.any() else np.broadcast_to(np.zeros((), value.dtype), value.shape)


def _train(step: TrainingStep, loader: Updates, train: TrainSection) -> None:
    rate = build_schedule(train.schedule, train.optimizer.learning_rate, train.steps)
    for update in loader.updates(0, train.steps):
        step(rate(update.index), [update.weights[name] for name in step.loss.terms], update.micro_batches)


class _Last(nn.Cell):
    """Hidden states `[B, S, H]` of a model's last layer."""

    def __init__(self, model: Model) -> None:
        super().__init__(auto_prefix=False)
        self.encoder = model.encoder

    def construct(self, input_ids, token_type_ids, attention_mask):
        return self.encoder(input_ids, token_type_ids, attention_mask)[0]


def skipped_losses(teacher: Model, batches: Sequence[tuple[np.ndarray, ...]]) -> list[float]:
    """How far the last hidden states move when one layer is skipped: `[N]` mean squared differences over real tokens.

    Our measure of what a layer contributes. It needs no head, which a teacher of general distillation may lack; the
    whole teacher has the loss 0.

    Args:
        teacher: of N > 1 layers of one size.
        batches: `input_ids`, `token_type_ids`, `attention_mask` int32 `[B, S]`.
    """
    count = teacher.config.num_hidden_layers
    shorter = ModelConfig(**{**teacher.config.model_dump(), "num_hidden_layers": count - 1})
    model = Model(shorter, "encoder", teacher.kernels, pooler=False)
    expected = _states(_Last(teacher), batches)
    graph, losses = _Last(model), []
    for skipped in range(1, count + 1):
        begin_with(model, teacher, [layer for layer in range(1, count + 1) if layer != skipped])
        found = _states(graph, batches)
        losses.append(float(np.square(found - expected).mean()))
    return losses


def _states(graph: _Last, batches: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Last hidden states of all real tokens: fp32 `[tokens, H]`."""
    found = []
    for batch in batches:
        states = graph(*(Tensor.from_numpy(np.ascontiguousarray(array)) for array in batch)).asnumpy()
        found.append(states[batch[2] > 0].astype(np.float32))
    return np.concatenate(found)
