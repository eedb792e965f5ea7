"""Names of tensors: ours (paths of cells) and Hugging Face's, one table per family, readable both ways."""

from __future__ import annotations

from collections.abc import Collection

from ms_plm.config.model import ModelConfig

PREFIXES = ("nezha.", "bert.", "roberta.")
"""What stands before the encoder's tensors in folders with heads; base-model folders have none."""
CLASSES = {"nezha": "Nezha", "bert": "Bert", "roberta": "Roberta"}
"""How Hugging Face's classes of a family begin."""

_ENCODER = {
    "encoder.embeddings.word_embeddings.weight": "embeddings.word_embeddings.weight",
    "encoder.embeddings.token_type_embeddings.weight": "embeddings.token_type_embeddings.weight",
    "encoder.embeddings.position_embeddings.weight": "embeddings.position_embeddings.weight",
    "encoder.embeddings.norm": "embeddings.LayerNorm",
    "pooler.dense": "pooler.dense",
}
_LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
_HEADS = {
    "masked_lm.bias": "cls.predictions.bias",
    "masked_lm.dense": "cls.predictions.transform.dense",
    "masked_lm.norm": "cls.predictions.transform.LayerNorm",
    "next_sentence.dense": "cls.seq_relationship",
}
_ROBERTA_HEADS = {
    "masked_lm.bias": "lm_head.bias",
    "masked_lm.dense": "lm_head.dense",
    "masked_lm.norm": "lm_head.layer_norm",
}
DECODERS = {"cls.predictions.decoder": "cls.predictions.bias", "lm_head.decoder": "lm_head.bias"}
"""Prediction layers whose weight repeats the word embeddings, and the bias that theirs repeats."""
TASKS = {
    "sequence_classification": ("classifier", "ForSequenceClassification"),
    "token_classification": ("classifier", "ForTokenClassification"),
    "question_answering": ("qa_outputs", "ForQuestionAnswering"),
    "multiple_choice": ("classifier", "ForMultipleChoice"),
}
"""Hugging Face's name of a task's layer, which three share, and the end of its class, which tells them apart."""


def classifier_pools(config: ModelConfig, head: str) -> bool:
    """Whether the pooler is a part of the classifier, which then drops out before it too: RoBERTa's for sequences."""
    return config.model_type == "roberta" and head == "sequence_classification"


def name_table(config: ModelConfig, prefix: str, head: str = "pretraining") -> dict[str, str]:
    """Our parameter names to Hugging Face's, for the encoder, the pooler, pretraining's heads and one for a task.

    Args:
        config: gives the family, the number of layers and whether there is a position table.
        prefix: one of `PREFIXES`, or the empty string.
        head: of the model; names one for a task, since several have the same name there.
    """
    table: dict[str, str] = {}

    def add(ours: str, theirs: str) -> None:
        if ours.endswith((".weight", ".bias")):
            table[ours] = theirs
        else:
            for leaf in (".weight", ".bias"):
                table[ours + leaf] = theirs + leaf

    for ours, theirs in _ENCODER.items():
        if config.position_embedding_type == "absolute" or "position" not in ours:
            add(ours, prefix + theirs)
    for layer in range(config.num_hidden_layers):
        for ours, theirs in _LAYER.items():
            add(f"encoder.layers.{layer}.{ours}", f"{prefix}encoder.layer.{layer}.{theirs}")
    for ours, theirs in (_ROBERTA_HEADS if config.model_type == "roberta" else _HEADS).items():
        add(ours, theirs)
    if classifier_pools(config, head):
        add("pooler.dense", "classifier.dense")
        add(f"{head}.dense", "classifier.out_proj")
    elif head in TASKS:
        add(f"{head}.dense", TASKS[head][0])
    return table


def projection_names(config: ModelConfig) -> dict[str, str]:
    """The same for projections to a teacher's width, as TinyBERT's checkpoints name them: one for all, or one each."""
    table = {"projection": "fit_dense"}
    table |= {f"projections.{layer}": f"fit_denses.{layer}" for layer in range(config.num_hidden_layers + 1)}
    return {ours + leaf: theirs + leaf for ours, theirs in table.items() for leaf in (".weight", ".bias")}


def encoder_prefix(names: Collection[str]) -> str:
    """What stands before the encoder's tensors in a file with these names: one of `PREFIXES`, or nothing."""
    return next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in names)), "")


def in_encoder(name: str, prefix: str) -> bool:
    """Whether a tensor's name places it in the encoder; other tensors belong to heads (and so does the pooler)."""
    inner = name.removeprefix(prefix)
    if inner == name:  # without prefix
        return name.startswith(("embeddings.", "encoder."))
    return not inner.startswith("pooler.")


def modern_name(name: str) -> str:
    """Old PyTorch files call the LayerNorm tensors gamma and beta."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def is_redundant(name: str) -> bool:
    """Tensors that repeat what the configuration or another tensor says."""
    constants = (".positions_encoding", "embeddings.position_ids")
    return name.endswith((*constants, *(f"{decoder}.{leaf}" for decoder in DECODERS for leaf in ("weight", "bias"))))


def architecture(config: ModelConfig, head: str) -> str:
    """Hugging Face's class for a model folder."""
    known = {"encoder": "Model", "masked_lm": "ForMaskedLM", "pretraining": "ForPreTraining"}
    return CLASSES[config.model_type] + (known[head] if head in known else TASKS[head][1])


def task_head(architectures: Collection[str]) -> str | None:
    """The head for a task that classes of Hugging Face say a folder has; None where they name none."""
    return next((head for head, (_, end) in TASKS.items() if any(name.endswith(end) for name in architectures)), None)
