"""A checkpoint's configuration: what its JSON says, what its shapes say, and what neither does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.convert.schemes import FAMILIES, POSITIONS, WORDS, Scheme

Shapes = Mapping[str, tuple[int, ...]]

_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "gelu_python": "gelu"}
"""Other names of the same functions in transformers."""
_TYPES = "embeddings.token_type_embeddings.weight"
CLASSIFIER, OUT_PROJ = "classifier", "classifier.out_proj"
"""A classifier's last layer; the second is that of RoBERTa's for sequences."""


@dataclass
class Choices:
    """What the user said, where the source does not tell or tells wrongly.

    Attributes:
        family: bert | nezha | roberta.
        hidden_act: gelu | gelu_new | relu.
        head: what a classifier is for: sequence_classification | token_classification | multiple_choice.
    """

    family: str | None = None
    hidden_act: str | None = None
    head: str | None = None


@dataclass
class Settled:
    """A configuration, and what had to be assumed for it."""

    config: ModelConfig
    notes: list[str] = field(default_factory=list)


def settle(
    raw: Mapping[str, Any] | None,
    shapes: Shapes,
    scheme: Scheme,
    choices: Choices,
    where: str,
    reach: int | None = None,
    roberta: bool | None = None,
) -> Settled:
    """The configuration of a checkpoint.

    Args:
        raw: content of its config.json or bert_config.json; None: there is none.
        shapes: of its tensors under their new names.
        scheme: whose names they had.
        choices: of the user.
        where: the configuration's file, or the checkpoint's where there is none; for messages.
        reach: of relative positions that are stored in the checkpoint.
        roberta: whether its names are RoBERTa's; None: they do not tell.

    Raises:
        UserError: the configuration and the shapes contradict each other (all contradictions are named), or something
            is said by neither.
    """
    values, notes = dict(raw or {}), []
    values["model_type"] = _family(values, shapes, choices.family, where, roberta)
    relative = values["model_type"] == "nezha"
    if relative and values.get("position_embedding_type") == "absolute" and POSITIONS not in shapes:
        del values["position_embedding_type"]  # transformers writes its default even where nothing reads it
    _reconcile(values, _facts(shapes), where)
    _need_heads(values, shapes, where)
    _unprune(values)
    if relative and "max_relative_position" not in values:
        values["max_relative_position"], note = _reach(values, reach)
        notes.append(f"max_relative_position is not said anywhere: {note}")
    if "layer_norm_eps" not in values and scheme.layer_norm_eps != 1e-12:
        values["layer_norm_eps"] = scheme.layer_norm_eps
        notes.append(f"layer_norm_eps is not said anywhere: {scheme.layer_norm_eps:g}, what its framework takes")
    _labels(values, shapes, notes, where)
    if relative and not values.get("provenance") and "model_type" not in (raw or {}) and not scheme.tanh_gelu:
        notes.append(
            "the published NEZHA was trained with the tanh GELU, its PyTorch code computes with erf, as does this "
            "folder; --hidden-act gelu_new takes the former"
        )
    values["hidden_act"] = _activation(values.get("hidden_act", "gelu"), scheme, choices.hidden_act, notes)
    return Settled(ModelConfig.from_huggingface(values, where), notes)


def _family(
    values: Mapping[str, Any], shapes: Shapes, chosen: str | None, where: str, roberta: bool | None = None
) -> str:
    """RoBERTa's names decide, then the position table; what is said otherwise is an error."""
    said = chosen or values.get("model_type")
    if not said and (values.get("use_relative_position") or "max_relative_position" in values):
        said = "nezha"
    if values.get("position_embedding_type") == "none":
        return said or ("roberta" if roberta else "bert")
    found = "bert" if POSITIONS in shapes else "nezha"
    if roberta or (roberta is None and said == "roberta" and found == "bert"):  # names of a base model tell neither
        found = "roberta"
    if said and said != found and said in FAMILIES:
        what = {
            "nezha": "This is a NEZHA checkpoint: it has no position embeddings",
            "bert": "This is a BERT checkpoint: "
            + ("no tensor is called roberta..." if said == "roberta" else "it has position embeddings"),
            "roberta": "This is a RoBERTa checkpoint: its tensors are called roberta...",
        }[found]
        source = f"--family says {chosen}" if chosen else f"{where} says {said}"
        raise UserError(f"{what}, but {source}. Convert it with `--family {found}`.")
    return said or found


def _facts(shapes: Shapes) -> dict[str, tuple[int, str]]:
    """Sizes that the shapes tell: key of config.json -> value and the tensor that tells it."""
    layers = sorted({int(found[1]) for name in shapes if (found := re.match(r"encoder\.layer\.(\d+)\.", name))})
    facts = {"num_hidden_layers": (len(layers), "the number of layers in the file")}
    for key, name, axis in (
        ("vocab_size", WORDS, 0),
        ("hidden_size", WORDS, 1),
        ("type_vocab_size", _TYPES, 0),
        ("max_position_embeddings", POSITIONS, 0),
        ("intermediate_size", "encoder.layer.0.intermediate.dense.weight", 0),
    ):
        if len(shapes.get(name, ())) == 2:
            facts[key] = (shapes[name][axis], f"{name} {list(shapes[name])}")
    return facts


def _reconcile(values: dict[str, Any], facts: Mapping[str, tuple[int, str]], where: str) -> None:
    """Fill in what the shapes tell; raise where both say something and it differs."""
    wrong = []
    for key, (found, tensor) in facts.items():
        free = key == "intermediate_size" and values.get("layer_intermediate")
        if values.get(key) is None:
            values[key] = found
        elif values[key] != found and not free:
            wrong.append(f"{key} is {values[key]}, but {tensor} gives {found}")
    if wrong:
        raise UserError(
            f"{where}: does not fit the tensors: {'; '.join(wrong)}. Use the configuration that belongs to this "
            "checkpoint (--config FILE)."
        )


def _need_heads(values: Mapping[str, Any], shapes: Shapes, where: str) -> None:
    if values.get("num_attention_heads"):
        return
    query = shapes.get("encoder.layer.0.attention.self.query.weight", ("?", "?"))
    raise UserError(
        f"{where}: num_attention_heads is not said anywhere, and no shape tells it (the query weights are "
        f'{list(query)}). Write {{"num_attention_heads": N}} into a JSON file and give it with --config; sizes that '
        "the tensors tell may be left out there. Published models have heads of 64 (base: 12), TinyBERT 12 heads."
    )


def _reach(values: Mapping[str, Any], stored: int | None) -> tuple[int, str]:
    """The reach of relative positions where the configuration does not say, and where it is from."""
    if stored is not None:
        return stored, f"{stored}, as the stored positions show"
    found, language = (127, "English") if values["vocab_size"] == 28996 else (64, "Chinese")
    return found, f"{found}, as in the published {language} models; give another with --config"


def _unprune(values: dict[str, Any]) -> None:
    """A pruned model of transformers has fewer heads in some layers."""
    if pruned := {int(layer): heads for layer, heads in (values.get("pruned_heads") or {}).items() if heads}:
        full, layers = values["num_attention_heads"], values["num_hidden_layers"]
        values["head_size"] = values["hidden_size"] // full
        values["layer_heads"] = [full - len(pruned.get(layer, ())) for layer in range(layers)]


def _labels(values: dict[str, Any], shapes: Shapes, notes: list[str], where: str) -> None:
    """A classifier's labels: as many as it has rows; transformers takes two where nothing is said."""
    name = next((f"{head}.weight" for head in (CLASSIFIER, OUT_PROJ) if f"{head}.weight" in shapes), None)
    shape = shapes.get(name, ())
    if len(shape) != 2:
        return
    key = "id2label" if values.get("id2label") is not None else "label2id"
    said = values.get(key)
    if said is not None and len(said) != shape[0]:
        raise UserError(
            f"{where}: {key} has {len(said)} entries, but {name} {list(shape)} has {shape[0]} rows. Use "
            "the configuration that belongs to this checkpoint (--config FILE)."
        )
    if said is None:
        names = [f"LABEL_{number}" for number in range(shape[0])]
        values["id2label"] = dict(enumerate(names))
        values["label2id"] = {name: number for number, name in enumerate(names)}
        notes.append(f"what the classifier's {shape[0]} labels mean is not said anywhere: {', '.join(names)}")


def _activation(said: str, scheme: Scheme, chosen: str | None, notes: list[str]) -> str:
    if chosen:
        return chosen
    if said == "gelu" and scheme.tanh_gelu:
        notes.append(f"hidden_act: gelu means the tanh form in {scheme.name} code, so it becomes gelu_new")
        return "gelu_new"
    return _ACTIVATIONS.get(said, said) if isinstance(said, str) else said


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of an encoder's tensors under Hugging Face names without prefix."""
    hidden = config.hidden_size
    shapes = {WORDS: (config.vocab_size, hidden), _TYPES: (config.type_vocab_size, hidden)}
    if config.position_embedding_type == "absolute":
        shapes[POSITIONS] = (config.max_position_embeddings, hidden)

    def add(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    add("embeddings.LayerNorm", hidden)
    for layer in range(config.num_hidden_layers):
        width, inner = config.heads(layer) * config.attention_head_size, config.intermediate(layer)
        start = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            add(f"{start}attention.self.{part}", width, hidden)
        add(f"{start}attention.output.dense", hidden, width)
        add(f"{start}intermediate.dense", inner, hidden)
        add(f"{start}output.dense", hidden, inner)
        for part in ("attention.output", "output"):
            add(f"{start}{part}.LayerNorm", hidden)
    return shapes


def head_shapes(config: ModelConfig) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of the tensors of the heads whose sizes follow from the configuration, by head."""
    hidden, vocabulary = config.hidden_size, config.vocab_size
    pooler = {"pooler.dense.weight": (hidden, hidden), "pooler.dense.bias": (hidden,)}
    if config.model_type == "roberta":
        return {
            "pooler": pooler,
            "masked-LM head": {
                "lm_head.bias": (vocabulary,),
                "lm_head.dense.weight": (hidden, hidden),
                "lm_head.dense.bias": (hidden,),
                "lm_head.layer_norm.weight": (hidden,),
                "lm_head.layer_norm.bias": (hidden,),
            },
            "classifier for sequences": {
                "classifier.dense.weight": (hidden, hidden),
                "classifier.dense.bias": (hidden,),
            },
        }
    return {
        "pooler": pooler,
        "masked-LM head": {
            "cls.predictions.bias": (vocabulary,),
            "cls.predictions.transform.dense.weight": (hidden, hidden),
            "cls.predictions.transform.dense.bias": (hidden,),
            "cls.predictions.transform.LayerNorm.weight": (hidden,),
            "cls.predictions.transform.LayerNorm.bias": (hidden,),
        },
        "next-sentence head": {"cls.seq_relationship.weight": (2, hidden), "cls.seq_relationship.bias": (2,)},
    }
