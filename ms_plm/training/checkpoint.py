"""Checkpoints of a run: `checkpoints/step-000200/` is a model folder with the trainer's state beside it.

Written under a temporary name, hashed, renamed. The newest is decided by reading trainer.json, never by names; a
damaged one is named and the one before it used. (MindSpore's own `save_checkpoint` deletes the old file first and its
loader does not raise on missing keys: neither is used.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor
from safetensors import safe_open

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.common.files import read_json, replacing_folder, sha256_file, write_json, write_tensors
from ms_plm.models.folder import assign_weights, read_weights, write_model_files
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer

log = logging.getLogger(__name__)
TRAINER, STATE = "trainer.json", "training_state.safetensors"
DAMAGED = "damaged-"
"""Put before the name of a checkpoint that cannot be used, so that it is not counted among those that are kept."""


def _digest(record: Mapping[str, Any]) -> str:
    text = json.dumps({k: v for k, v in record.items() if k != "digest"}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are what they were when it was written.

    Attributes:
        folder: where it is.
        record: content of trainer.json: `step`, `files` (SHA-256 of each), and what the trainer put there.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def step(self) -> int:
        """Number of finished updates."""
        return self.record["step"]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read and verify.

        Raises:
            DamagedFileError: naming the file that is cut, changed or missing.
        """
        path = folder / TRAINER
        if not path.is_file():
            raise DamagedFileError(f"{path}: missing; the checkpoint is not complete.")
        record = read_json(path)
        if not isinstance(record, dict) or record.get("digest") != _digest(record):
            raise DamagedFileError(f"{path}: its content does not fit its digest; the file was changed or cut.")
        for name, expected in record["files"].items():
            file = folder / name
            if not file.is_file():
                raise DamagedFileError(f"{file}: missing.")
            if sha256_file(file) != expected:
                size = file.stat().st_size
                raise DamagedFileError(f"{file}: not what was written ({size} bytes, another SHA-256).")
        return cls(folder, record)

    def restore(self, model: Model, state: Mapping[str, Parameter | None]) -> None:
        """Put weights, moments and counters back.

        Args:
            model: receives the weights.
            state: receives the rest; None stands for what another process holds.

        Raises:
            UserError: they do not fit this model or optimizer.
        """
        assign_weights(model, read_weights(self.folder))
        with safe_open(self.folder / STATE, framework="numpy") as file:
            differing = sorted(set(file.keys()) ^ state.keys())[:5]
            if differing:
                raise UserError(
                    f"{self.folder / STATE}: holds another training state than this recipe needs (for example "
                    f"{', '.join(differing)}). Resume with the recipe that the run was started with."
                )
            for name, parameter in state.items():  # before the first step: a compiled one would keep what it has seen
                if parameter is not None:
                    parameter.set_data(Tensor(file.get_tensor(name).reshape(parameter.shape)))


class CheckpointStore:
    """The checkpoints of a run.

    Args:
        folder: `runs/<name>/checkpoints`.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def place(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.folder / f"step-{step:06d}"

    def save(
        self,
        step: int,
        model: Model,
        tokenizer: Tokenizer,
        state: Mapping[str, np.ndarray],
        record: Mapping[str, Any],
        best: int | None,
        provenance: dict[str, Any] | None = None,
    ) -> Path:
        """Write a checkpoint, then remove those that are neither among the newest nor the best.

        `provenance` goes into its config.json.

        Raises:
            UserError: the disk is full; earlier checkpoints are untouched.
        """
        folder = self.place(step)
        with replacing_folder(folder) as temporary:
            write_model_files(temporary, model, tokenizer, provenance)
            write_tensors(temporary / STATE, {name: np.ascontiguousarray(array) for name, array in state.items()})
            files = {file.name: sha256_file(file) for file in sorted(temporary.iterdir())}
            content = {**record, "step": step, "files": files}
            write_json(temporary / TRAINER, {**content, "digest": _digest(content)})
        for old in self.list()[self.keep :]:
            if old[0] not in (best, step):
                shutil.rmtree(old[1])
        return folder

    def list(self) -> list[tuple[int, Path]]:
        """(step, folder) of everything that has a readable trainer.json, the newest first; not verified."""
        found = []
        for path in self.folder.glob(f"*/{TRAINER}"):
            if path.parent.name.startswith((".", DAMAGED)):
                continue
            try:
                record = read_json(path)
                found.append((int(record["step"]), path.parent))
            except (DamagedFileError, KeyError, TypeError, ValueError):
                found.append((-1, path.parent))
        return sorted(found, reverse=True)

    def newest(self, repair: bool = True) -> Checkpoint | None:
        """The newest undamaged checkpoint; None where there is none.

        Args:
            repair: name damaged ones in the log and move them out of the way, and remove what a killed process was
                still writing (one process of a run does this).

        Raises:
            UserError: there are checkpoints, but every one is damaged.
        """
        if repair:
            self._clean_up()
        damaged: dict[Path, str] = {}
        listed = self.list()
        for folder in set(self.folder.glob("step-*")) - {folder for _, folder in listed}:
            damaged[folder] = f"{folder / TRAINER}: missing; the checkpoint is not complete."
        good: Checkpoint | None = None
        for _, folder in sorted(listed, key=lambda item: item[0] >= 0):  # unreadable ones first, to be named
            try:
                good = Checkpoint.open(folder)
                break
            except DamagedFileError as error:
                damaged[folder] = str(error)
        if damaged and good is None:
            raise UserError(
                f"{self.folder}: every checkpoint is damaged: {' '.join(damaged.values())} Start anew with --overwrite."
            )
        if repair:
            for folder, message in damaged.items():
                log.warning("damaged checkpoint passed over: %s", message)
                shutil.rmtree(folder.with_name(DAMAGED + folder.name), ignore_errors=True)
                folder.rename(folder.with_name(DAMAGED + folder.name))
        return good

    def _clean_up(self) -> None:
        """What a killed process was still writing goes; what it had moved aside comes back."""
        for folder in self.folder.glob(".step-*.old"):
            name = folder.name[1:].split(".")[0]
            if (folder / "replaced").is_dir() and not (self.folder / name).exists():
                (folder / "replaced").rename(self.folder / name)
        for pattern in (".step-*.tmp", ".step-*.old"):
            for folder in self.folder.glob(pattern):
                shutil.rmtree(folder)
