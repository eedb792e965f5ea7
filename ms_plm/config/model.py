"""The model's configuration: `config.json` of a model folder, with Hugging Face's field names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, write_json

PositionEmbedding = Literal["functional_relative", "absolute", "none"]
ExportHead = Literal[
    "encoder",
    "masked_lm",
    "sequence_classification",
    "token_classification",
    "question_answering",
    "multiple_choice",
]
ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]


class ModelConfig(BaseModel):
    """Shape and behaviour of an encoder. Frozen; extras of ours are absent from config.json where they do not apply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_type: Literal["bert", "nezha", "roberta"] = Field("nezha", description="family: names the tensors on disk")
    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(768, gt=0)
    num_hidden_layers: int = Field(12, gt=0)
    num_attention_heads: int = Field(12, gt=0)
    intermediate_size: int = Field(3072, gt=0)
    hidden_act: Literal["gelu", "gelu_new", "relu"] = Field("gelu", description="gelu: erf; gelu_new: tanh")
    hidden_dropout_prob: float = Field(0.1, ge=0, lt=1)
    attention_probs_dropout_prob: float = Field(0.1, ge=0, lt=1)
    type_vocab_size: int = Field(2, gt=0)
    initializer_range: float = Field(0.02, gt=0)
    layer_norm_eps: float = Field(1e-12, gt=0)
    pad_token_id: int = Field(0, ge=0)
    position_embedding_type: PositionEmbedding | None = Field(None, description="default: by family")
    max_position_embeddings: int = Field(
        512, gt=0, description="rows of the absolute table; no limit for relative ones"
    )
    max_relative_position: int = Field(64, gt=0, description="distance beyond which positions look alike")
    is_decoder: bool = False
    head_size: int | None = Field(None, gt=0, description="default: hidden_size / num_attention_heads")
    layer_heads: tuple[int, ...] | None = None
    layer_intermediate: tuple[int, ...] | None = None
    classifier_dropout: float | None = Field(None, ge=0, lt=1, description="of heads; default: hidden_dropout_prob")
    quantization: dict[str, Any] | None = None
    id2label: dict[int, str] | None = Field(None, description="names of the labels; default: two, without names")
    label2id: dict[str, int] | None = Field(None, description="the inverse of id2label, and derived from it")
    problem_type: ProblemType | None = Field(None, description="of sequence classification; default: by the labels")
    provenance: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if values.get("position_embedding_type") is None:
            family = values.get("model_type", "nezha")
            values["position_embedding_type"] = "functional_relative" if family == "nezha" else "absolute"
        if values.get("model_type") == "roberta":  # RobertaConfig's own default, which old files leave out
            values.setdefault("pad_token_id", 1)
        return _fill_labels(values)

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.head_size is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}; "
                "change one of them or set head_size"
            )
        for name in ("layer_heads", "layer_intermediate"):
            sizes = getattr(self, name)
            if sizes is not None and len(sizes) != self.num_hidden_layers:
                raise ValueError(f"{name} has {len(sizes)} entries for num_hidden_layers {self.num_hidden_layers}")
        if self.pad_token_id >= self.vocab_size:
            raise ValueError(f"pad_token_id {self.pad_token_id} is outside the vocabulary of {self.vocab_size}")
        if self.longest_input is not None and self.longest_input < 1:
            raise ValueError(
                f"max_position_embeddings {self.max_position_embeddings} leaves no position: {self.model_type} counts "
                f"them from {self.first_position} (pad_token_id + 1)"
            )
        if self.id2label is not None:
            _check_labels(self.id2label, self.label2id or {})
        return self

    @property
    def num_labels(self) -> int:
        """Number of labels: outputs of a classifier; 1 means a regression."""
        return 2 if self.id2label is None else len(self.id2label)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the labels in the order of their ids; None where they have none but `LABEL_0` ..."""
        names = None if self.id2label is None else tuple(self.id2label[i] for i in range(len(self.id2label)))
        return None if names == _unnamed(self.num_labels) else names

    def with_labels(self, labels: Sequence[str] | int | None) -> ModelConfig:
        """The same model with these labels: names in the order of their ids, or a number; None: the default.

        Raises:
            UserError: there is none, or a name comes twice.
        """
        names = _unnamed(labels) if isinstance(labels, int) else labels and tuple(labels)
        if names is not None and (not names or len(set(names)) < len(names) or isinstance(labels, str)):
            raise UserError(f"labels: expected at least one, each with a name of its own, found {labels!r}.")
        kind = "regression" if names is not None and len(names) == 1 else None
        changes = {"id2label": names and dict(enumerate(names)), "label2id": None, "problem_type": kind}
        return ModelConfig(**{**self.model_dump(), **changes})

    @property
    def task_dropout_prob(self) -> float:
        """Dropout before a classifier."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @property
    def attention_head_size(self) -> int:
        """Size D of one attention head."""
        return self.head_size or self.hidden_size // self.num_attention_heads

    @property
    def first_position(self) -> int:
        """Row of the absolute table at which an input begins: RoBERTa counts from the one after `pad_token_id`.

        (In transformers its padding stays at that row. Here it counts on, since attention does not see it.)
        """
        return self.pad_token_id + 1 if self.model_type == "roberta" else 0

    @property
    def longest_input(self) -> int | None:
        """Most tokens that an input may have; None: any number, as relative positions allow."""
        absolute = self.position_embedding_type == "absolute"
        return self.max_position_embeddings - self.first_position if absolute else None

    def heads(self, layer: int) -> int:
        """Number N of attention heads of a layer."""
        return self.layer_heads[layer] if self.layer_heads else self.num_attention_heads

    def intermediate(self, layer: int) -> int:
        """Width of the feed-forward part of a layer."""
        return self.layer_intermediate[layer] if self.layer_intermediate else self.intermediate_size

    @classmethod
    def from_huggingface(cls, values: dict[str, Any], where: str = "config.json") -> ModelConfig:
        """Read a Hugging Face configuration; keys that say nothing about the encoder are left out.

        Raises:
            UserError: naming `where`, the keys and what was expected.
        """
        keys = {*cls.model_fields, "num_labels"}
        known = {key: value for key, value in values.items() if key in keys and value is not None}
        if "model_type" not in known:
            relative = values.get("use_relative_position") or "max_relative_position" in values
            known["model_type"] = "nezha" if relative else "bert"
        if known["model_type"] == "nezha" and known.get("position_embedding_type") not in ("none", "absolute"):
            known["position_embedding_type"] = "functional_relative"
        if values.get("position_embedding_type") in ("relative_key", "relative_key_query"):
            raise UserError(
                f"{where}: position_embedding_type: {values['position_embedding_type']} (a learned relative table) is "
                "not supported; expected functional_relative, absolute or none."
            )
        try:
            return cls(**known)
        except ValidationError as error:
            raise UserError(f"{where}: " + describe_validation(error)) from error

    @classmethod
    def load(cls, folder: str | Path) -> ModelConfig:
        """Read `config.json` of a model folder."""
        path = Path(folder) / "config.json"
        return cls.from_huggingface(read_json(path), str(path))

    def to_huggingface(self, architecture: str | None = None) -> dict[str, Any]:
        """The content of config.json. `architecture` is the Hugging Face class, such as `NezhaForPreTraining`."""
        optional = {name for name in type(self).model_fields if getattr(self, name) is None}
        values = json.loads(self.model_dump_json(exclude=optional))
        if self.position_embedding_type != "functional_relative":
            values.pop("max_relative_position")
        if not self.is_decoder:
            values.pop("is_decoder")
        if architecture:
            values["architectures"] = [architecture]
        return values

    def save(self, folder: str | Path, architecture: str | None = None) -> None:
        """Write `config.json` into a model folder."""
        write_json(Path(folder) / "config.json", self.to_huggingface(architecture))


def _unnamed(count: int) -> tuple[str, ...]:
    """Labels as Hugging Face names them where nobody else does."""
    return tuple(f"LABEL_{i}" for i in range(count))


def _fill_labels(values: dict[str, Any]) -> dict[str, Any]:
    """What one of id2label, label2id and num_labels (which old files have) says of the others."""
    count, names, ids = values.pop("num_labels", None), values.get("id2label"), values.get("label2id")
    if names is None and isinstance(ids, dict):
        values["id2label"] = names = {number: name for name, number in ids.items()}
    if names is None and isinstance(count, int):
        values["id2label"] = names = dict(enumerate(_unnamed(count)))
    if ids is None and isinstance(names, dict):
        values["label2id"] = {name: number for number, name in names.items()}
    if count is not None and isinstance(names, dict) and len(names) != count:
        raise ValueError(f"num_labels is {count}, but id2label has {len(names)} entries; remove num_labels")
    return values


def _check_labels(names: dict[int, str], ids: dict[str, int]) -> None:
    if not names or sorted(names) != list(range(len(names))):
        raise ValueError(f"id2label: expected the ids 0, 1, 2 ... without a gap, found {sorted(names)}")
    if len(set(names.values())) < len(names):
        raise ValueError(f"id2label: a name stands for two ids: {names}; give each label a name of its own")
    if ids != {name: number for number, name in names.items()}:
        raise ValueError(f"label2id {ids} is not the inverse of id2label {names}; remove the wrong one of them")


def describe_validation(error: ValidationError) -> str:
    """All complaints of a pydantic error in one readable paragraph."""
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "(whole)"
        found = "" if item["type"] == "missing" or not item["loc"] else f", found {item['input']!r}"
        parts.append(f"{key}: {item['msg'].removeprefix('Value error, ')}{found}")
    return "; ".join(parts)
