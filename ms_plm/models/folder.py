"""Model folders: `config.json`, tokenizer files and `model.safetensors`, as Hugging Face writes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor
from safetensors import SafetensorError, safe_open

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.common.files import read_json, replacing_folder, write_tensors
from ms_plm.config.model import ModelConfig
from ms_plm.kernels import Kernels
from ms_plm.models.heads import LABELLED, TASK_HEADS, Projection
from ms_plm.models.model import HEADS, Model
from ms_plm.models.names import (
    DECODERS,
    architecture,
    encoder_prefix,
    in_encoder,
    is_redundant,
    modern_name,
    name_table,
    projection_names,
    task_head,
)
from ms_plm.tokenization import Tokenizer

_log = logging.getLogger(__name__)
WEIGHTS = "model.safetensors"


def load(
    folder: str | Path,
    head: str = "encoder",
    *,
    kernels: Kernels | None = None,
    new_head: bool = False,
    seed: int = 0,
    labels: Sequence[str] | int | None = None,
) -> tuple[Model, Tokenizer]:
    """Load a model folder in evaluation mode.

    Args:
        folder: with config.json, tokenizer files and model.safetensors.
        head: what stands on the encoder: see `ms_plm.models.model.HEADS`. For `encoder` the pooler comes along where
            the folder has one.
        kernels: implementations; default: those for evaluation.
        new_head: initialise a head that the folder lacks (training), instead of raising.
        seed: for a new head.
        labels: of a head that classifies: names in the order of their ids, or a number; 1: a regression. Default: the
            folder's. A classifier for other labels is replaced where `new_head` allows it; one whose labels have no
            names takes these.

    Raises:
        UserError: missing files, tensors that are missing, unexpected or of another shape (all are listed), a head
            that the folder lacks or has for other labels, a tokenizer that does not fit.
        DamagedFileError: the weights cannot be read.
    """
    opened = open_folder(folder)
    model = opened.build(head, kernels=kernels, new_head=new_head, seed=seed, labels=labels)
    return model, opened.tokenizer


def open_folder(folder: str | Path) -> ModelFolder:
    """Read a model folder, from which models can be built; errors as for `load`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model folder.")
    config, tokenizer = ModelConfig.load(folder), Tokenizer.load(folder)
    check_vocabulary(config, tokenizer, str(folder))
    classes = tuple(read_json(folder / "config.json").get("architectures") or ())
    weights = read_weights(folder)
    if weights.prefix and (weights.prefix == "roberta.") != (config.model_type == "roberta"):
        raise UserError(
            f"{folder / 'config.json'}: model_type is {config.model_type}, but the tensors are called "
            f"{weights.prefix}...: RoBERTa counts positions otherwise than other families. Set the right model_type."
        )
    return ModelFolder(config, tokenizer, weights, classes)


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder holds; the parts fit each other. `architectures`: Hugging Face's classes, of config.json."""

    config: ModelConfig
    tokenizer: Tokenizer
    weights: Weights
    architectures: tuple[str, ...] = ()

    def has(self, part: str, head: str | None = None) -> bool:
        """Whether all tensors of a part are there: pooler, masked_lm, next_sentence or a head for a task.

        Classifiers have the same tensor names whatever they classify: where config.json names the class, it decides.
        What is called pooler may depend on the `head` that reads it (RoBERTa); default: the encoder's own.
        """
        if part in TASK_HEADS and task_head(self.architectures) not in (None, part):
            return False
        table = _names(self.config, self.weights.prefix, head or part)
        names = [theirs for ours, theirs in table.items() if ours.startswith(f"{part}.")]
        return bool(names) and all(name in self.weights.tensors for name in names)

    def lacks(self, head: str) -> list[str]:
        """Parts that stand on the encoder for this use (see `HEADS`) and are not there."""
        return [part for part in HEADS.get(head, ()) if not self.has(part, head)]

    @property
    def projection(self) -> Projection | None:
        """What takes its hidden states to a teacher's width, where it was distilled with one."""
        for part, first in (("projections", "fit_denses.0.weight"), ("projection", "fit_dense.weight")):
            if self.has(part):
                return Projection(part, len(self.weights.tensors[first]))
        return None

    def build(
        self,
        head: str,
        *,
        kernels: Kernels | None = None,
        new_head: bool = False,
        seed: int = 0,
        labels: Sequence[str] | int | None = None,
        projection: Projection | None = None,
        task: str | None = None,
        fresh: bool = False,
    ) -> Model:
        """A model in evaluation mode; arguments and errors as for `load`.

        With a `projection`, which is new unless the folder has this one. `task`: what the model is for; a head with
        labels that was trained on another one, as the folder says, is treated as one for other labels. `fresh`: take
        the configuration alone, all weights are new and drawn by `seed`.
        """
        config = self._labelled(head, labels)
        absent = self.lacks(head)
        pooler = not (head == "encoder" and "pooler" in absent)
        if fresh:
            _log.info("%s: its configuration and vocabulary only; all weights are new", self.weights.path.parent)
            return Model(config, head, kernels, pooler=pooler, projection=projection).initialise(seed).set_train(False)
        if head == "encoder":
            absent = []
        if absent and not new_head:
            said = f" (config.json says {', '.join(self.architectures)})" if self.architectures else ""
            raise UserError(
                f"{self.weights.path}: has no {' and no '.join(absent)} head{said}, which head={head!r} needs. Load it "
                "with new_head=True to start with fresh weights, or choose a head that the folder has."
            )
        other = None
        if labels is not None and head not in absent:
            other = self._other_labels(head, config) or self._other_task(task)
        if other and not new_head:
            raise UserError(
                f"{self.weights.path}: the {head} head is for {other}, but labels asks for {_said(config)}. Load it "
                "with new_head=True to start with fresh weights for them, or leave labels out."
            )
        if labels is not None and head not in absent and not other:
            _log.info("%s: its %s head for %s is kept", self.weights.path, head, _said(config))
        absent += [head] if other else []
        absent += [projection.part] if projection and projection != self.projection else []
        model = Model(config, head, kernels, pooler=pooler, projection=projection)
        if absent:
            model.initialise(seed, truncated=False)  # 0.88 of the deviation costs a head a point in two epochs of STS-B
            instead = f" for {_said(config)}, in place of one for {other}" if other else ""
            _log.warning("%s: new weights for %s%s", self.weights.path, ", ".join(absent), instead)
        assign_weights(model, self.weights, skip=tuple(f"{part}." for part in absent))
        model.set_train(False)
        return model

    def _labelled(self, head: str, labels: Sequence[str] | int | None) -> ModelConfig:
        """The configuration with the labels that are asked for."""
        config = self.config
        if labels is None:  # Hugging Face gives question answering as many outputs as there are labels
            return config.with_labels(None) if head == "question_answering" and config.num_labels != 2 else config
        if head not in LABELLED:
            raise UserError(f"labels: head={head!r} has none; they are for {' and '.join(LABELLED)}. Leave them out.")
        wanted = config.with_labels(labels)
        same = wanted.num_labels == config.num_labels and wanted.labels in (None, config.labels)
        return config if same else wanted

    def _other_labels(self, head: str, wanted: ModelConfig) -> str | None:
        """What the folder's classifier is for, where that is not what is wanted."""
        outputs = len(self.weights.tensors[_names(self.config, self.weights.prefix, head)[f"{head}.dense.bias"]])
        if outputs == wanted.num_labels and self.config.labels in (None, wanted.labels):
            return None
        return _said(self.config) if outputs == self.config.num_labels else f"{outputs} labels"

    def _other_task(self, task: str | None) -> str | None:
        """What the folder's head was trained on, where that is known and not what is wanted."""
        trained = (self.config.provenance or {}).get("task")
        return None if task is None or trained == task else trained


def _names(config: ModelConfig, prefix: str, head: str) -> dict[str, str]:
    """Our names of everything that a folder may hold, and those on disk."""
    return {**name_table(config, prefix, head), **projection_names(config)}


def _said(config: ModelConfig) -> str:
    """Labels for messages."""
    count = f"{config.num_labels} label{'s' if config.num_labels > 1 else ''}"
    shown = (config.labels or ())[:8]
    return count + (f" ({', '.join(shown)}{', ...' if config.num_labels > len(shown) else ''})" if shown else "")


def check_vocabulary(config: ModelConfig, tokenizer: Tokenizer, where: str) -> None:
    """Raise a UserError where the tokenizer has ids that the model has no embedding for.

    `vocab_size` may be larger: tables are often padded to a multiple of 64 or 128, which suits the device. Rows beyond
    the vocabulary stand for no token.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{where}: the vocabulary has {tokenizer.vocab_size} entries, but vocab_size is {config.vocab_size}. "
            "Use the vocabulary that the model was trained with."
        )


def check_new_folder(target: Path, sources: Mapping[str, Path], overwrite: bool) -> None:
    """Whether a model folder may be written to `target`.

    Args:
        target: the new folder.
        sources: what it is made from, by what that is called in a message.
        overwrite: replace a model folder that is there.

    Raises:
        UserError: a source is or lies in what would be replaced; something else than a model folder is there; a model
            folder is there and not to be replaced.
    """
    for what, path in sources.items():
        places = (path.resolve(), path.parent.resolve() / path.name)  # a link in the target would go with it
        if any(place.is_relative_to(target.resolve()) for place in places):
            raise UserError(f"{target}: is {what} itself, or holds it ({path}); choose another folder.")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / "config.json").is_file():
        raise UserError(f"{target}: what is there is no model folder (no config.json); choose another place.")
    if not overwrite:
        raise UserError(f"{target}: is there already. Choose another folder, or replace it with --overwrite.")


@dataclass(frozen=True)
class Weights:
    """Tensors of a folder under modern Hugging Face names, and the prefix of the encoder's."""

    path: Path
    tensors: dict[str, np.ndarray]
    prefix: str


def read_weights(folder: Path) -> Weights:
    """Read `model.safetensors` as fp32 arrays.

    Raises:
        UserError: there is none.
        DamagedFileError: it cannot be read.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        others = sorted(p.name for p in folder.glob("*.bin")) + sorted(p.name for p in folder.glob("*.ckpt*"))
        hint = f" There is {', '.join(others)}: make a model folder of it with `ms-plm convert`." if others else ""
        raise UserError(f"{path}: no such file.{hint}")
    tensors = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                tensors[modern_name(name)] = file.get_tensor(name).astype(np.float32)
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise DamagedFileError(
            f"{path}: cannot be read as safetensors ({error}). The file is cut or damaged, or has an unknown dtype; "
            "copy it again."
        ) from error
    return Weights(path, tensors, encoder_prefix(tensors))


def assign_weights(model: Model, weights: Weights, skip: tuple[str, ...] = ()) -> None:
    """Copy tensors into a model; encoder tensors must match exactly, heads that the model lacks are named once.

    Args:
        model: receives the values.
        weights: of a folder.
        skip: beginnings of our names that keep their values.
    """
    table = _names(model.config, weights.prefix, model.head)
    parameters = dict(model.parameters_and_names())
    wanted = {table[name]: name for name in parameters if not name.startswith(skip or ("\0",))}
    missing = [name for name in wanted if name not in weights.tensors]
    unexpected, other_heads = [], set()
    for name in weights.tensors:
        if name in wanted or is_redundant(name):
            continue
        if in_encoder(name, weights.prefix):
            unexpected.append(name)
        else:
            other_heads.add(name.rsplit(".", 1)[0])
    shapes = [
        f"{name} is {weights.tensors[name].shape}, expected {parameters[ours].shape}"
        for name, ours in wanted.items()
        if name in weights.tensors and weights.tensors[name].shape != tuple(parameters[ours].shape)
    ]
    if missing or unexpected or shapes:
        raise UserError(_mismatch(weights, model, missing, unexpected, shapes))
    _check_tied(weights)
    if other_heads:
        _log.info("%s: not used: %s", weights.path, ", ".join(sorted(other_heads)))
    for name, ours in wanted.items():
        parameters[ours].set_data(Tensor(weights.tensors[name]))


def _check_tied(weights: Weights) -> None:
    words = weights.tensors.get(weights.prefix + "embeddings.word_embeddings.weight")
    for name in (f"{decoder}.weight" for decoder in DECODERS):
        decoder = weights.tensors.get(name)
        if decoder is not None and words is not None and not np.array_equal(decoder, words):
            raise UserError(
                f"{weights.path}: {name} differs from the word embeddings; only tied weights are supported."
            )


def _mismatch(weights: Weights, model: Model, missing: list, unexpected: list, shapes: list) -> str:
    config = model.config
    parts = [f"{weights.path}: the tensors do not fit config.json (model_type {config.model_type})."]
    for title, names in (("Missing", missing), ("Unexpected", unexpected), ("Of another shape", shapes)):
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            parts.append(f"{title}: {', '.join(names[:8])}{more}.")
    has_positions = any("position_embeddings" in name for name in weights.tensors)
    if config.position_embedding_type == "absolute" and not has_positions:
        parts.append("This is a NEZHA checkpoint: it has no position embeddings. Set model_type: nezha in config.json.")
    elif config.position_embedding_type == "functional_relative" and has_positions:
        parts.append("This is a BERT checkpoint: it has position embeddings. Set model_type: bert in config.json.")
    if any("word_embeddings" in name for name in shapes):
        parts.append("The vocabulary differs from the one that the weights were trained with.")
    if model.head in LABELLED and any(name.startswith("classifier.") for name in shapes):
        parts.append(
            f"The classifier is not one for the {_said(config)} of config.json: write its labels there (id2label), or "
            "load it with new_head=True and labels=... to start with fresh weights."
        )
    return " ".join(parts)


def named_tensors(model: Model) -> dict[str, np.ndarray]:
    """A model's tensors under Hugging Face names, fp32."""
    prefix = "" if model.head == "encoder" else f"{model.config.model_type}."
    table = _names(model.config, prefix, model.head)
    return {table[name]: parameter.asnumpy() for name, parameter in model.parameters_and_names()}


def write_model_files(
    folder: Path, model: Model, tokenizer: Tokenizer, provenance: dict[str, Any] | None = None
) -> None:
    """Write the files of a model folder into an existing (temporary) folder."""
    config = model.config if provenance is None else model.config.model_copy(update={"provenance": provenance})
    config.save(folder, architecture(config, model.head))
    tokenizer.save(folder)
    tensors = {name: np.ascontiguousarray(value) for name, value in named_tensors(model).items()}
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})


def save(folder: str | Path, model: Model, tokenizer: Tokenizer, provenance: dict[str, Any] | None = None) -> None:
    """Write a model folder, replacing what stands there in one step.

    Args:
        folder: where to.
        model: with any head.
        tokenizer: its tokenizer.
        provenance: recorded in config.json (recipe, data, commit, parent model).

    Raises:
        UserError: the disk is full, or the tokenizer does not fit the model.
    """
    check_vocabulary(model.config, tokenizer, str(folder))
    with replacing_folder(folder) as temporary:
        write_model_files(temporary, model, tokenizer, provenance)
