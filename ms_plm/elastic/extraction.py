"""From an elastic model to the folder of one of its sub-networks."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.elastic.parts import extracted
from ms_plm.elastic.subnetworks import SubNetwork
from ms_plm.models.folder import ModelFolder, open_folder, save
from ms_plm.models.names import task_head
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


def extract(folder: str | Path, target: str | Path, part: SubNetwork, overwrite: bool = False) -> dict[str, Any]:
    """Write a sub-network as a model folder of its own, which loads, trains, distils and exports as any other.

    Args:
        folder: of the elastic model.
        target: the new folder.
        part: what is taken.
        overwrite: replace a folder that is there.

    Returns:
        `parameters` of encoder and pooler, and `share`, how much of the whole model's that is.

    Raises:
        UserError: the target is there already, or is the source.
    """
    folder, target = Path(folder), Path(target)
    if target.resolve() == folder.resolve():
        raise UserError(f"{target}: is the elastic model itself; choose another folder.")
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]) and not overwrite:
        raise UserError(f"{target}: is there already. Choose another folder, or --overwrite.")
    opened = open_folder(folder)
    known = opened.config.provenance or {}
    _warn_untrained(part, known.get(FACT), folder)
    model = opened.build(head_of(opened))
    made = extracted(model, part)
    facts = {key: known[key] for key in KEPT if key in known}
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
            "%s: was not trained to work in parts (recipes of kind elastic do that); what is taken needs training",
            folder,
        )
    elif part.width not in trained.get("widths", ()) or part.depth not in trained.get("depths", ()):
        log.warning(
            "%s: was trained at widths %s and depths %s; %s is none of these and may be worse than its neighbours",
            folder,
            ", ".join(f"{value:g}" for value in trained.get("widths", ())),
            ", ".join(f"{value:g}" for value in trained.get("depths", ())),
            part.name,
        )
