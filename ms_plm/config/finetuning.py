"""What only recipes of kind `finetune` hold: the task's data, its evaluation, its ways of training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ms_plm.config.sections import Section


class OwnTaskSection(Section):
    """A classification or regression of your own: .tsv or .jsonl files, and which columns hold what."""

    kind: Literal["classification", "regression"] = "classification"
    train: str = Field(description="file")
    dev: str | None = Field(None, description="file with labels to choose the best checkpoint by; default: none")
    test: str | None = Field(None, description="file to predict")
    text: str = Field("text", description="column of the text: a name of the header, or a number from 0")
    pair: str | None = Field(None, description="column of a second text")
    label: str = Field("label", description="column of the label")
    header: bool | None = Field(None, description="the first line of a .tsv names the columns; default: if names do")
    labels: tuple[str, ...] | None = Field(None, description="classes in the order of their ids; default: as found")
    metrics: tuple[str, ...] | None = Field(None, description="the first decides; default: by kind")


class TaskDataSection(Section):
    """What is learned: a benchmark's task in its official files, or one of your own."""

    task: str | None = Field(None, description="a benchmark's task, such as glue/sst-2 or clue/tnews")
    folder: str | None = Field(None, description="where its official files lie")
    own: OwnTaskSection | None = Field(None, description="instead of task and folder")
    lower_case: bool | None = Field(None, description="default: what the model's folder says")
    max_length: int = Field(128, ge=8, description="tokens of a sample, special tokens included; longer ones are cut")
    lengths: int = Field(6, ge=1, le=6, description="at most so many padded lengths, each a graph to compile")
    rows: int | None = Field(None, gt=0, description="train on so many examples, drawn by train.seed; default: all")
    without_train_texts: bool = Field(False, description="leave out dev examples whose texts stand in the training set")

    @model_validator(mode="after")
    def _one_task(self) -> TaskDataSection:
        if (self.task is None) == (self.own is None):
            raise ValueError("give task (with folder), or own")
        if self.task and not self.folder:
            raise ValueError(f"folder: where do the files of {self.task} lie? Set data.folder")
        if self.own and self.folder:
            raise ValueError("folder belongs to task; own names its files itself")
        return self


class TaskEvaluateSection(Section):
    """Evaluation on the whole of the dev sets."""

    every_epochs: float = Field(1.0, gt=0, description="epochs, or a part of one")


class FinetuneMethod(Section):
    """What only fine-tuning has."""

    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: every class counts the same, however rare"
    )
    patience: int | None = Field(
        None, gt=0, description="evaluations without a better figure after which training ends"
    )
