"""The model's configuration: `config.json` of a model folder, with Hugging Face's field names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, write_json

PositionEmbedding = Literal["functional_relative", "absolute", "none"]


class ModelConfig(BaseModel):
    """Shape and behaviour of an encoder. Frozen; extras of ours are absent from config.json where they do not apply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_type: Literal["bert", "nezha"] = Field("nezha", description="family: names the tensors on disk")
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
    classifier_dropout: float | None = None
    quantization: dict[str, Any] | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
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
        return values

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
        return self

    @property
    def attention_head_size(self) -> int:
        """Size D of one attention head."""
        return self.head_size or self.hidden_size // self.num_attention_heads

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
        known = {key: value for key, value in values.items() if key in cls.model_fields and value is not None}
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


def describe_validation(error: ValidationError) -> str:
    """All complaints of a pydantic error in one readable paragraph."""
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "(whole)"
        found = "" if item["type"] == "missing" or not item["loc"] else f", found {item['input']!r}"
        parts.append(f"{key}: {item['msg'].removeprefix('Value error, ')}{found}")
    return "; ".join(parts)
