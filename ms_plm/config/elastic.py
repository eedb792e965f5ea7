"""What only recipes of kind `elastic` hold: the sub-networks, what they learn of, how heads and neurons are ordered."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ms_plm.config.distillation import LossesSection, TeacherSection
from ms_plm.config.sections import Section


class SubNetworkSection(Section):
    """A sub-network layer by layer; a list has an entry for every layer that is kept."""

    layers: tuple[int, ...] = Field(min_length=1, description="layers that are kept, from 0")
    heads: tuple[int, ...] = Field(description="how many heads of each, the first ones")
    intermediate: tuple[int, ...] = Field(description="how many neurons of each, the first ones")


class RewireSection(Section):
    """Before training, heads and neurons are put in the order of their importance (DynaBERT, 2.1)."""

    on: Literal["train", "dev", "none"] = Field(
        "none",
        description="which examples tell: train; dev, as DynaBERT's code does, which leaks into what is measured; "
        "none: leave the order as it is",
    )
    rows: int | None = Field(1024, gt=0, description="so many examples, drawn by train.seed; null: all")
    batch: int = Field(32, gt=0, description="examples whose gradient is taken at a time")
    accumulate: Literal["none", "original"] = Field(
        "none", description="original: gradients of earlier batches stay in, as in DynaBERT's code, for comparisons"
    )


class ElasticTeacherSection(TeacherSection):
    """The model that sub-networks learn of."""

    width: Literal["full", "same"] = Field(
        "full",
        description="which part of it: the whole width, or as much as the sub-network that learns has; same is "
        "for a teacher that was trained at these widths",
    )


class ElasticMethod(Section):
    """Which sub-networks there are, and of what they learn."""

    widths: tuple[float, ...] = Field((1.0, 0.75, 0.5, 0.25), description="shares of heads and neurons")
    depths: tuple[float, ...] = Field((1.0,), description="shares of layers")
    subnetworks: tuple[SubNetworkSection, ...] = Field(
        (), description="more of them, layer by layer; the whole model is always one"
    )
    rewire: RewireSection = RewireSection()
    teacher: ElasticTeacherSection | None = Field(None, description="default: none, only labels are learned")
    losses: LossesSection = Field(LossesSection(labels=1.0), description="default: labels alone")

    @property
    def parity(self) -> Literal["none"]:
        """Of the terms of distillation: padding counts nowhere."""
        return "none"

    @field_validator("widths", "depths")
    @classmethod
    def _shares(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        strange = [value for value in values if not 0 < value <= 1]
        if strange or not values:
            raise ValueError(f"expected shares above 0, at most 1, found {strange or 'none'}")
        if len(set(values)) < len(values):
            raise ValueError(f"a share comes twice: {list(values)}")
        return tuple(sorted(values, reverse=True))

    @model_validator(mode="after")
    def _terms(self) -> ElasticMethod:
        named = self.losses.named()
        if strange := sorted(named.keys() & {"attention", "relations"}):
            raise ValueError(
                f"losses.{strange[0]}: sub-networks have fewer heads than their teacher, so their attention cannot be "
                "compared; expected embedding, hidden, prediction and labels"
            )
        if not self.losses.on_outputs:
            raise ValueError("losses: name prediction or labels, or the head is not trained")
        compared = sorted(named.keys() - {"labels"})
        if compared and self.teacher is None:
            raise ValueError(f"teacher: losses.{compared[0]} compares with one; name its folder (teacher.from)")
        if self.teacher and not compared:
            raise ValueError("teacher: no term compares with it; remove it, or name a term such as prediction")
        if self.teacher and self.teacher.cache and (self.losses.on_layers or self.teacher.width == "same"):
            raise ValueError(
                "teacher.cache keeps the logits of the whole teacher only; remove it, or width: same and the terms "
                "embedding and hidden"
            )
        if self.losses.hidden and self.losses.hidden.layers is not None:
            raise ValueError("losses.hidden.layers: a layer learns of what it is made from; remove the map")
        if self.teacher and self.teacher.width == "same" and self.rewire.on != "none":
            raise ValueError(
                "teacher.width: same needs the order of heads that the teacher has; set rewire.on: none, or width: full"
            )
        return self
