"""What only recipes of kind `finetune` hold: the task's data, its evaluation, its ways of training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ms_plm.config.sections import Section


class TextLimits(Section):
    """How much of a text a model sees at a time."""

    max_length: int = Field(128, ge=8, description="tokens of a sample, special tokens included; longer ones are cut")
    stride: int = Field(128, ge=1, description="questions: tokens from a window of the text to the next")
    max_question: int = Field(64, ge=1, description="questions: tokens of a question; longer ones are cut")
    max_answer: int = Field(30, ge=1, description="questions: tokens of the longest answer that is looked for")


METRICS = {
    "classification": ("accuracy", "f1", "macro_f1", "matthews"),
    "regression": ("pearson", "spearman", "pearson_spearman"),
    "tokens": ("entity_f1", "entity_macro_f1", "entity_precision", "entity_recall", "token_accuracy"),
    "question_answering": (
        *("squad_f1", "squad_em", "squad_has_answer_f1", "squad_no_answer_accuracy"),
        *("cmrc_f1", "cmrc_em"),
    ),
}
"""What a task of your own can be measured by, by its kind; see `ms_plm.evaluation.scoring`."""


class OwnTaskSection(Section):
    """A task of your own: files, and which columns hold what.

    Classification and regression: .tsv or .jsonl. Tokens: a word and its tag a line, blank lines between sentences.
    Question answering: SQuAD's JSON.
    """

    kind: Literal["classification", "regression", "tokens", "question_answering"] = "classification"
    train: str = Field(description="file")
    dev: str | None = Field(None, description="file with labels to choose the best checkpoint by; default: none")
    test: str | None = Field(None, description="file for `ms-plm evaluate --split test`; may lack labels")
    text: str = Field("text", description="column of the text: a name of the header, or a number from 0")
    pair: str | None = Field(None, description="column of a second text")
    label: str = Field("label", description="column of the label")
    word: int = Field(0, description="tokens: column of the word, from 0; from the last one if negative")
    tag: int = Field(-1, description="tokens: column of its tag")
    header: bool | None = Field(None, description="the first line of a .tsv names the columns; default: if names do")
    labels: tuple[str, ...] | None = Field(None, description="classes in the order of their ids; default: as found")
    metrics: tuple[str, ...] | None = Field(None, description="the first decides; default: by kind")

    @model_validator(mode="after")
    def _columns(self) -> OwnTaskSection:
        texts, tokens = {"text", "pair", "label", "header"}, {"word", "tag"}
        allowed = {"tokens": tokens, "question_answering": set()}.get(self.kind, texts)
        fields = type(self).model_fields
        given = {name for name in texts | tokens if getattr(self, name) != fields[name].default}
        strange = sorted(given - allowed)
        if strange:
            raise ValueError(f"kind {self.kind} has no {', '.join(strange)}")
        unknown = [name for name in self.metrics or () if name not in METRICS[self.kind]]
        if unknown:
            raise ValueError(f"kind {self.kind} has no metric {unknown[0]}; there are {', '.join(METRICS[self.kind])}")
        if self.kind in ("regression", "question_answering") and self.labels is not None:
            raise ValueError(f"kind {self.kind} has no labels")
        return self


class TaskDataSection(TextLimits):
    """What is learned: a benchmark's task in its official files, or one of your own."""

    task: str | None = Field(None, description="a benchmark's task, such as glue/sst-2 or clue/tnews")
    folder: str | None = Field(None, description="where its official files lie")
    own: OwnTaskSection | None = Field(None, description="instead of task and folder")
    augmented: str | None = Field(
        None,
        description="train on the rows of this file instead of the task's training set: made by `ms-plm augment`, or "
        "a .tsv in the task's own format, as TinyBERT's train_aug.tsv",
    )
    lower_case: bool | None = Field(None, description="default: what the model's folder says")
    lengths: int = Field(6, ge=1, le=6, description="at most so many padded lengths, each a graph to compile")
    rows: int | None = Field(
        None,
        gt=0,
        description="train on so many examples, drawn by train.seed (with data.augmented: on their variants); default: "
        "all",
    )
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

    layer_decay: float = Field(
        1.0, gt=0, le=1, description="each layer learns at so much of the rate of the one above; 1: at the same rate"
    )
    fgm: float = Field(
        0.0,
        ge=0,
        description="FGM: how far each sequence's word embeddings are moved against the model, a small part of their "
        "length; 0: not at all",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: every class counts the same, however rare"
    )
    patience: int | None = Field(
        None, gt=0, description="evaluations without a better figure after which training ends"
    )
