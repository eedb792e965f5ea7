"""The typed recipe tree. Loading, `base:`, overrides and error messages are in `loading.py`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ms_plm.config.distillation import DistillMethod
from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.finetuning import FinetuneMethod, TaskDataSection, TaskEvaluateSection
from ms_plm.config.model import ExportHead, ModelConfig, PositionEmbedding
from ms_plm.config.search import SearchEvaluateSection, SearchMethod
from ms_plm.config.sections import Section


class ModelSection(Section):
    """Which model: a configuration (Hugging Face field names), or `from: FOLDER` to continue from any model folder."""

    from_: str | None = Field(
        None, alias="from", description="model folder to continue from; no other key but fresh beside it"
    )
    fresh: bool = Field(False, description="take configuration and vocabulary of `from`, but draw new weights")
    model_type: Literal["bert", "nezha", "roberta"] = "nezha"
    vocab_size: int | None = Field(None, gt=0, description="default: the size of the vocabulary; larger: padded")
    hidden_size: int = Field(768, gt=0)
    num_hidden_layers: int = Field(12, gt=0)
    num_attention_heads: int = Field(12, gt=0)
    intermediate_size: int = Field(3072, gt=0)
    hidden_act: Literal["gelu", "gelu_new", "relu"] = "gelu"
    hidden_dropout_prob: float = Field(0.1, ge=0, lt=1)
    attention_probs_dropout_prob: float = Field(0.1, ge=0, lt=1)
    type_vocab_size: int = Field(2, gt=0)
    initializer_range: float = Field(0.02, gt=0)
    layer_norm_eps: float = Field(1e-12, gt=0)
    position_embedding_type: PositionEmbedding | None = None
    max_position_embeddings: int = Field(512, gt=0)
    max_relative_position: int = Field(64, gt=0)

    @model_validator(mode="after")
    def _exclusive(self) -> ModelSection:
        others = self.model_fields_set - {"from_", "fresh"}
        if self.from_ and others:
            raise ValueError(
                f"`from` takes the whole configuration from the folder; remove {', '.join(sorted(others))}"
            )
        if self.fresh and not self.from_:
            raise ValueError("fresh belongs to `from`: without it all weights are new")
        return self

    @property
    def position_embedding(self) -> PositionEmbedding:
        """The position scheme: as given, else that of the family."""
        return self.position_embedding_type or ("functional_relative" if self.model_type == "nezha" else "absolute")

    def build(self, vocab_size: int, pad_token_id: int = 0) -> ModelConfig:
        """The configuration of a new model over a vocabulary of `vocab_size` entries."""
        values = self.model_dump(exclude={"from_", "fresh", "vocab_size"})
        return ModelConfig(**values, vocab_size=self.vocab_size or vocab_size, pad_token_id=pad_token_id)


class MaskingSection(Section):
    """Which positions are predicted, and what the model sees in their place."""

    strategy: Literal["token", "whole_word"] = "whole_word"
    ratio: float = Field(0.15, gt=0, lt=1, description="share of maskable tokens that is predicted")
    ngram: int = Field(1, ge=1, le=10, description="longest span of words masked together (whole_word)")
    mask_share: float = Field(0.8, ge=0, le=1, description="share shown as [MASK]")
    random_share: float = Field(0.1, ge=0, le=1, description="share shown as a random token; the rest stays")

    @model_validator(mode="after")
    def _shares(self) -> MaskingSection:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(f"mask_share {self.mask_share} + random_share {self.random_share} is more than 1")
        if self.strategy == "token" and self.ngram != 1:
            raise ValueError("ngram needs strategy: whole_word")
        return self


class TextSection(Section):
    """Raw text and how `prepare` reads it; the same options as the command line's."""

    files: tuple[str, ...] = Field(min_length=1, description="files or folders; package:NAME is a bundled text")
    include: tuple[str, ...] = Field((), description="name patterns within folders, such as poet.*")
    field: str | None = Field(None, description="field of .json and .jsonl records that holds the text")
    columns: tuple[str, ...] = Field((), description="columns of .tsv files that hold text")
    one_per_line: bool = Field(False, description="each line of a .txt file is a document")
    dedup: bool = Field(False, description="leave out documents that occurred before")
    holdout: float = Field(0.0, ge=0, lt=1, description="share of documents kept out of training")
    skip_bad: bool = Field(False, description="skip broken records instead of stopping")
    segmenter: Literal["auto", "none", "rjieba"] = Field("auto", description="Chinese words, for whole_word masking")


class DataSection(Section):
    """What is read: raw text (`text`, prepared into a cache) or a prepared corpus (`corpus`)."""

    text: tuple[TextSection, ...] | None = Field(None, description="raw text; one mapping or a list of them")
    corpus: str | None = Field(None, description="folder made by `ms-plm prepare`")
    mindrecord: str | None = Field(None, description="MindRecord with static columns: masks are fixed in it")
    tokenizer: str | None = Field(None, description="folder or vocab.txt; default: that of model.from or the corpus")
    lower_case: bool | None = Field(None, description="default: what the tokenizer's folder says, else true")
    max_length: int = Field(128, ge=8, description="tokens of a sample, special tokens included")
    nsp: bool = Field(True, description="sentence pairs; false: packed full-length samples")
    short_sample_probability: float = Field(0.1, ge=0, le=1, description="share of samples cut short on purpose")
    masking: MaskingSection = MaskingSection()
    cache: str | None = Field(None, description="where prepared corpora and sample tables go; default: ~/.cache/ms_plm")

    @field_validator("text", mode="before")
    @classmethod
    def _one_text(cls, value: Any) -> Any:
        return (value,) if isinstance(value, (dict, TextSection)) else value

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        given = [name for name in ("text", "corpus", "mindrecord") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"give one of text, corpus and mindrecord, not {' and '.join(given)}")
        return self


class OptimizerSection(Section):
    """Optimizer and its constants."""

    name: Literal["adamw", "lamb"] = "adamw"
    variant: Literal["paper", "nezha"] = Field(
        "paper", description="lamb: the paper's, or the deviations of NEZHA's code"
    )
    learning_rate: float = Field(1e-4, gt=0, description="peak")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-6, gt=0)
    weight_decay: float = Field(0.01, ge=0, description="not applied to biases and LayerNorm")


class ScheduleSection(Section):
    """Learning rate over the steps: linear warm-up, then decay to `final` times the peak."""

    name: Literal["linear", "polynomial", "constant"] = "linear"
    warmup_steps: int | None = Field(None, ge=0, description="steps of rising rate; give this or warmup_ratio")
    warmup_ratio: float | None = Field(None, ge=0, lt=1, description="the same as a share of all steps")
    power: float = Field(1.0, gt=0, description="polynomial only")
    final: float = Field(0.0, ge=0, le=1, description="last rate as a share of the peak")

    @model_validator(mode="after")
    def _one_warmup(self) -> ScheduleSection:
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ValueError("give warmup_steps or warmup_ratio, not both")
        if self.name != "polynomial" and self.power != 1.0:
            raise ValueError("power needs name: polynomial")
        return self


class CheckpointSection(Section):
    """When the state is written and how many states are kept."""

    every: int = Field(1000, gt=0, description="steps")
    keep: int = Field(3, gt=0, description="newest ones kept; the best one is kept beside them")
    best: Literal["loss", "accuracy", "metric", "none"] = Field(
        "loss", description="which held-out figure decides the best one; metric: the first one of a fine-tuning task"
    )


class TrainSection(Section):
    """How long and how a model is trained."""

    steps: int | None = Field(None, gt=0, description="updates; give this or epochs")
    epochs: float | None = Field(None, gt=0, description="passes over the data; give this or steps")
    batch: int = Field(32, gt=0, description="sequences per update over all devices")
    seed: int = Field(1, description="of initial weights, order, masks and dropout")
    repeats: int = Field(
        1, ge=1, le=100, description="so many runs with seeds seed, seed+1, ...; the result is the best one's"
    )
    clip_norm: float = Field(1.0, ge=0, description="largest global gradient norm; 0: no clipping")
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    checkpoint: CheckpointSection = CheckpointSection()
    budget_minutes: float | None = Field(
        None, gt=0, description="stop early with a checkpoint; the schedule stays as it is"
    )

    @model_validator(mode="after")
    def _length(self) -> TrainSection:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give one of steps and epochs")
        return self


class EvaluateSection(Section):
    """Evaluation on held-out documents."""

    corpus: str | None = Field(None, description="prepared corpus; default: the held-out part of the training data")
    every: int = Field(1000, gt=0, description="steps")
    samples: int = Field(1000, gt=0, description="largest number of samples")


class ParallelSection(Section):
    """Data parallel over processes started by msrun."""

    fusion_mb: int = Field(32, ge=0, description="size of fused gradient messages on Ascend; 0: MindSpore's default")
    shard_optimizer: bool = Field(
        False, description="each process holds the moments of its share of the tensors only; same results, less memory"
    )
    timeout_seconds: int = Field(30, ge=5, description="silence of a peer after which the job ends")
    compile_timeout_seconds: int = Field(3600, ge=60, description="the same while a graph is being compiled")


class ImplSection(Section):
    """How it is computed: rounding and speed, never what."""

    device: Literal["auto", "cpu", "gpu", "ascend"] = "auto"
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    kernels: str | dict[str, str] = Field("auto", description="auto, reference, or {operation: implementation}")
    micro_batch: int | None = Field(
        None, gt=0, description="sequences per device and forward; default: batch / devices"
    )
    eval_batch: int | None = Field(None, gt=0, description="default: micro_batch")
    jit_level: Literal["O0", "O1", "O2"] | None = Field(None, description="default: the device's")
    recompute: bool = Field(
        False, description="compute each layer's forward again in the backward: far less memory, a third more time"
    )
    workers: int = Field(1, ge=0, description="threads that prepare batches ahead; 0: none")
    exact_resume: bool = Field(True, description="false: the device's own dropout, faster on some, resume not exact")
    loss_scale: float | None = Field(
        None, gt=0, description="first fp16 loss scale; default 2^15 x micro-batches x devices"
    )
    loss_scale_window: int = Field(1000, gt=0, description="good steps after which the loss scale doubles")
    parallel: ParallelSection = ParallelSection()


class ExportSection(Section):
    """A deployable file made at the end of the run."""

    format: Literal["mindir"] = "mindir"
    head: ExportHead = "masked_lm"
    batch: int | Literal["dynamic"] = Field(1, description="a number, or dynamic")
    length: int | Literal["dynamic"] = Field(128, description="a number of tokens, or dynamic")


class OutputSection(Section):
    """Where results go and what is made of them."""

    folder: str | None = Field(None, description="run folder; default: runs/<recipe name>")
    examples: tuple[str, ...] = Field((), description="texts with [MASK] that are filled in at the end")
    export: ExportSection | None = None
    compare: bool = Field(
        False, description="distillation: size, FLOPs, latency and figures of teacher and student in the report"
    )
    checkpoints: bool = Field(True, description="false: once the run is finished its checkpoints go; its model stays")


class LogSection(Section):
    """What is written while running."""

    every: int = Field(10, gt=0, description="steps")
    tensorboard: bool = Field(False, description="needs the extra viz")


class PretrainMethod(Section):
    """What only pretraining has."""

    objective: Literal["masked_lm"] = "masked_lm"


KINDS: dict[str, dict[str, type[Section]]] = {
    "pretrain": {"data": DataSection, "evaluate": EvaluateSection, "method": PretrainMethod},
    "finetune": {"data": TaskDataSection, "evaluate": TaskEvaluateSection, "method": FinetuneMethod},
    "general_distill": {"data": DataSection, "evaluate": EvaluateSection, "method": DistillMethod},
    "task_distill": {"data": TaskDataSection, "evaluate": TaskEvaluateSection, "method": DistillMethod},
    "elastic": {"data": TaskDataSection, "evaluate": TaskEvaluateSection, "method": ElasticMethod},
    "search_layer_map": {"data": DataSection, "evaluate": SearchEvaluateSection, "method": SearchMethod},
}
"""The sections that depend on a recipe's `kind`."""


class Recipe(Section):
    """One run, from data to results."""

    kind: Literal["pretrain", "finetune", "general_distill", "task_distill", "elastic", "search_layer_map"]
    name: str = Field(description="default: the file's name")
    description: str = ""
    model: ModelSection = ModelSection()
    data: Any = None
    train: TrainSection
    method: Any = None
    evaluate: Any = None
    impl: ImplSection = ImplSection()
    output: OutputSection = OutputSection()
    log: LogSection = LogSection()
    grid: dict[str, Any] = Field({}, description="key -> values to try, such as train.batch: [16, 32]; a run each")

    @model_validator(mode="before")
    @classmethod
    def _of_this_kind(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("kind") not in KINDS:
            return values
        made = dict(values)
        for name, section in KINDS[values["kind"]].items():
            if not isinstance(made.get(name), Section):
                made[name] = section(**(made.get(name) or {}))
        return made

    @property
    def form(self) -> Literal["run", "repeats", "grid"]:
        """What it is carried out as: one run, or several with other seeds or values."""
        return "grid" if self.grid else "repeats" if self.train.repeats > 1 else "run"

    @property
    def several(self) -> bool:
        """Whether it is carried out as several runs."""
        return self.form != "run"
