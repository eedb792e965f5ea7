"""What only recipes of kinds `general_distill` and `task_distill` hold: the teacher and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ms_plm.config.sections import Section

LayerMap = Literal["uniform", "last"] | tuple[int, ...]
"""Of which teacher layer (from 1) each student layer learns; 0: of none."""


class TeacherSection(Section):
    """The model that is learned from; it never changes and drops nothing."""

    from_: str = Field(alias="from", description="model folder; for a task one that was fine-tuned on it")
    precision: Literal["fp32", "fp16", "bf16"] | None = Field(None, description="default: impl.precision")
    cache: bool = Field(
        False,
        description="where predictions alone are learned (task_distill, elastic): the teacher answers once before "
        "training, and the answers are kept in ~/.cache/ms_plm/answers for other runs",
    )


class TermSection(Section):
    """One named sum of losses."""

    weight: float = Field(1.0, gt=0, description="lambda, of the whole term")


class LayerTermSection(TermSection):
    """A loss for every supervised layer; they are added."""

    layers: LayerMap | None = Field(None, description="default: method.layer_map")


class HiddenSection(LayerTermSection):
    """Outputs of layers."""

    measure: Literal["mse", "normalised_mse", "cosine"] = Field(
        "mse", description="normalised_mse: of vectors of length 1 (BERT-PKD); cosine: 1 - cosine (DistilBERT)"
    )
    positions: Literal["all", "first"] = Field("all", description="first: [CLS] alone (BERT-PKD)")


class AttentionSection(LayerTermSection):
    """What layers attend to; teacher and student need as many heads."""

    of: Literal["scores", "probabilities"] = Field("scores", description="masked scores before softmax, or after it")
    measure: Literal["mse", "kl"] = Field("mse", description="kl: of probabilities (MiniLM)")

    @model_validator(mode="after")
    def _of_distributions(self) -> AttentionSection:
        if self.measure == "kl" and self.of != "probabilities":
            raise ValueError("measure: kl needs of: probabilities")
        return self


class RelationsSection(LayerTermSection):
    """Likeness of positions, softmax(x x^T / sqrt(d)), x the queries, keys or values of a layer; KL (MiniLM)."""

    layers: LayerMap | None = Field("last", description="MiniLM: last")
    of: tuple[Literal["query", "key", "value"], ...] = Field(("value",), min_length=1)
    heads: int | None = Field(
        None, gt=0, description="relation heads that both are split into, whatever they have; default: the teacher's"
    )


class PredictionSection(TermSection):
    """The teacher's logits: soft cross-entropy, or squared differences of a regression."""

    temperature: float = Field(1.0, gt=0, description="logits are divided by it; the loss is multiplied by its square")


class LossesSection(Section):
    """The terms of the loss; a number stands for its weight, a term that is not named is not there."""

    embedding: TermSection | None = Field(None, description="output of the embeddings")
    hidden: HiddenSection | None = Field(None, description="outputs of layers")
    attention: AttentionSection | None = Field(None, description="scores or probabilities of attention")
    relations: RelationsSection | None = Field(None, description="likeness of positions; heads need not agree")
    prediction: PredictionSection | None = Field(None, description="the teacher's logits")
    labels: TermSection | None = Field(None, description="the data's own labels, as without a teacher")

    @field_validator("*", mode="before")
    @classmethod
    def _weight_alone(cls, value: Any) -> Any:
        return {"weight": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    def named(self) -> dict[str, TermSection]:
        """The terms that there are, in their order."""
        return {name: term for name in type(self).model_fields if (term := getattr(self, name)) is not None}

    @property
    def on_layers(self) -> bool:
        """Whether something within the models is compared."""
        return bool(self.named().keys() - {"prediction", "labels"})

    @property
    def on_outputs(self) -> bool:
        """Whether the head is trained."""
        return bool(self.prediction or self.labels)


class DistillMethod(Section):
    """How the student learns of the teacher."""

    teacher: TeacherSection
    layer_map: LayerMap = Field(
        "uniform", description="uniform, last, or for each student layer a teacher layer from 1, 0: none: [0, 0, 5, 10]"
    )
    projection: Literal["auto", "per_layer", "shared", "none"] = Field(
        "auto",
        description="of the student's width to the teacher's: one for all layers (TinyBERT v1), one each (v2); "
        "auto: as the student's folder has it, else none where the widths agree, else per_layer",
    )
    losses: LossesSection
    parity: Literal["none", "original"] = Field(
        "none",
        description="original: the arithmetic of TinyBERT's code, padding included, for comparisons. Two things stay: "
        "samples are padded to the lengths of data.lengths, there to max_length; and prediction takes the teacher's "
        "scores of a regression, there the gold ones (take the term labels for that)",
    )
    initial_layers: tuple[int, ...] | None = Field(
        None, description="teacher layers (from 1) that a new student of the same width begins with, and the embeddings"
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> DistillMethod:
        named = self.losses.named()
        if not named.keys() - {"labels"}:
            raise ValueError("losses: name at least one term that compares with the teacher, such as hidden: 1.0")
        if self.teacher.cache and self.losses.on_layers:
            raise ValueError(
                "teacher.cache keeps logits only; remove it, or the terms embedding, hidden, attention and relations"
            )
        return self


def resolved(layer_map: str | Sequence[int], student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """A layer map in numbers.

    Args:
        layer_map: uniform (every `teacher_layers / student_layers`-th layer, rounded down where that is no whole
            number), last (the last of the last), or numbers.
        student_layers, teacher_layers: how many there are.

    Returns:
        For each student layer a teacher layer, 1 to `teacher_layers`, or 0.

    Raises:
        ValueError: it does not fit the numbers of layers; with what was expected.
    """
    if layer_map == "uniform":
        if student_layers > teacher_layers:
            raise ValueError(
                f"uniform: the student has {student_layers} layers, more than the {teacher_layers} of the teacher; "
                "name a teacher layer for each, 0 for none"
            )
        return tuple(number * teacher_layers // student_layers for number in range(1, student_layers + 1))
    if layer_map == "last":
        return (*(0,) * (student_layers - 1), teacher_layers)
    numbers = tuple(layer_map)
    if len(numbers) != student_layers:
        raise ValueError(f"expected {student_layers} numbers, one for each student layer, found {list(numbers)}")
    strange = [number for number in numbers if not 0 <= number <= teacher_layers]
    if strange:
        raise ValueError(f"expected teacher layers from 1 to {teacher_layers}, or 0 for none, found {strange[0]}")
    if not any(numbers):
        raise ValueError("supervises no layer; name at least one teacher layer, or leave the term out")
    return numbers
