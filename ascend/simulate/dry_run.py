"""A recipe's training step compiled for an Ascend chip here: planned memory, chosen kernels, size of the graph."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ms_plm.common.errors import UsageError, UserError
from ms_plm.config.chips import Chip, chip_named
from ms_plm.config.loading import save_resolved
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.data.corpus import Corpus
from ms_plm.data.sources import open_tokenizer
from ms_plm_ascend.simulate.reading import FLASH, PRODUCTS, Graph, read_log
from ms_plm_ascend.simulate.stubs import build

log = logging.getLogger(__name__)

VOCABULARY = 21128
"""Entries of the published Chinese vocabulary: taken where a recipe's own cannot be opened here."""
GIGABYTE = 1e9
RESERVED = 0.06
"""Share of a device's memory that MindSpore leaves to the runtime (61,430 of 65,536 MB in its own log)."""
HANGS = 3600
"""Seconds after which a compilation is given up: a loop that waits for a value other than 0 never ends."""
NOT_TOLD = (
    "Not told: values (nothing is computed), speed, memory that kernels take for themselves while they run, and "
    "whether a kernel accepts its arguments on a device."
)


@dataclass(frozen=True)
class DryRun:
    """What compiling gave.

    Attributes:
        recipe, chip, devices: what for.
        vocabulary: where its size comes from.
        found: what the worker told.
        graph: the kernels.
    """

    recipe: Recipe
    chip: Chip
    devices: int
    vocabulary: str
    found: dict
    graph: Graph

    @property
    def peak(self) -> float:
        """Planned peak memory of a device, GB: with the gaps between blocks where MindSpore told them."""
        return self.graph.with_fragments * 2**20 / GIGABYTE if self.graph.with_fragments else self.allocated

    @property
    def allocated(self) -> float:
        """Peak of what is allocated at a time, GB."""
        return self.found["peak"] / GIGABYTE

    @property
    def state(self) -> float:
        """Parameters, moments, sums of gradients: GB that do not depend on the batch."""
        return self.found["state"] / GIGABYTE

    @property
    def room(self) -> float:
        """What a device of this chip has for training, GB."""
        return self.chip.memory * (1 - RESERVED) * 2**30 / GIGABYTE

    @property
    def fits(self) -> bool:
        """Whether the plan fits the device."""
        return self.peak <= self.room

    def as_dict(self) -> dict:
        """For JSON."""
        return {
            "recipe": self.recipe.name,
            "chip": self.chip.name,
            "devices": self.devices,
            "recompute": self.recipe.impl.recompute,
            "peak_gb": self.peak,
            "allocated_gb": self.allocated,
            "state_gb": self.state,
            "fits": self.fits,
            **{key: value for key, value in self.found.items() if key not in ("peak", "state")},
            **self.graph.as_dict(),
        }

    def describe(self) -> str:
        """For people."""
        found, graph, recipe = self.found, self.graph, self.recipe
        fused = graph.kinds.get("fused", {})
        lines = [
            f"Dry run of {recipe.name} for Ascend {self.chip.name}: compiled in {found['seconds']:.0f} s, "
            "nothing was trained.",
            f"  devices          {self.assumption()}",
            f"  model            {found['parameters'] / 1e6:.1f} M parameters; vocabulary of {found['vocabulary']} "
            f"({self.vocabulary})",
            f"  a forward        {found['micro_batch']} sequences of {found['length']} tokens; "
            f"{found['micro_batches']} an update",
            f"  precision        {found['policy']}",
            f"  planned memory   {self.peak:.1f} GB at the peak ({self.allocated:.1f} GB without gaps between blocks), "
            f"{self.state:.1f} GB of it parameters and optimizer state",
            f"  device memory    {self.room:.1f} GB for training: {'fits' if self.fits else self.remedy()}",
            f"  graph            {graph.size} kernels: "
            + ", ".join(f"{kernels.total()} {kind}" for kind, kernels in sorted(graph.kinds.items())),
            f"                   {graph.count(*PRODUCTS)} matrix products, {graph.count(*FLASH)} flash attention, "
            f"{graph.casts} casts ({graph.fused_casts} more inside {sum(fused.values())} fused groups), "
            f"{graph.count('AllReduce')} AllReduce",
            *([f"  types            {found['types']}"] if "types" in found else []),
            *(f"                   NOT THE POLICY'S: {finding}" for finding in found.get("wrong_types", ())),
            *(f"  note             {note}" for note in found["notes"]),
            "  kernels chosen",
        ]
        lines += [
            f"    {operation:<24} {name} ({reason.split('; passed over')[0]})"
            for operation, name, reason in found["chosen"]
        ]
        return "\n".join([*lines, NOT_TOLD])

    def assumption(self) -> str:
        """How many devices the plan takes for granted."""
        if self.devices == 1:
            return (
                "1 that trains alone: it takes all of train.batch, sends no gradients and holds all of the optimizer's "
                f"state. For one of 8: --dry-run-ascend {self.chip.name}:8"
            )
        held = "its share" if self.recipe.impl.parallel.shard_optimizer else "all"
        return f"{self.devices} that train together; this one holds {held} of the optimizer's state"

    def remedy(self) -> str:
        """What to do about a plan that does not fit."""
        smaller = "a smaller impl.micro_batch"
        ways = [smaller] if self.recipe.impl.recompute else [smaller, "impl.recompute=true"]
        return f"DOES NOT FIT: take {' or '.join(ways)}"


def dry_run(recipe: Recipe, chip: str = "910B2", devices: int = 1, graphs: Path | None = None) -> DryRun:
    """Compile a recipe's training step for a chip, in a process of its own.

    Args:
        recipe: of a kind that trains. The data of pretraining need not be there; other kinds open data and models.
        chip: as `ms-plm doctor --soc` takes it.
        devices: how many train together; the step is that of the first.
        graphs: a folder for the graphs as they would be executed, in MindSpore's IR; see `roofline.graph.read_step`.

    Raises:
        UserError: the recipe's kind or kernels cannot be compiled for the chip, the step does not divide over the
            devices, or this machine lacks what compiling needs.
    """
    if recipe.kind == "search_layer_map":
        raise UserError(f"a dry run compiles a training step; {recipe.name} (kind {recipe.kind}) makes many trainings.")
    target = chip_named(chip)
    recipe = recipe.model_copy(update={"impl": recipe.impl.model_copy(update={"device": "ascend"})})
    _check_division(recipe, devices)
    (size, source), stubs = vocabulary_of(recipe), build()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_resolved(recipe, folder / "recipe.yaml")
        arguments = [str(folder / "recipe.yaml"), str(size), str(devices), str(folder / "result.json")]
        environment = {**os.environ, **stubs.environment(target, devices)}
        environment |= {"GLOG_v": "1", "MS_SUBMODULE_LOG_v": "{DEVICE:1}", "PYTHONUNBUFFERED": "1"}
        if graphs is not None:  # the last pass alone: all of them fill a gigabyte with one small layer
            environment |= {"MS_DEV_SAVE_GRAPHS": "2", "MS_DEV_DUMP_IR_PASSES": "graph_build"}
            environment["MS_DEV_SAVE_GRAPHS_PATH"] = str(graphs)
        _compile([sys.executable, "-m", "ms_plm_ascend.simulate.worker", *arguments], environment, folder)
        found = json.loads((folder / "result.json").read_text())
        if "error" in found:
            raise UserError(found["error"])
        with (folder / "log").open(errors="replace") as lines:
            return DryRun(recipe, target, devices, source, found, read_log(lines))


def for_command_line(recipe: Recipe, target: str) -> str:
    """What `ms-plm run RECIPE --dry-run-ascend` prints; found by the entry point `ms_plm.dry_runs`.

    Args:
        target: chip, or `CHIP:DEVICES` for the step of one of so many devices.
    """
    chip, colon, count = target.partition(":")
    if colon and not (count.isdecimal() and int(count)):
        raise UsageError(
            f"--dry-run-ascend {target}: expected a chip, and behind a colon how many devices train together, such as "
            f"910B3:8; found {count!r}."
        )
    devices = int(count or 1)
    group = f", as one of {devices}" if devices > 1 else ""
    log.info("compiling for Ascend %s%s; a large model takes minutes", chip_named(chip).name, group)
    return dry_run(recipe, chip, devices).describe()


def vocabulary_of(recipe: Recipe) -> tuple[int, str]:
    """Size of a recipe's vocabulary, and where it was found; of what it trains on a task, the models know it."""
    if recipe.kind != "pretrain":
        return 0, "the model's"
    parent = place(recipe.model.from_) if recipe.model.from_ else None
    if recipe.model.vocab_size:
        return recipe.model.vocab_size, "model.vocab_size"
    if tokenizer := open_tokenizer(recipe.data, parent):
        return tokenizer.vocab_size, recipe.data.tokenizer or recipe.model.from_
    if recipe.data.corpus and place(recipe.data.corpus).is_dir():
        return Corpus.open(place(recipe.data.corpus)).tokenizer().vocab_size, recipe.data.corpus
    return VOCABULARY, "of the published Chinese models: the recipe's own is not here; see model.vocab_size"


def _check_division(recipe: Recipe, devices: int) -> None:
    if devices < 1:
        raise UserError(f"devices is {devices}; expected how many train together, 1 or more.")
    per_forward = (recipe.impl.micro_batch or max(1, recipe.train.batch // devices)) * devices
    if recipe.train.batch % per_forward:
        raise UserError(
            f"train.batch {recipe.train.batch} does not divide into forwards of {per_forward} sequences "
            f"(impl.micro_batch x {devices} devices). Change one of them."
        )


def _compile(command: list[str], environment: dict[str, str], folder: Path) -> None:
    """Run the worker; its log goes to a file, which is kept if it fails."""
    with (folder / "log").open("w") as output:
        try:
            code = subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=HANGS).returncode
        except subprocess.TimeoutExpired:
            code = f"still running after {HANGS} s"
    if (folder / "result.json").is_file():
        return
    kept = Path(tempfile.gettempdir()) / f"ascend_dry_run_{os.getpid()}.log"
    shutil.copy(folder / "log", kept)
    raise UserError(
        f"MindSpore could not compile this step for Ascend (exit code {code}): {_reason(kept)} Its log is {kept}."
    )


def _reason(path: Path) -> str:
    """The line of a failed compilation's log that says most."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if line.startswith(("RuntimeError", "TypeError", "ValueError", "MemoryError"))]
    errors += [line for line in lines if "[ERROR]" in line and "'te'" not in line]
    return (errors or lines or ["it said nothing."])[0][:500]
