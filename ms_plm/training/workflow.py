"""Recipes of kind `pretrain`: data, model, step and loop put together; evaluation before and after; the result."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor

import ms_plm
from ms_plm.common.errors import UserError
from ms_plm.common.processor import cores
from ms_plm.config.places import place
from ms_plm.config.precision import PrecisionPolicy, policy_for
from ms_plm.config.recipe import Recipe
from ms_plm.data.loader import EvaluationBatches, UpdateLoader
from ms_plm.data.sources import EVALUATION_SEED, PretrainingData, open_data
from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import check_vocabulary, load, save
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingLoss, head_for
from ms_plm.tasks.runner import PretrainingEvaluator
from ms_plm.tokenization import Tokenizer
from ms_plm.training.checkpoint import CheckpointStore
from ms_plm.training.hardware import Device, open_device
from ms_plm.training.log import RunLog
from ms_plm.training.loop import Outcome, Progress, TrainingLoop
from ms_plm.training.parallel import Parallel
from ms_plm.training.schedule import build_schedule
from ms_plm.training.sharding import Sharding
from ms_plm.training.step import StepOptions, TrainingStep, rng_maker
from ms_plm.training.throughput import training_flops

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainingResult:
    """What a run gave.

    Attributes:
        outcome: how the loop ended.
        progress: counters and evaluations.
        model_folder: the trained model, or None where the run was cut.
        device: what it ran on.
        main: this is the process that writes and speaks.
    """

    outcome: Outcome
    progress: Progress
    model_folder: Path | None
    device: Device
    main: bool


def run(recipe: Recipe, folder: Path, resume: bool, started: Callable[[], None]) -> PretrainingResult:
    """Carry out a recipe of kind `pretrain` in an existing run folder.

    Args:
        recipe: checked.
        folder: of the run.
        resume: from its newest checkpoint.
        started: called when everything is open and the first update is due.

    Raises:
        UserError: the recipe does not fit the data, the model, the device or a checkpoint.
    """
    device = open_device(recipe.impl)
    policy = policy_for(recipe.impl.precision, device.name, device.chip)
    if policy.loss_scaling and policy.overflow == "saturates":
        log.warning(
            "fp16 saturates on an Ascend %s: an overflow is not infinite there, and the finite check of an update "
            "cannot see it. Watch the loss, or set impl.precision=fp32.",
            device.chip,
        )
    parallel = Parallel(recipe.impl.parallel, device.name)
    try:
        data = _open_data(recipe, parallel)
        model = _build_model(recipe, data, device, policy, parallel)
        session = _Session(recipe, folder, data, model, device, policy, parallel)
        outcome, progress = session.train(resume, started)
        model_folder = None
        if outcome.finished and parallel.main:
            model_folder = folder / "model"
            parallel.phase("save")
            save(model_folder, model, data.tokenizer, session.provenance(progress))
        parallel.barrier()
    except BaseException:
        parallel.close(failed=True)
        raise
    parallel.close()
    return PretrainingResult(outcome, progress, model_folder, device, parallel.main)


def _open_data(recipe: Recipe, parallel: Parallel) -> PretrainingData:
    """The first process prepares what is missing, the others wait for it."""
    parent = place(recipe.model.from_) if recipe.model.from_ else None

    def opened() -> PretrainingData:
        return open_data(recipe.data, recipe.evaluate, recipe.train.seed, cores(), parent)

    if parallel.main:
        data = opened()
        parallel.barrier()
        return data
    parallel.barrier()
    return opened()


def _build_model(
    recipe: Recipe, data: PretrainingData, device: Device, policy: PrecisionPolicy, parallel: Parallel
) -> Model:
    impl = recipe.impl
    seed = recipe.train.seed * parallel.ranks + parallel.rank  # for the device's own dropout only
    call = Call(
        device.name,
        policy.precision,
        training=True,
        exact_dropout=impl.exact_resume,
        seed=seed,
        chip=device.chip,
    )
    kernels = Kernels(call, impl.kernels)
    if not impl.exact_resume and kernels.choose("dropout")[0].name == "stock":
        log.info("dropout is the device's own (impl.exact_resume: false): a resumed run draws other masks")
    head, tokenizer = head_for(recipe.data.nsp), data.tokenizer
    if recipe.model.from_:
        parent = place(recipe.model.from_)
        model, known = load(parent, head, kernels=kernels, new_head=True, seed=recipe.train.seed)
        _check_same_vocabulary(recipe.model.from_, known, tokenizer)
    else:
        config = recipe.model.build(tokenizer.vocab_size, tokenizer.pad_id)
        check_vocabulary(config, tokenizer, "model.vocab_size")
        model = Model(config, head, kernels).initialise(recipe.train.seed)
    if model.limit is not None and recipe.data.max_length > model.limit:
        raise UserError(
            f"data.max_length {recipe.data.max_length} is more than model.max_position_embeddings {model.limit}; "
            "raise the latter, or use position_embedding_type: functional_relative, which has no limit."
        )
    return model


def _check_same_vocabulary(parent: str, known: Tokenizer, used: Tokenizer) -> None:
    """Ids must mean the same as when the model was trained; equal sizes do not say so."""
    if known.vocabulary != used.vocabulary:
        first = next(
            (i for i, (a, b) in enumerate(zip(known.vocabulary, used.vocabulary, strict=False)) if a != b),
            min(known.vocab_size, used.vocab_size),
        )
        raise UserError(
            f"model.from {parent}: its vocabulary ({known.vocab_size} entries) is not that of the data "
            f"({used.vocab_size} entries); they differ from id {first} on. Prepare the text with the vocabulary in "
            f"{parent}, or train a new model."
        )
    if known.fingerprint != used.fingerprint:
        log.warning("model.from %s: same vocabulary, but text is lower-cased or split otherwise in this data", parent)


class _Session:
    """The parts of one run."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        data: PretrainingData,
        model: Model,
        device: Device,
        policy: PrecisionPolicy,
        parallel: Parallel,
    ) -> None:
        self.recipe, self.folder, self.data, self.model = recipe, folder, data, model
        self.device, self.policy, self.parallel = device, policy, parallel
        train, impl = recipe.train, recipe.impl
        self.total = train.steps or math.ceil(train.epochs * len(data.train) / train.batch)
        self.micro_batch = impl.micro_batch or max(1, train.batch // parallel.ranks)
        self.loader = UpdateLoader(
            data.train,
            data.masking,
            train.seed,
            train.batch,
            self.micro_batch,
            parallel.rank,
            parallel.ranks,
            min(impl.workers, cores()),
            rng_maker(model),
        )
        self.rate = build_schedule(train.schedule, train.optimizer.learning_rate, self.total)
        self.store = CheckpointStore(folder / "checkpoints", train.checkpoint.keep)

    def train(self, resume: bool, started: Callable[[], None]) -> tuple[Outcome, Progress]:
        """Build the step, restore if asked, run the loop."""
        recipe, step = self.recipe, self._build_step()
        progress = self._restore(step) if resume else Progress()
        self._announce(progress)
        run_log = RunLog(self.folder, self.total, recipe.log.tensorboard, self.parallel.main, progress.step)

        def save_checkpoint(now: Progress) -> None:
            state = step.collect()
            if not self.parallel.main:
                return
            record = {**asdict(now), **self._facts()}
            self.store.save(now.step, self.model, self.data.tokenizer, state, record, now.best_step)

        loop = TrainingLoop(
            recipe,
            step,
            self.loader,
            self.rate,
            self.total,
            self.parallel,
            run_log,
            save_checkpoint,
            self._evaluation(),
            self._utilisation(),
        )
        started()
        try:
            with self.parallel.blaming_peers():
                return loop.run(progress), progress
        finally:
            run_log.close()

    def _build_step(self) -> TrainingStep:
        train, impl, ranks = self.recipe.train, self.recipe.impl, self.parallel.ranks
        micro_batches = train.batch // (self.micro_batch * ranks)
        scale = None
        if self.policy.loss_scaling:
            scale = impl.loss_scale or float(2**15 * micro_batches * ranks)
        options = StepOptions(train.clip_norm, scale, impl.loss_scale_window, ranks)
        named = {name: p for name, p in self.model.parameters_and_names() if p.requires_grad}
        loss, sharding = PretrainingLoss(self.model, self.recipe.data.nsp), self._sharding(named)
        return TrainingStep(loss, named, train, self.model.kernels, options, micro_batches > 1, sharding)

    def _sharding(self, named: dict[str, Parameter]) -> Sharding | None:
        if not self.recipe.impl.parallel.shard_optimizer:
            return None
        if self.parallel.ranks == 1:
            log.info("impl.parallel.shard_optimizer: there is one process, which holds all moments")
            return None
        sharding = Sharding({name: parameter.shape for name, parameter in named.items()}, self.parallel)
        log.info("impl.parallel.shard_optimizer: %s", sharding.describe())
        return sharding

    def _restore(self, step: TrainingStep) -> Progress:
        main = self.parallel.main
        checkpoint = self.store.newest() if main else None
        self.parallel.barrier()  # the first process cleans up before the others look
        checkpoint = checkpoint if main else self.store.newest(repair=False)
        steps = [number for (number,) in self.parallel.gather([checkpoint.step if checkpoint else -1])]
        if len(set(steps)) > 1:
            raise UserError(
                f"{self.store.folder}: the processes of this job see different newest checkpoints (steps "
                f"{', '.join(map(str, steps))}; -1: none). The run folder must be on a disk that all machines share."
            )
        if checkpoint is None:
            log.warning("%s: no checkpoint to resume from; starting at step 0", self.store.folder)
            return Progress()
        facts = self._facts()
        for key in ("data_fingerprint", "seed"):
            if checkpoint.record[key] != facts[key]:
                raise UserError(
                    f"{checkpoint.folder}: {key} is {checkpoint.record[key]}, this run's is {facts[key]}: the data or "
                    "the seed has changed. Resume with what the run was started with, or start anew with --overwrite."
                )
        scale = {name: p.asnumpy() for name, p in step.state().items() if name in step.scale_state}
        checkpoint.restore(self.model, step.state())
        if checkpoint.record["precision"] != self.policy.precision:  # its loss scale means nothing here
            for name, value in scale.items():
                step.state()[name].set_data(Tensor(value))
        log.info("resumed from %s (step %d)", checkpoint.folder, checkpoint.step)
        fields = Progress.__dataclass_fields__
        return Progress(**{key: value for key, value in checkpoint.record.items() if key in fields})

    def _facts(self) -> dict[str, Any]:
        import mindspore

        return {
            "data_fingerprint": self.data.fingerprint,
            "seed": self.recipe.train.seed,
            "total": self.total,
            "precision": self.policy.precision,
            "recipe": self.recipe.name,
            "versions": {"ms_plm": ms_plm.__version__, "mindspore": mindspore.__version__, "numpy": np.__version__},
        }

    def provenance(self, progress: Progress) -> dict[str, Any]:
        """What config.json says of where the weights come from."""
        facts = {**self._facts(), "steps": progress.step, "tokens": progress.tokens}
        if self.recipe.model.from_:
            facts["parent"] = self.recipe.model.from_
        return facts

    def _evaluation(self) -> Callable[[], dict[str, float]] | None:
        if self.data.held_out is None:
            log.warning("no held-out documents (data.text.holdout, or `ms-plm prepare --holdout`): no evaluation")
            return None
        impl, parallel = self.recipe.impl, self.parallel
        batches = EvaluationBatches(
            self.data.held_out,
            self.data.masking,
            EVALUATION_SEED,
            impl.eval_batch or self.micro_batch,
            self.recipe.evaluate.samples,
            parallel.rank,
            parallel.ranks,
        )
        evaluator = PretrainingEvaluator(self.model, self.recipe.data.nsp, self.data.tokenizer)
        return lambda: evaluator.evaluate(batches, total=parallel.sum).figures()

    def _utilisation(self) -> Callable[[float], float] | None:
        peak = self.device.peak_flops.get(self.policy.compute)
        if not peak:
            return None
        share = self.data.masking.largest_count(self.recipe.data.max_length) / self.recipe.data.max_length
        flops = training_flops(self.model.config, self.recipe.data.max_length, share)
        return lambda tokens: tokens * flops / (peak * self.parallel.ranks)

    def _announce(self, progress: Progress) -> None:
        """What will run, before it does."""
        if not self.parallel.main:
            return
        recipe, config = self.recipe, self.model.config
        parameters = sum(int(np.prod(p.shape)) for p in self.model.get_parameters())
        samples = len(self.data.train)
        log.info(
            "model: %s, %d layers x %d, %s positions, %.2f M parameters, %s",
            config.model_type,
            config.num_hidden_layers,
            config.hidden_size,
            config.position_embedding_type,
            parameters / 1e6,
            self.policy.precision,
        )
        log.info(
            "data: %d samples of length %d, vocabulary of %d; held out: %s samples",
            samples,
            recipe.data.max_length,
            self.data.tokenizer.vocab_size,
            len(self.data.held_out) if self.data.held_out else "no",
        )
        log.info(
            "training: step %d to %d, %d sequences an update (%d process%s x %d forward x %d), %.2f epochs",
            progress.step,
            self.total,
            recipe.train.batch,
            self.parallel.ranks,
            "es" if self.parallel.ranks > 1 else "",
            recipe.train.batch // (self.parallel.ranks * self.micro_batch),
            self.micro_batch,
            self.total * recipe.train.batch / samples,
        )
