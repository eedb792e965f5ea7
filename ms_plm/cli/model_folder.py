"""What verbs that take a model share: finding its folder, opening a device, building the model."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json

if TYPE_CHECKING:
    from ms_plm.config.finetuning import TextLimits
    from ms_plm.models.model import Model
    from ms_plm.tokenization import Tokenizer


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument("--device", choices=("auto", "cpu", "gpu", "ascend"), default="auto")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Warnings only: which kernels and tensors are used is of interest in training, not in a short answer."""
    loggers = [logging.getLogger(f"ms_plm.{room}") for room in ("kernels", "models", "training")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def find_model_folder(name: str) -> Path:
    """The model folder that is meant: the folder itself, or `model/` of a run folder.

    Raises:
        UserError: there is none; a run without a result is told from other folders.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        raise UserError(f"{name}: no such model folder.")
    if (path / "config.json").is_file():
        return path
    if (path / "model" / "config.json").is_file():
        return path / "model"
    if (path / "recipe.yaml").is_file():
        raise UserError(
            f"{name}: this run has no result yet (no model/). Continue it with `ms-plm run {name} --resume`, or name "
            f"one of its checkpoints, {name}/checkpoints/step-..."
        )
    raise UserError(f"{name}: not a model folder (no config.json).")


def recipe_of(model: Path) -> Path | None:
    """recipe.yaml of the run that a model folder or checkpoint stands in."""
    inside = {"model": model.parent, "checkpoints": model.parent.parent}
    run = inside.get(model.name) or inside.get(model.parent.name)
    return run / "recipe.yaml" if run and (run / "recipe.yaml").is_file() else None


def head_of(folder: Path) -> str | None:
    """The head for a task that a model folder says it has; None for those of pretraining."""
    from ms_plm.models.names import task_head

    return task_head(read_json(folder / "config.json").get("architectures") or ())


def trained_limits(model: Model, length: int | None = None) -> TextLimits:
    """The lengths that a fine-tuned model was trained with, as its folder says; else the usual ones of its head.

    Args:
        model: says it.
        length: another `max_length`.

    Raises:
        UserError: it is longer than the model's positions.
    """
    from ms_plm.config.finetuning import TextLimits

    said = (model.config.provenance or {}).get("limits")
    usual = {"max_length": 384} if model.head == "question_answering" else {}
    if length and model.limit and length > model.limit:
        raise UserError(
            f"--length {length} is more than the {model.limit} absolute positions of this model; shorten it."
        )
    limits = TextLimits(**{**(said or usual), **({"max_length": length} if length else {})})
    longest = min(limits.max_length, model.limit or limits.max_length)
    return limits.model_copy(update={"max_length": longest})


def trained_threshold(model: Model) -> float | None:
    """How far "no answer" must be ahead to be given, as it was best on the dev set; None where it is never given."""
    from ms_plm.tasks.questions import THRESHOLD

    return ((model.config.provenance or {}).get("figures") or {}).get(THRESHOLD)


def open_model(
    folder: Path, device: str, head: str | None = None, wants: frozenset[str] = frozenset(), much: bool = False
) -> tuple[Model, Tokenizer]:
    """Open a device and load a model for evaluation.

    Args:
        folder: model folder.
        device: as `--device`.
        head: None: `pretraining` where the folder has a next-sentence head, else `masked_lm`.
        wants: see `ms_plm.kernels.Call`.
        much: much will be computed: take the kernels of training, which need far less time and memory on a CPU, but
            are compiled when they are used for the first time.

    Raises:
        UserError: there is no masked-LM head where one is needed; otherwise see `ms_plm.models.folder.load` and
            `ms_plm.training.hardware.open_device`.
    """
    from ms_plm.config.recipe import ImplSection
    from ms_plm.kernels import Call, Kernels
    from ms_plm.models.folder import open_folder
    from ms_plm.training.hardware import open_device

    with quiet():
        call = Call(open_device(ImplSection(device=device)).name, training=much, wants=wants)
        opened = open_folder(folder)
        if head is None:
            head = "pretraining" if opened.has("next_sentence") and opened.has("pooler") else "masked_lm"
        if head == "masked_lm" and opened.lacks(head):
            said = f" (config.json says {', '.join(opened.architectures)})" if opened.architectures else ""
            raise UserError(
                f"{folder}: has no masked_lm head{said}, which proposes words. Continue pretraining, which trains one: "
                f"ms-plm run bert_small_masked_lm model.from={folder} data.corpus=PREPARED (or another recipe of kind "
                "pretrain, with data.nsp=false); or name the pretrained model that this one was made of."
            )
        return opened.build(head, kernels=Kernels(call)), opened.tokenizer
