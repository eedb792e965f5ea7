"""Where every tensor of a checkpoint goes, and whether they make a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ms_plm import __version__
from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.convert.huggingface import huggingface_config
from ms_plm.convert.positions import STORED, check_stored, stored_reach
from ms_plm.convert.report import Report, Row
from ms_plm.convert.schemes import NO_PART, PROJECTIONS, WORDS, Place, named_roberta, places
from ms_plm.convert.settings import CLASSIFIER, OUT_PROJ, Choices, expected_shapes, head_shapes, settle
from ms_plm.convert.source import Source
from ms_plm.models.names import CLASSES, DECODERS

Places = dict[str, Place]

_TASK_CLASSES = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")


@dataclass(frozen=True)
class Plan:
    """What will be written.

    Attributes:
        source: the checkpoint.
        config: of the new folder.
        architecture: class of transformers that its tensors make.
        names: source name -> (new name, whether it is transposed), of tensors that are kept.
        report: all but the result of reading back.
    """

    source: Source
    config: ModelConfig
    architecture: str
    names: Mapping[str, tuple[str, bool]]
    report: Report


def make_plan(source: Source, choices: Choices, huggingface: bool = False) -> Plan:
    """Find the place of every tensor and check that they make a model.

    Args:
        source: the checkpoint.
        choices: of the user.
        huggingface: leave out what transformers does not know.

    Raises:
        UserError: encoder tensors are missing, unexpected or of another shape than the configuration says (all are
            listed); the family is another than was said; a decoder is not tied; transformers cannot express it.
    """
    found = _one_decoder_bias(places(source.scheme, source.tensors, str(source.path)))
    found |= _tinybert_classifier(found)
    shapes = _shapes(found, source)
    stored = [source.tensors[name] for name in source.tensors if name.endswith(STORED)][:1]
    reach = stored_reach(stored[0]) if stored else None
    roberta = named_roberta(source.scheme, source.tensors, str(source.path))
    where = str(source.config_path or source.path)
    settled = settle(source.config, shapes, source.scheme, choices, where, reach, roberta)
    config = settled.config
    if stored and config.position_embedding_type == "functional_relative":
        check_stored(stored[0], config, str(source.path))
    _check(config, shapes, found, source)
    found |= _incomplete_heads(config, shapes, found) | _tied(found, source)
    if huggingface:
        found |= _left_out_for_transformers(found)
    targets = {place.target for place in found.values() if place.target}
    architecture = _architecture(config, targets, source.config or {})
    if huggingface:
        huggingface_config(config, architecture)  # raises, before anything is written
    prefix = "" if architecture.endswith("Model") else f"{config.model_type}."
    names = {
        name: (_with_prefix(place.target, prefix), place.transposed) for name, place in found.items() if place.target
    }
    report = Report(
        source=str(source.path),
        format=source.format,
        names=source.scheme.name,
        files=source.hashes(),
        model=_line(config),
        rows=[_row(source, name, place, names.get(name)) for name, place in found.items()],
        absent=[head for head, wanted in head_shapes(config).items() if not wanted.keys() <= targets],
        unexpected=[name for name, place in found.items() if place.problem],
        notes=[*settled.notes, *_left_out_keys(source)],
    )
    config = config.model_copy(update={"provenance": _provenance(report, config)})
    return Plan(source, config, architecture, names, report)


def _one_decoder_bias(found: Places) -> Places:
    """Files that have the prediction bias under the decoder's name alone have it under its own."""
    targets = {place.target for place in found.values()}
    renamed = {f"{decoder}.bias": bias for decoder, bias in DECODERS.items() if bias not in targets}
    return {name: Place(renamed[place.target]) if place.target in renamed else place for name, place in found.items()}


def _tinybert_classifier(found: Places) -> Places:
    """What stands beside projections is TinyBERT's, whose logits are `W relu(pooled) + b`; elsewhere they are not."""
    if not any((place.target or "").startswith(PROJECTIONS) for place in found.values()):
        return {}
    reason = "TinyBERT's classifier reads ReLU of the pooled output, which classifiers here and in transformers do not"
    return {
        name: Place(reason=reason, problem=True)
        for name, place in found.items()
        if (place.target or "").startswith("classifier.")
    }


def _shapes(found: Places, source: Source) -> dict[str, tuple[int, ...]]:
    """Shapes under the new names, as they will be."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, place in found.items():
        if place.target is None:
            continue
        if place.target in shapes:
            raise UserError(f"{source.path}: two tensors are {place.target}; one of them is {name}.")
        shape = source.tensors.forms[name].shape
        shapes[place.target] = shape[::-1] if place.transposed else shape
    return shapes


def _check(config: ModelConfig, shapes: Mapping[str, tuple], found: Places, source: Source) -> None:
    """The encoder's tensors match exactly, and heads have the shapes that follow from the configuration."""
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in shapes]
    unexpected = [name for name, place in found.items() if place.reason == NO_PART]
    unexpected += [
        name
        for name, place in found.items()
        if place.target and place.target.startswith(("embeddings.", "encoder.")) and place.target not in expected
    ]
    for wanted in head_shapes(config).values():
        expected |= wanted
    for head in (CLASSIFIER, OUT_PROJ, "qa_outputs"):
        rows = shapes.get(f"{head}.weight", (0,))[0]
        expected |= {f"{head}.weight": (rows, config.hidden_size), f"{head}.bias": (rows,)}
    wrong = [
        f"{name} is {list(shapes[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if not (missing or unexpected or wrong):
        return
    parts = [f"{source.path}: the tensors do not make a {config.model_type} encoder of this configuration."]
    for title, names in (("Missing", missing), ("Unexpected", unexpected), ("Of another shape", wrong)):
        if names:
            parts.append(f"{title}: {', '.join(names[:8])}{f' and {len(names) - 8} more' * (len(names) > 8)}.")
    if missing == ["embeddings.token_type_embeddings.weight"]:
        parts.append("NEZHA-Gen and other GPT checkpoints have no token types; they are not supported.")
    elif missing:
        parts.append("The file is incomplete, or the configuration is of another model (--config FILE).")
    raise UserError(" ".join(parts))


def _incomplete_heads(config: ModelConfig, shapes: Mapping[str, tuple], found: Places) -> Places:
    """Tensors of heads that lack others are of no use."""
    changed = {}
    for wanted in head_shapes(config).values():
        lacking = [name for name in wanted if name not in shapes]
        for name, place in found.items():
            if lacking and place.target in wanted:
                changed[name] = Place(reason=f"the head is not complete: {lacking[0]} is missing", problem=True)
    return changed


def _tied(found: Places, source: Source) -> Places:
    """The decoder's tensors, which repeat others.

    Raises:
        UserError: they do not: such a model is not supported.
    """
    names = {place.target: name for name, place in found.items() if place.target}
    changed = {}
    copies = {f"{decoder}.weight": WORDS for decoder in DECODERS}
    copies |= {f"{decoder}.bias": bias for decoder, bias in DECODERS.items()}
    for copy, original in copies.items():
        if copy in names and original in names:
            if not np.array_equal(source.tensors[names[copy]], source.tensors[names[original]], equal_nan=True):
                raise UserError(
                    f"{source.path}: {names[copy]} differs from {names[original]}; only tied decoders are supported."
                )
            changed[names[copy]] = Place(reason=f"the same as {original}, bit for bit")
    return changed


def _left_out_for_transformers(found: Places) -> Places:
    reasons = dict.fromkeys(PROJECTIONS, "of distillation; transformers has no place for it")
    if any((place.target or "").startswith(f"{OUT_PROJ}.") for place in found.values()):
        reasons["pooler."] = "RoBERTa's classifier has its own; transformers has no place for another one beside it"
    return {
        name: Place(reason=reason)
        for name, place in found.items()
        for start, reason in reasons.items()
        if (place.target or "").startswith(start)
    }


def _architecture(config: ModelConfig, targets: set[str], raw: Mapping[str, Any]) -> str:
    """The class of transformers whose tensors these are."""

    def has(start: str) -> bool:
        return any(target.startswith(start) for target in targets)

    family = CLASSES[config.model_type]
    if has("lm_head."):
        return f"{family}ForMaskedLM"
    if has("cls.predictions."):
        return family + ("ForPreTraining" if has("cls.seq_relationship.") and has("pooler.") else "ForMaskedLM")
    if has("cls.seq_relationship."):
        return f"{family}ForNextSentencePrediction"
    if has("classifier."):
        said = str((raw.get("architectures") or [""])[0])
        if has(f"{OUT_PROJ}."):
            return f"{family}ForSequenceClassification"
        on_pooled = "ForMultipleChoice" if family == "Roberta" else "ForSequenceClassification"
        default = on_pooled if has("pooler.") else "ForTokenClassification"
        return family + next((name for name in _TASK_CLASSES if said.endswith(name)), default)
    return family + ("ForQuestionAnswering" if has("qa_outputs.") else "Model")


def _with_prefix(target: str, prefix: str) -> str:
    return prefix + target if target.startswith(("embeddings.", "encoder.", "pooler.")) else target


def _row(source: Source, name: str, place: Place, new: tuple[str, bool] | None) -> Row:
    form = source.tensors.forms[name]
    if new is None:
        return Row(name, form.shape, form.dtype, "skipped", reason=place.reason)
    action = "transposed" if new[1] else "taken" if new[0] == name else "renamed"
    return Row(name, form.shape, form.dtype, action, new[0])


def _line(config: ModelConfig) -> str:
    positions = {
        "functional_relative": f"relative positions, alike beyond {config.max_relative_position}",
        "absolute": f"{config.max_position_embeddings} absolute positions",
    }.get(config.position_embedding_type, "no positions")
    return (
        f"{config.model_type}, {config.num_hidden_layers} layers x {config.hidden_size}, "
        f"{config.num_attention_heads} heads, intermediate {config.intermediate_size}, {config.hidden_act}, "
        f"{positions}, vocabulary {config.vocab_size}"
    )


def _left_out_keys(source: Source) -> list[str]:
    keys = sorted(set(source.config or {}) - set(ModelConfig.model_fields) - {"architectures", "use_relative_position"})
    keys = [key for key in keys if key != "pruned_heads" or not source.config[key]]
    return [f"not taken from {source.config_path.name}: {', '.join(keys)}"] if keys else []


def _provenance(report: Report, config: ModelConfig) -> dict[str, Any]:
    """Where the model comes from; what was recorded about the source stays below it."""
    made = {"files": report.files, "format": report.format, "names": report.names}
    parent = {"parent": config.provenance} if config.provenance else {}
    return {"converted_from": made, "by": f"ms_plm {__version__}", **parent}
