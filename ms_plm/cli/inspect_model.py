"""`ms-plm inspect` for models: folders, checkpoints, runs, MindIR files."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.config.model import ModelConfig

PARTS = {
    "embeddings": "embeddings.",
    "layers": "encoder.layer.",
    "pooler": "pooler.",
    "masked-LM head": ("cls.predictions.", "lm_head."),
    "next-sentence head": "cls.seq_relationship.",
    "classifier": "classifier.",
    "answer head": "qa_outputs.",
    "projections": "fit_dense",
}
"""Part -> how its tensors begin, after the family's prefix."""


@dataclass(frozen=True)
class TensorSummary:
    """Size, type and health of a tensor."""

    count: int
    bytes: int
    dtype: str
    finite: bool

    @classmethod
    def of(cls, array: np.ndarray) -> TensorSummary:
        """Look at an array."""
        return cls(array.size, array.nbytes, str(array.dtype), bool(np.isfinite(array).all()))


def model_folder(path: Path, args: argparse.Namespace) -> int:
    """Configuration, parameters by part, and what is missing, foreign or not finite."""
    from ms_plm.tokenization import Tokenizer

    config, tokenizer = ModelConfig.load(path), Tokenizer.load(path)
    print(f"model folder {path}")
    for line in _describe(config):
        print(f"  {line}")
    padded = f" (the embedding table has {config.vocab_size} rows)" if tokenizer.vocab_size < config.vocab_size else ""
    kind = "byte-level BPE" if tokenizer.byte_level else "lower-cased" if tokenizer.lower_case else "cased"
    print(f"  vocabulary: {tokenizer.vocab_size}{padded}, {kind}")
    if config.provenance:
        print(f"  provenance: {json.dumps(config.provenance, ensure_ascii=False)}")
    tensors = _read_tensors(path / "model.safetensors")
    print(_parts_table(tensors))
    if heads := sorted({name.rsplit(".", 1)[0] for name in _foreign(config, tensors, heads=True)}):
        print(f"  heads that ms_plm does not use: {_some(heads)}")
    problems = _problems(config, tensors)
    if tokenizer.vocab_size > config.vocab_size:
        problems.append(f"the vocabulary has {tokenizer.vocab_size} entries, but vocab_size is {config.vocab_size}")
    for problem in problems:
        print(f"  WRONG: {problem}")
    return 1 if problems else 0


def _describe(config: ModelConfig) -> list[str]:
    relative = config.position_embedding_type == "functional_relative"
    reach = f"alike beyond {config.max_relative_position}, any length"
    return [
        f"{config.model_type}: {config.num_hidden_layers} layers x {config.hidden_size}, "
        f"{config.num_attention_heads} heads of {config.attention_head_size}, "
        f"intermediate {config.intermediate_size}, {config.hidden_act}",
        f"positions: {config.position_embedding_type}, "
        + (reach if relative else f"at most {config.longest_input or 'any number'}"),
    ]


def _read_tensors(path: Path) -> dict[str, TensorSummary]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: TensorSummary.of(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise DamagedFileError(
            f"{path}: cannot be read as safetensors ({error}). The file is cut or damaged; copy it again."
        ) from error


def _parts_table(tensors: Mapping[str, TensorSummary]) -> str:
    from ms_plm.models.names import encoder_prefix

    prefix = encoder_prefix(tensors)
    rows: dict[str, list[TensorSummary]] = {part: [] for part in (*PARTS, "other")}
    for name, tensor in tensors.items():
        short = name.removeprefix(prefix)
        rows[next((part for part, start in PARTS.items() if short.startswith(start)), "other")].append(tensor)
    lines = [f"  {'part':20}{'tensors':>9}{'parameters':>14}{'MB':>10}  types"]
    for part, items in (*rows.items(), ("all", list(tensors.values()))):
        if items:
            types = " ".join(sorted({item.dtype for item in items}))
            size = sum(item.bytes for item in items) / 1e6
            lines.append(f"  {part:20}{len(items):>9}{sum(i.count for i in items):>14,}{size:>10.2f}  {types}")
    return "\n".join(lines)


def _problems(config: ModelConfig, tensors: Mapping[str, TensorSummary]) -> list[str]:
    from ms_plm.models.names import encoder_prefix, modern_name, name_table

    table = name_table(config, encoder_prefix(tensors))
    names = {modern_name(name) for name in tensors}
    encoder = {theirs for ours, theirs in table.items() if ours.startswith("encoder.")}
    missing = sorted(encoder - names)
    foreign = _foreign(config, tensors, heads=False)
    broken = sorted(name for name, tensor in tensors.items() if not tensor.finite)
    titles = (("missing", missing), ("not of this family", foreign), ("holds nan or infinite values", broken))
    return [f"{title}: {_some(found)}" for title, found in titles if found]


def _foreign(config: ModelConfig, tensors: Mapping[str, TensorSummary], heads: bool) -> list[str]:
    """Tensors that have no place in a model of this configuration: those of heads, or those in the encoder."""
    from ms_plm.models.names import (
        TASKS,
        encoder_prefix,
        in_encoder,
        is_redundant,
        modern_name,
        name_table,
        projection_names,
    )

    prefix = encoder_prefix(tensors)
    known = {name for head in TASKS for name in name_table(config, prefix, head).values()}
    known |= set(projection_names(config).values())
    unknown = {modern_name(name) for name in tensors} - known
    return sorted(name for name in unknown if not is_redundant(name) and in_encoder(name, prefix) != heads)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def checkpoint(path: Path, args: argparse.Namespace) -> int:
    """What trainer.json says, the training state, and the model folder; every hash."""
    from ms_plm.training.checkpoint import STATE, Checkpoint

    if args.no_verify:
        from ms_plm.common.files import read_json

        record = read_json(path / "trainer.json")
    else:
        record = Checkpoint.open(path).record
    verified = "hashes not verified" if args.no_verify else f"every SHA-256 of {len(record['files'])} files is right"
    print(f"checkpoint {path}: step {record['step']}, {verified}")
    for key, value in record.items():
        if key not in ("files", "digest", "step"):
            print(f"  {key}: {_shortened(value)}")
    if (path / STATE).is_file():
        state = _read_tensors(path / STATE)
        groups: dict[str, list[TensorSummary]] = {}
        for name, tensor in state.items():
            groups.setdefault(name.split(".", 1)[0], []).append(tensor)
        size = sum(tensor.bytes for tensor in state.values()) / 1e6
        kinds = ", ".join(f"{name} x {len(items)}" for name, items in groups.items())
        print(f"  {STATE}: {len(state)} tensors, {size:.2f} MB: {kinds}")
    return model_folder(path, args)


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def run_folder(path: Path, args: argparse.Namespace) -> int:
    """The run's checkpoints, each verified, and its result. Given `checkpoints/`, those alone."""
    from ms_plm.training.checkpoint import Checkpoint

    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    damaged = 0
    steps = sorted(item for item in folder.glob("step-*") if item.is_dir())
    print(f"run folder {path}: {len(steps)} checkpoints")
    for item in steps:
        try:
            record = Checkpoint.open(item).record
        except DamagedFileError as error:
            damaged += 1
            print(f"  DAMAGED: {error}")
            continue
        shown = {key: value for key, value in record.items() if isinstance(value, (int, float)) and key != "step"}
        print(f"  {item.name}: step {record['step']}, " + ", ".join(f"{k} {_number(v)}" for k, v in shown.items()))
    if (path / "model" / "config.json").is_file():
        damaged += model_folder(path / "model", args)
    else:
        print("  no model/ yet: the run is not finished")
    return 1 if damaged else 0


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}" if math.isfinite(value) else str(value)


def mindir(path: Path, args: argparse.Namespace) -> int:
    """Inputs, outputs and sizes; what the report beside the file says."""
    from ms_plm.common.files import read_json, sha256_file
    from ms_plm.export.signature import read_signature

    signature = read_signature(path)
    print(f"MindIR {path}: {path.stat().st_size / 1e6:.2f} MB, made by MindSpore {signature.version}")
    print(f"  {signature.parameters} parameters, {signature.parameter_bytes / 1e6:.2f} MB")
    name = path.name.removesuffix(".mindir").removesuffix("_graph")
    beside = next((p for p in (path.with_name(f"{n}.mindir.json") for n in (path.stem, name)) if p.is_file()), None)
    report = read_json(beside) if beside else {}
    for title, found in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        names = [item["name"] for item in report.get(title, [])]
        for number, facts in enumerate(found):
            facts = replace(facts, name=names[number]) if len(names) == len(found) else facts
            print(f"  {title[:-1]} {number}: {facts}")
    if not report:
        return 0
    print(f"  from {report['model']}, head {report['head']}; largest difference {report['largest_difference']:.1e}")
    wrong = [
        name
        for name, digest in report["files"].items()
        if not (path.parent / name).is_file() or sha256_file(path.parent / name) != digest
    ]
    if wrong and not args.no_verify:
        raise DamagedFileError(f"{path.parent / wrong[0]}: not what was exported (SHA-256 differs from {beside.name}).")
    return 0
