"""Where every tensor of a checkpoint goes, and whether they make a whole model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ms_plm import __version__
from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.convert.containers import Form
from ms_plm.convert.huggingface import huggingface_config
from ms_plm.convert.positions import STORED, check_stored, stored_reach
from ms_plm.convert.report import Report, Row, folded
from ms_plm.convert.schemes import NO_PART, PROJECTIONS, WORDS, Place, named_roberta, places
from ms_plm.convert.settings import CLASSIFIER, OUT_PROJ, Choices, expected_shapes, head_shapes, settle
from ms_plm.convert.source import Source
from ms_plm.models.names import CLASSES, DECODERS, TASKS, task_head

Places = dict[str, Place]

_CLASSIFIERS = {
    "sequence_classification": "whole texts",
    "token_classification": "tags",
    "multiple_choice": "multiple choice",
}
"""What a classifier may be for, and how that is called in notes."""
_SEQUENCE_LAYERS = re.compile(r"(?:lstm|crf)\w*[./]", re.IGNORECASE)


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


def make_plan(source: Source, choices: Choices, huggingface: bool = False, report: Report | None = None) -> Plan:
    """Find the place of every tensor and check that they make a model.

    Args:
        source: the checkpoint.
        choices: of the user.
        huggingface: leave out what transformers does not know.
        report: is filled in, as far as the plan comes; a new one where none is given.

    Raises:
        UserError: encoder tensors are missing, unexpected or of another shape than the configuration says (all are
            listed); the family is another than was said; a decoder is not tied; a classifier works with layers that
            ms_plm does not have, or is not for what was said; transformers cannot express it.
    """
    report = Report(str(source.path)) if report is None else report
    report.source, report.format, report.names = str(source.path), source.format, source.scheme.name
    found = _one_decoder_bias(places(source.scheme, source.tensors, str(source.path)))
    found |= _tinybert_classifier(found)
    _record(report, found, source)
    _refuse_taggers(found, source)
    shapes = _shapes(found, source)
    stored = [source.tensors[name] for name in source.tensors if name.endswith(STORED)][:1]
    reach = stored_reach(stored[0]) if stored else None
    roberta = named_roberta(source.scheme, source.tensors, str(source.path))
    where = str(source.config_path or source.path)
    settled = settle(source.config, shapes, source.scheme, choices, where, reach, roberta)
    config = settled.config
    if stored and config.position_embedding_type == "functional_relative":
        check_stored(stored[0], config, str(source.path))
    _check(config, shapes, found, source, report)
    found |= _incomplete_heads(config, shapes, found) | _tied(found, source)
    if huggingface:
        found |= _left_out_for_transformers(found)
    targets = {place.target for place in found.values() if place.target}
    task, note = _task(config, targets, source, choices.head)
    architecture = _architecture(config, targets, task)
    if huggingface:
        huggingface_config(config, architecture)  # raises, before anything is written
    prefix = "" if architecture.endswith("Model") else f"{config.model_type}."
    names = {
        name: (_with_prefix(place.target, prefix), place.transposed) for name, place in found.items() if place.target
    }
    _record(report, found, source, prefix)
    report.files, report.model = source.hashes(), _line(config)
    report.absent = [head for head, wanted in head_shapes(config).items() if not wanted.keys() <= targets]
    report.notes += [*settled.notes, *note, *_left_out_keys(source)]
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


def _refuse_taggers(found: Places, source: Source) -> None:
    """A classifier that was trained with an LSTM before it or a CRF behind it gives other tags without them."""
    layers = [name for name, place in found.items() if place.problem and _SEQUENCE_LAYERS.search(name)]
    if layers and any((place.target or "").startswith(f"{CLASSIFIER}.") for place in found.values()):
        raise UserError(
            f"{source.path}: its classifier works together with {', '.join(folded(layers))}. ms_plm has neither LSTM "
            "nor CRF, and without them it would give other tags. To use the encoder, save it without these tensors and "
            "without the classifier, and fine-tune it with ms_plm."
        )


def _check(config: ModelConfig, shapes: Mapping[str, tuple], found: Places, source: Source, report: Report) -> None:
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
    report.missing, report.unexpected = missing, list(dict.fromkeys([*report.unexpected, *unexpected]))
    parts = [f"{source.path}: the tensors do not make a {config.model_type} encoder of this configuration."]
    for title, names in (("Missing", missing), ("Unexpected", unexpected), ("Of another shape", wrong)):
        if names:
            parts.append(f"{title}: {', '.join(folded(names))}.")
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


def _has(targets: set[str], start: str) -> bool:
    return any(target.startswith(start) for target in targets)


def _task(config: ModelConfig, targets: set[str], source: Source, chosen: str | None) -> tuple[str | None, list[str]]:
    """What the classifier is for, and a note where that was assumed.

    It is what the user says, else what the configuration says, else the most usual that the tensors allow. None: there
    is no classifier, or it stands beside heads of pretraining and nobody asked for it.
    """
    possible = _possible_tasks(config, targets)
    if chosen:
        if not possible:
            raise UserError(f"{source.path}: --head {chosen}: no classifier can be taken from it; leave --head out.")
        if chosen not in possible:
            raise UserError(
                f"{source.path}: --head {chosen}: the classifier's tensors are those of {' or '.join(possible)}."
            )
        return chosen, []
    if not possible or _has(targets, "cls.") or _has(targets, "lm_head."):
        return None, []
    said = task_head((source.config or {}).get("architectures") or ())
    if said in _CLASSIFIERS and not _has(targets, f"{OUT_PROJ}."):
        return said, []
    usual, *others = possible
    hints = [f"for {_CLASSIFIERS[task]}: --head {task}" for task in others]
    return usual, [f"classifier taken as one of {_CLASSIFIERS[usual]}; {'; '.join(hints)}"] if hints else []


def _possible_tasks(config: ModelConfig, targets: set[str]) -> tuple[str, ...]:
    """What a classifier with these tensors may be for, the most usual first."""
    if not _has(targets, f"{CLASSIFIER}."):
        return ()
    if _has(targets, f"{OUT_PROJ}."):
        return ("sequence_classification",)
    if not _has(targets, "pooler."):
        return ("token_classification",)
    if config.model_type == "roberta":
        return ("multiple_choice", "token_classification")
    return tuple(_CLASSIFIERS)


def _architecture(config: ModelConfig, targets: set[str], task: str | None) -> str:
    """The class of transformers whose tensors these are."""
    family = CLASSES[config.model_type]
    if task:
        return family + TASKS[task][1]
    if _has(targets, "lm_head."):
        return f"{family}ForMaskedLM"
    if _has(targets, "cls.predictions."):
        whole = _has(targets, "cls.seq_relationship.") and _has(targets, "pooler.")
        return family + ("ForPreTraining" if whole else "ForMaskedLM")
    if _has(targets, "cls.seq_relationship."):
        return f"{family}ForNextSentencePrediction"
    return family + ("ForQuestionAnswering" if _has(targets, "qa_outputs.") else "Model")


def _with_prefix(target: str, prefix: str) -> str:
    return prefix + target if target.startswith(("embeddings.", "encoder.", "pooler.")) else target


def _record(report: Report, found: Places, source: Source, prefix: str = "") -> None:
    """Write down the way of every tensor."""
    report.rows = [_row(name, source.tensors.forms[name], place, prefix) for name, place in found.items()]
    report.unexpected = [name for name, place in found.items() if place.problem]


def _row(name: str, form: Form, place: Place, prefix: str) -> Row:
    if place.target is None:
        return Row(name, form.shape, form.dtype, "skipped", reason=place.reason)
    target = _with_prefix(place.target, prefix)
    action = "transposed" if place.transposed else "taken" if target == name else "renamed"
    return Row(name, form.shape, form.dtype, action, target)


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
