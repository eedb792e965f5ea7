"""One run on its device: what every kind of training shares around its data, loss and figures.

A kind (`ms_plm.training.pretraining`, `finetuning`) opens a `Job`; the session restores, trains, writes checkpoints and
the resulting model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn

import ms_plm
from ms_plm.common.errors import UserError
from ms_plm.config.precision import PrecisionPolicy, policy_for
from ms_plm.config.recipe import Recipe
from ms_plm.data.updates import Updates
from ms_plm.kernels import Kernels
from ms_plm.models.folder import assign_weights, read_weights, save
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer
from ms_plm.training.assembly import build_kernels, build_step, trained
from ms_plm.training.checkpoint import CheckpointStore
from ms_plm.training.forward import LossInParts
from ms_plm.training.hardware import Device, open_device
from ms_plm.training.log import METRICS, RunLog
from ms_plm.training.loop import Outcome, Progress, TrainingLoop
from ms_plm.training.parallel import Parallel
from ms_plm.training.schedule import build_schedule
from ms_plm.training.sharding import Sharding
from ms_plm.training.step import TrainingStep

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What one kind of training brings.

    Attributes:
        model: with the head that the loss needs.
        tokenizer: the model's.
        loss: see `TrainingStep`.
        loader: updates of this process.
        total: number of updates of the whole run.
        fingerprint: of the data; a run is resumed with the same only.
        evaluate: figures on held-out data, or None.
        evaluate_every: updates.
        patience: see `TrainingLoop`.
        flops_per_token: of forward and backward.
        data: a line about the data, for the log.
        keep_best: the result is the best checkpoint's model, not the last one's.
        facts: more to be recorded with checkpoints and in config.json.
        titles: of figures, for the report.
        show: draws what the result does into the run folder, given its figures; called once the model holds the
            result's weights, by the first process alone.
    """

    model: Model
    tokenizer: Tokenizer
    loss: nn.Cell | LossInParts
    loader: Updates
    total: int
    fingerprint: str
    evaluate: Callable[[], dict[str, float]] | None
    evaluate_every: int
    flops_per_token: float
    data: str
    patience: int | None = None
    keep_best: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    show: Callable[[Path, dict[str, float]], None] | None = None


@dataclass(frozen=True)
class Context:
    """Where a run runs, for those who open its job."""

    recipe: Recipe
    device: Device
    policy: PrecisionPolicy
    parallel: Parallel

    def kernels(self, precision: str | None = None, **more: Any) -> Kernels:
        """The implementations that training takes here.

        Args:
            precision: another one than the recipe's.
            more: what else is known, see `ms_plm.kernels.Call`.
        """
        policy = policy_for(precision, self.device.name, self.device.chip) if precision else self.policy
        return build_kernels(self.recipe, self.device, policy, self.parallel.rank, self.parallel.ranks, **more)

    def first_then_all(self, act: Callable[[], Any]) -> Any:
        """Let the first process do something whose results the others find on disk, then the others."""
        if self.parallel.main:
            done = act()
            self.parallel.barrier()
            return done
        self.parallel.barrier()
        return act()


@dataclass(frozen=True)
class TrainingResult:
    """What a run gave.

    Attributes:
        outcome: how the loop ended.
        progress: counters and evaluations.
        model_folder: the trained model, or None where the run was cut.
        device: what it ran on.
        main: this is the process that writes and speaks.
        titles: of figures, for the report.
        updates_per_epoch: for axes of pictures.
    """

    outcome: Outcome
    progress: Progress
    model_folder: Path | None
    device: Device
    main: bool
    titles: dict[str, str]
    updates_per_epoch: float


def carry_out(
    recipe: Recipe, folder: Path, resume: bool, started: Callable[[], None], open_job: Callable[[Context], Job]
) -> TrainingResult:
    """Carry out a recipe in an existing run folder.

    Args:
        recipe: checked.
        folder: of the run.
        resume: from its newest checkpoint.
        started: called when everything is open and the first update is due.
        open_job: opens what the recipe's kind needs.

    Raises:
        UserError: the recipe does not fit the data, the model, the device or a checkpoint.
    """
    device = open_device(recipe.impl)
    policy = policy_for(recipe.impl.precision, device.name, device.chip)
    parallel = Parallel(recipe.impl.parallel, device.name)
    try:
        context = Context(recipe, device, policy, parallel)
        job = open_job(context)
        session = Session(context, folder, job)
        outcome, progress = session.train(resume, started)
        model_folder = None
        if outcome.finished and parallel.main:
            parallel.phase("save")
            model_folder, figures = session.save_result(progress)
            if job.show is not None:
                job.show(folder, figures)
        parallel.barrier()
    except BaseException:
        parallel.close(failed=True)
        raise
    parallel.close()
    return TrainingResult(
        outcome, progress, model_folder, device, parallel.main, job.titles, job.loader.updates_per_epoch
    )


class Session:
    """The parts of one run."""

    def __init__(self, context: Context, folder: Path, job: Job) -> None:
        self.context, self.folder, self.job = context, folder, job
        self.recipe, self.parallel, self.policy = context.recipe, context.parallel, context.policy
        train = self.recipe.train
        self.rate = build_schedule(train.schedule, train.optimizer.learning_rate, job.total)
        self.store = CheckpointStore(folder / "checkpoints", train.checkpoint.keep)

    def train(self, resume: bool, started: Callable[[], None]) -> tuple[Outcome, Progress]:
        """Build the step, restore if asked, run the loop."""
        recipe, job, step = self.recipe, self.job, self._build_step()
        progress = self._restore(step) if resume else Progress()
        self._announce(progress)
        run_log = RunLog(self.folder, job.total, recipe.log.tensorboard, self.parallel.main, progress.step)

        def save_checkpoint(now: Progress) -> None:
            state = step.collect()
            if not self.parallel.main:
                return
            record = {**asdict(now), **self._facts()}
            provenance = self.provenance(now, now.last_evaluation)
            self.store.save(now.step, job.model, job.tokenizer, state, record, now.best_step, provenance)

        loop = TrainingLoop(
            recipe,
            step,
            job.loader,
            self.rate,
            job.total,
            self.parallel,
            run_log,
            save_checkpoint,
            job.evaluate,
            job.evaluate_every,
            job.patience,
            self._utilisation(),
        )
        started()
        try:
            with self.parallel.blaming_peers():
                return loop.run(progress), progress
        finally:
            run_log.close()

    def save_result(self, progress: Progress) -> tuple[Path, dict[str, float]]:
        """Write the model that the run gives; its folder and its figures, none without an evaluation."""
        job, target = self.job, self.folder / "model"
        steps, figures = progress.step, progress.last_evaluation
        if job.keep_best and progress.best_step not in (None, progress.step):
            assign_weights(job.model, read_weights(self.store.place(progress.best_step)))
            steps, figures = progress.best_step, progress.best_figures
            log.info("the model of step %d is the result: it was the best one", progress.best_step)
        save(target, job.model, job.tokenizer, self.provenance(progress, figures) | {"steps": steps})
        return target, figures or {}

    def _build_step(self) -> TrainingStep:
        job = self.job
        sharding = self._sharding(trained(job.model))
        return build_step(self.recipe, job.loss, job.model, self.policy, self.parallel.ranks, sharding)

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
            level = logging.WARNING if (self.folder / METRICS).exists() else logging.INFO  # else it was only planned
            log.log(level, "%s: no checkpoint to resume from; starting at step 0", self.store.folder)
            return Progress()
        facts = self._facts()
        for key in ("data_fingerprint", "seed"):
            if checkpoint.record[key] != facts[key]:
                raise UserError(
                    f"{checkpoint.folder}: {key} is {checkpoint.record[key]}, this run's is {facts[key]}: the data or "
                    "the seed has changed. Resume with what the run was started with, or start anew with --overwrite."
                )
        scale = {name: p.asnumpy() for name, p in step.state().items() if name in step.scale_state}
        checkpoint.restore(self.job.model, step.state())
        if checkpoint.record["precision"] != self.policy.precision:  # its loss scale means nothing here
            for name, value in scale.items():
                step.state()[name].set_data(Tensor(value))
        log.info("resumed from %s (step %d)", checkpoint.folder, checkpoint.step)
        fields = Progress.__dataclass_fields__
        return Progress(**{key: value for key, value in checkpoint.record.items() if key in fields})

    def _facts(self) -> dict[str, Any]:
        import mindspore

        return {
            "data_fingerprint": self.job.fingerprint,
            "seed": self.recipe.train.seed,
            "total": self.job.total,
            "precision": self.policy.precision,
            "recipe": self.recipe.name,
            **self.job.facts,
            "versions": {"ms_plm": ms_plm.__version__, "mindspore": mindspore.__version__, "numpy": np.__version__},
        }

    def provenance(self, progress: Progress, figures: dict[str, float] | None = None) -> dict[str, Any]:
        """What config.json says of where the weights come from, and how good they were on held-out data."""
        facts = {**self._facts(), "steps": progress.step, "tokens": progress.tokens}
        if self.recipe.model.from_:
            facts["parent"] = self.recipe.model.from_
        return facts | ({"figures": figures} if figures else {})

    def _utilisation(self) -> Callable[[float], float] | None:
        peak = self.context.device.peak_flops.get(self.policy.compute)
        if not peak:
            return None
        return lambda tokens: tokens * self.job.flops_per_token / (peak * self.parallel.ranks)

    def _announce(self, progress: Progress) -> None:
        """What will run, before it does."""
        if not self.parallel.main:
            return
        recipe, job, loader, config = self.recipe, self.job, self.job.loader, self.job.model.config
        parameters = sum(int(np.prod(p.shape)) for p in job.model.get_parameters())
        log.info(
            "model: %s, %d layers x %d, %s positions, %.2f M parameters, %s",
            config.model_type,
            config.num_hidden_layers,
            config.hidden_size,
            config.position_embedding_type,
            parameters / 1e6,
            self.policy.precision,
        )
        log.info("data: %s", job.data)
        log.info(
            "training: step %d to %d, %d sequences an update (%d process%s x %d forward x %d), %.2f epochs",
            progress.step,
            job.total,
            recipe.train.batch,
            self.parallel.ranks,
            "es" if self.parallel.ranks > 1 else "",
            recipe.train.batch // (self.parallel.ranks * loader.micro_batch),
            loader.micro_batch,
            job.total / loader.updates_per_epoch,
        )
