"""From an elastic model to the folder of one of its sub-networks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ms_plm.elastic.parts import extracted
from ms_plm.elastic.subnetworks import SubNetwork
from ms_plm.models.folder import ModelFolder, check_new_folder, open_folder, save
from ms_plm.models.names import task_head
from ms_plm.tasks.questions import THRESHOLD
from ms_plm.training.throughput import encoder_parameters

log = logging.getLogger(__name__)
FACT = "elastic"
"""What config.json's provenance says of an elastic model: its widths and depths."""
KEPT = ("task", "limits", "recipe", "seed")
"""Of the whole model's provenance: what holds for its parts."""


def head_of(opened: ModelFolder) -> str:
    """The richest head that a folder has: that of a task, those of pretraining, or none."""
    task = task_head(opened.architectures)
    if task:
        return task
    if opened.has("masked_lm"):
        return "pretraining" if opened.has("next_sentence") and opened.has("pooler") else "masked_lm"
    return "encoder"


def check_target(folder: Path, target: Path, overwrite: bool) -> None:
    """Whether a part of `folder` may be written to `target`.

    Raises:
        UserError: see `check_new_folder`.
    """
    check_new_folder(target, {"the elastic model": folder}, overwrite)


def extract(
    folder: str | Path,
    target: str | Path,
    part: SubNetwork,
    overwrite: bool = False,
    figures: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write a sub-network as a model folder of its own, which loads, trains, distils and exports as any other.

    Args:
        folder: of the elastic model.
        target: the new folder.
        part: what is taken.
        overwrite: replace a folder that is there.
        figures: of the part on the dev set, to be recorded; of one that was not measured the whole model's threshold
            for "no answer" is recorded, where it has one.

    Returns:
        `parameters` of encoder and pooler, and `share`, how much of the whole model's that is.

    Raises:
        UserError: see `check_target`.
    """
    folder, target = Path(folder), Path(target)
    check_target(folder, target, overwrite)
    opened = open_folder(folder)
    known = opened.config.provenance or {}
    _warn_untrained(part, known.get(FACT), folder)
    model = opened.build(head_of(opened))
    made = extracted(model, part)
    facts = {key: known[key] for key in KEPT if key in known}
    threshold = (known.get("figures") or {}).get(THRESHOLD)
    if figures is None and threshold is not None:
        figures = {THRESHOLD: threshold}
        log.warning("%s: keeps the whole model's threshold for no answer; its own may be another one", target)
    facts |= {"figures": dict(figures)} if figures else {}
    shape = {key: value for key, value in asdict(part).items() if value is not None and key != "name"}
    save(target, made, opened.tokenizer, {**facts, "parent": str(folder), "subnetwork": shape})
    count, whole = encoder_parameters(made.config), encoder_parameters(opened.config)
    return {"parameters": count, "share": count / whole}


def _warn_untrained(part: SubNetwork, trained: Any, folder: Path) -> None:
    """A part that the model never worked as is not worth much without training."""
    if part.width is None or (part.width, part.depth) == (1.0, 1.0):
        return
    if not trained:
        log.warning(
            "%s: does not say that it was trained to work in parts (provenance.elastic of its config.json, which "
            "recipes of kind elastic write); if it was not, what is taken needs training",
            folder,
        )
    elif not (among(part.width, trained.get("widths", ())) and among(part.depth, trained.get("depths", ()))):
        log.warning(
            "%s: was trained at widths %s and depths %s; %s is none of these and may be worse than its neighbours",
            folder,
            ", ".join(f"{value:g}" for value in trained.get("widths", ())),
            ", ".join(f"{value:g}" for value in trained.get("depths", ())),
            part.name,
        )


def among(share: float, known: Iterable[float]) -> bool:
    """Whether a share is one of these, up to how many digits it is written with."""
    return any(math.isclose(share, one, abs_tol=1e-3) for one in known)
