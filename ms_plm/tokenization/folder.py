"""A model folder's tokenizer files, as Hugging Face has them: of WordPiece, or of RoBERTa's byte-level BPE."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json
from ms_plm.tokenization.bytelevel import ByteLevelOptions
from ms_plm.tokenization.vocabulary import Options, check_special_tokens, read_vocabulary

AnyOptions = Options | ByteLevelOptions
VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.json")
"""Files that hold one, the first that is there being read (vocab.json with merges.txt)."""
_MERGES_HEAD = "#version"


def read_folder(path: Path) -> tuple[list[str], AnyOptions, bool]:
    """Vocabulary and options of a model folder, or of one of `VOCABULARIES` (a vocab.txt may have any name).

    Returns:
        The entries, the options, and whether a file (not a default) said if text is lower-cased.

    Raises:
        UserError: nothing to read, a wrong shape, or a tokenizer that is neither WordPiece nor RoBERTa's BPE.
    """
    if path.is_file() and path.suffix != ".json":
        entries, options, told = read_vocabulary(path), Options(), False
    else:
        found = path if path.is_file() else next((path / n for n in VOCABULARIES if (path / n).is_file()), None)
        if found is None:
            raise UserError(
                f"{path}: no vocabulary here. Expected a vocab.txt, or a folder with vocab.txt, vocab.json and "
                "merges.txt, or tokenizer.json."
            )
        if found.suffix == ".txt":
            entries, options, told = read_vocabulary(found), Options(), False
        else:
            entries, options = _read_library_file(found) if found.name != "vocab.json" else _read_pair(found)
            told = True
        for name in ("special_tokens_map.json", "tokenizer_config.json"):  # where both speak, the second
            file = found.parent / name
            if file.is_file():
                options, told_there = _with_config(options, read_json(file), file)
                told = told or told_there
    check_special_tokens(entries, options, path)
    return entries, options, told


def _with_config(options: AnyOptions, config: Any, path: Path) -> tuple[AnyOptions, bool]:
    """`options` with what a tokenizer_config.json or special_tokens_map.json says instead."""
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(config).__name__}.")
    changes: dict[str, Any] = {}
    for name in (field.name for field in fields(options) if field.name != "merges"):
        value = config.get(name)
        if value is None:
            continue
        if name.endswith("_token"):
            value = value.get("content") if isinstance(value, dict) else value
            if not isinstance(value, str) or not value:
                raise UserError(f"{path}, {name}: expected the token as text, found {config[name]!r}.")
        elif not isinstance(value, bool):
            raise UserError(f"{path}, {name}: expected true or false, found {value!r}.")
        changes[name] = value
    return replace(options, **changes), "do_lower_case" in changes


def _read_library_file(path: Path) -> tuple[list[str], AnyOptions]:
    """Vocabulary and options of a tokenizer.json of the tokenizers library."""
    content = read_json(path)
    model = content.get("model", {}) if isinstance(content, dict) else {}
    vocabulary, kind = model.get("vocab"), model.get("type")
    if kind not in ("WordPiece", "BPE") or not isinstance(vocabulary, dict):
        raise UserError(
            f"{path}: the tokenizer's model is {kind!r}; expected 'WordPiece' or 'BPE'. "
            "Give the folder of a BERT, NEZHA or RoBERTa model."
        )
    read = _word_piece if kind == "WordPiece" else _byte_level
    return _in_order(vocabulary, path), read(content, model, path)


def _in_order(vocabulary: Mapping[str, int], path: Path) -> list[str]:
    """Entries by their ids."""
    entries = sorted(vocabulary, key=vocabulary.get)
    if not entries or [vocabulary[entry] for entry in entries] != list(range(len(entries))):
        raise UserError(f"{path}: the ids of the vocabulary are not 0 to {len(entries) - 1}, each once.")
    return entries


def _word_piece(content: Mapping[str, Any], model: Mapping[str, Any], path: Path) -> Options:
    """Options of a tokenizer.json with a WordPiece model."""
    normalizer = content.get("normalizer") or {}
    if normalizer.get("type") not in (None, "BertNormalizer"):
        raise UserError(
            f"{path}: the normalizer is {normalizer['type']!r}; expected 'BertNormalizer'. "
            "Give the folder with the model's vocab.txt instead."
        )
    return Options(
        do_lower_case=bool(normalizer.get("lowercase", True)),
        strip_accents=normalizer.get("strip_accents"),
        tokenize_chinese_chars=bool(normalizer.get("handle_chinese_chars", True)),
        unk_token=model.get("unk_token") or "[UNK]",
    )


def _byte_level(content: Mapping[str, Any], model: Mapping[str, Any], path: Path) -> ByteLevelOptions:
    """Options of a tokenizer.json with a BPE model, which must be that of RoBERTa in all its parts."""
    parts = {name: content.get(name) or {} for name in ("normalizer", "pre_tokenizer", "post_processor")}
    wanted = {"normalizer": None, "pre_tokenizer": "ByteLevel", "post_processor": "RobertaProcessing"}
    for name, kind in wanted.items():
        if (found := parts[name].get("type")) != kind:
            raise UserError(
                f"{path}: {name} is {found!r}; expected {kind!r}, as RoBERTa's byte-level BPE has it. Give the folder "
                "of a RoBERTa model, or one with vocab.json and merges.txt."
            )
    roles = {f"{role}_token": parts["post_processor"][role][0] for role in ("cls", "sep")}
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges", ())]
    return ByteLevelOptions(
        _merges(pairs, path), add_prefix_space=bool(parts["pre_tokenizer"].get("add_prefix_space")), **roles
    )


def _read_pair(path: Path) -> tuple[list[str], ByteLevelOptions]:
    """Vocabulary and options of a vocab.json with the merges.txt beside it."""
    vocabulary, merges = read_json(path), path.with_name("merges.txt")
    if not isinstance(vocabulary, dict):
        raise UserError(f"{path}: expected a JSON object of entries and ids, found {type(vocabulary).__name__}.")
    if not merges.is_file():
        raise UserError(f"{path}: merges.txt is not beside it. Copy both files of the byte-level BPE into one folder.")
    lines = merges.read_text(encoding="utf-8").split("\n")
    pairs = [line.removesuffix("\r").split(" ") for line in lines if line and not line.startswith(_MERGES_HEAD)]
    return _in_order(vocabulary, path), ByteLevelOptions(_merges(pairs, merges))


def _merges(pairs: Sequence[Sequence[str]], path: Path) -> tuple[tuple[str, str], ...]:
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise UserError(f"{path}: merge {number}: expected two entries, found {' '.join(pair)!r}.")
    return tuple((first, second) for first, second in pairs)


def write_folder(folder: Path, entries: Sequence[str], options: AnyOptions) -> None:
    """Write the vocabulary, tokenizer_config.json and special_tokens_map.json as Hugging Face reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(options, ByteLevelOptions):
        lines = (f"{_MERGES_HEAD}: 0.2", *map(" ".join, options.merges))
        files = {
            "vocab.json": _json({entry: number for number, entry in enumerate(entries)}),
            "merges.txt": "".join(line + "\n" for line in lines),
        }
        config = {"add_prefix_space": options.add_prefix_space, "trim_offsets": True}
    else:
        files = {"vocab.txt": "".join(entry + "\n" for entry in entries)}
        config = {key: value for key, value in asdict(options).items() if not key.endswith("_token")}
    kind = "RobertaTokenizer" if isinstance(options, ByteLevelOptions) else "BertTokenizer"
    files["tokenizer_config.json"] = _json({**config, "tokenizer_class": kind, **options.special_tokens})
    files["special_tokens_map.json"] = _json(options.special_tokens)
    for name, text in files.items():
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        try:
            temporary.write_bytes(text.encode("utf-8"))
            os.replace(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"
