"""What is to be converted: weights, configuration and vocabulary, found in a folder or beside a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, sha256_file
from ms_plm.convert.containers import FORMATS, TENSORFLOW, Tensors, format_of, read_weights, unknown_content
from ms_plm.convert.schemes import Scheme, recognise
from ms_plm.tokenization.folder import VOCABULARIES

_INDEX = (".safetensors.index.json", ".bin.index.json")
_USUAL = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Source:
    """A checkpoint with what belongs to it.

    Attributes:
        path: of the weights, for messages.
        format: how the bytes are laid out.
        files: whose SHA-256 is recorded.
        tensors: original names to arrays.
        scheme: whose names they are.
        config: content of its configuration, None where there is none.
        config_path: where that stands.
        vocabulary: folder or file that `Tokenizer.load` reads, None where there is none.
    """

    path: Path
    format: str
    files: tuple[Path, ...]
    tensors: Tensors
    scheme: Scheme
    config: dict[str, Any] | None
    config_path: Path | None
    vocabulary: Path | None

    def hashes(self) -> dict[str, str]:
        """File name to SHA-256."""
        return {path.name: sha256_file(path) for path in self.files}


def open_source(path: str | Path, config: str | Path | None = None, vocabulary: str | Path | None = None) -> Source:
    """Find and open a checkpoint.

    Args:
        path: a folder, a weights file, or the prefix of a TensorFlow checkpoint.
        config: a JSON file to be used instead of the one beside the weights.
        vocabulary: a vocabulary file or tokenizer folder to be used instead of the one beside them.

    Raises:
        UserError: nothing to convert, or too much; a format or naming that is not known; an extra that is missing.
        DamagedFileError: cut or damaged.
    """
    path = Path(path).expanduser()
    file = _weights_in(_inner(path)) if path.is_dir() else _weights_file(path)
    format = format_of(file)
    if format is None:
        raise UserError(f"{file}: {unknown_content(file)}.")
    weights = read_weights(file, format)
    config_path = Path(config) if config else _configuration(file.parent)
    raw = read_json(config_path) if config_path else None
    if raw is not None and not isinstance(raw, dict):
        raise UserError(f"{config_path}: expected a JSON object, found {type(raw).__name__}.")
    if vocabulary is None and any((file.parent / name).is_file() for name in VOCABULARIES):
        vocabulary = file.parent
    scheme = recognise(weights.tensors, str(weights.path))
    place = Path(vocabulary).expanduser() if vocabulary else None
    return Source(weights.path, weights.format, weights.files, weights.tensors, scheme, raw, config_path, place)


def _inner(folder: Path) -> Path:
    """The folder of the model: in a run's folder `model`, in one of sentence-transformers what modules.json says."""
    if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        return folder / "model"
    modules = folder / "modules.json"
    if modules.is_file():
        listed = read_json(modules)
        for module in listed if isinstance(listed, list) else []:
            if str(module.get("type", "")).endswith(".Transformer") and (folder / module.get("path", "")).is_dir():
                return folder / module["path"]
    return folder


def _weights_in(folder: Path) -> Path:
    """The one weights file of a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    found: dict[str, list[Path]] = {}
    for path in files:
        text = path.suffix in (".json", ".txt", ".md", ".meta", ".py") and not path.name.endswith(_INDEX)
        if not text and (format := format_of(path)):
            found.setdefault(format, []).append(path)
    if not found:
        unknown = next((path for path in files if path.suffix in (".bin", ".safetensors", ".ckpt", ".h5")), None)
        hint = f" {unknown.name} {unknown_content(unknown)}." if unknown else ""
        raise UserError(f"{folder}: holds no checkpoint that can be converted.{hint}")
    several = found[next(format for format in FORMATS if format in found)]
    chosen = [path for path in several if path.name in _USUAL] or [p for p in several if p.name.endswith(_INDEX)]
    chosen = chosen or several
    if len(chosen) > 1:
        raise UserError(f"{folder}: holds several checkpoints ({', '.join(p.name for p in chosen)}); name one of them.")
    return chosen[0]


def _weights_file(path: Path) -> Path:
    """The file itself; for a TensorFlow checkpoint, named by its prefix or any of its files, the `.index`."""
    prefix = path.name.split(".data-")[0].removesuffix(".meta")
    index = path.with_name(f"{prefix}.index")
    if index.is_file() and format_of(index) == TENSORFLOW:
        return index
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder.")
    return path


def _configuration(folder: Path) -> Path | None:
    """config.json, bert_config.json, or the one other JSON file that gives a number of attention heads."""
    for name in ("config.json", "bert_config.json"):
        if (folder / name).is_file():
            return folder / name
    found = []
    for path in sorted(folder.glob("*config*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(content, dict) and "num_attention_heads" in content:
            found.append(path)
    return found[0] if len(found) == 1 else None
