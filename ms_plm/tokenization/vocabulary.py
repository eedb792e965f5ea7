"""Reading and checking a vocabulary and the options that say how text becomes its pieces."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json

MAX_CHARACTERS_PER_WORD = 100
"""Longer words become the unknown token (BERT's WordpieceTokenizer)."""


@dataclass(frozen=True)
class Options:
    """What decides ids besides the vocabulary; names of the fields in Hugging Face's tokenizer_config.json."""

    do_lower_case: bool = True
    strip_accents: bool | None = None
    """None: accents go where upper case goes."""
    tokenize_chinese_chars: bool = True
    pad_token: str = "[PAD]"
    unk_token: str = "[UNK]"
    cls_token: str = "[CLS]"
    sep_token: str = "[SEP]"
    mask_token: str = "[MASK]"

    @property
    def special_tokens(self) -> dict[str, str]:
        """Special tokens by role: `{"pad_token": "[PAD]", ...}`."""
        return {name: value for name, value in asdict(self).items() if name.endswith("_token")}


def read_vocabulary(path: Path) -> list[str]:
    """Entries of a vocab.txt, one a line, in the order of their ids.

    Raises:
        UserError: the file is missing, not UTF-8, has an empty or a repeated line (named).
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such vocabulary. Expected a vocab.txt with one entry a line.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: a vocabulary must be UTF-8, but byte {error.start} is not. "
            "Is this the vocab.txt of the model? Convert it, for example with `iconv -t UTF-8`."
        ) from error
    lines = text.removesuffix("\n").split("\n")
    entries = [line.removesuffix("\r") for line in lines]
    if entries == [""]:
        raise UserError(f"{path}: the vocabulary is empty. Expected one entry a line.")
    check_entries(entries, path)
    return entries


def check_entries(entries: Sequence[str], path: Path) -> None:
    """Refuse empty and repeated entries: with them ids and entries no longer match one to one."""
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        if entry == "":
            raise UserError(f"{path}, line {number}: an empty line in the vocabulary. Remove it or restore the entry.")
        if entry in seen:
            raise UserError(
                f"{path}, line {number}: {entry!r} is already in line {seen[entry]}. "
                "A vocabulary has every entry once; restore the original file."
            )
        seen[entry] = number


def check_special_tokens(entries: Sequence[str], options: Options, path: Path) -> None:
    """Refuse a vocabulary without its special tokens."""
    missing = sorted(set(options.special_tokens.values()) - set(entries))
    if missing:
        raise UserError(
            f"{path}: the vocabulary has {len(entries)} lines, but none of them is {' or '.join(missing)} "
            f"(line 1 is {entries[0]!r}). Expected a WordPiece vocabulary with [PAD], [UNK], [CLS], [SEP] and [MASK]; "
            "other names belong into tokenizer_config.json beside it."
        )


def read_folder(path: Path) -> tuple[list[str], Options, bool]:
    """Vocabulary and options of a model folder, or of a vocab.txt.

    Returns:
        The entries, the options, and whether a file (not a default) said if text is lower-cased.

    Raises:
        UserError: nothing to read, a wrong shape, or a tokenizer that is not WordPiece.
    """
    if path.is_file() and path.suffix != ".json":
        entries, options, told = read_vocabulary(path), Options(), False
    else:
        folder = path if path.is_dir() else path.parent
        library = folder / "tokenizer.json"
        if path.is_dir() and (folder / "vocab.txt").is_file():
            entries, options, told = read_vocabulary(folder / "vocab.txt"), Options(), False
        elif library.is_file():
            entries, options = _read_library_file(library)
            told = True
        else:
            raise UserError(
                f"{path}: no vocabulary here. Expected a vocab.txt, or a folder with vocab.txt or tokenizer.json."
            )
        config = folder / "tokenizer_config.json"
        if config.is_file():
            options, told_there = _with_config(options, read_json(config), config)
            told = told or told_there
    check_special_tokens(entries, options, path)
    return entries, options, told


def _with_config(options: Options, config: Any, path: Path) -> tuple[Options, bool]:
    """`options` with what a tokenizer_config.json says instead."""
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(config).__name__}.")
    changes: dict[str, Any] = {}
    for name in asdict(options):
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


def _read_library_file(path: Path) -> tuple[list[str], Options]:
    """Vocabulary and options of a tokenizer.json of the tokenizers library."""
    content = read_json(path)
    model = content.get("model", {}) if isinstance(content, dict) else {}
    vocabulary = model.get("vocab")
    if model.get("type") != "WordPiece" or not isinstance(vocabulary, dict):
        raise UserError(
            f"{path}: the tokenizer's model is {model.get('type')!r}; expected 'WordPiece'. "
            "Give the folder of a BERT or NEZHA model."
        )
    entries = sorted(vocabulary, key=vocabulary.get)
    if [vocabulary[entry] for entry in entries] != list(range(len(entries))):
        raise UserError(f"{path}: the ids of the vocabulary are not 0 to {len(entries) - 1}, each once.")
    normalizer = content.get("normalizer") or {}
    if normalizer.get("type") not in (None, "BertNormalizer"):
        raise UserError(
            f"{path}: the normalizer is {normalizer['type']!r}; expected 'BertNormalizer'. "
            "Give the folder with the model's vocab.txt instead."
        )
    return entries, Options(
        do_lower_case=bool(normalizer.get("lowercase", True)),
        strip_accents=normalizer.get("strip_accents"),
        tokenize_chinese_chars=bool(normalizer.get("handle_chinese_chars", True)),
        unk_token=model.get("unk_token") or "[UNK]",
    )


def looks_cased(entries: Sequence[str]) -> bool:
    """Whether a vocabulary holds upper-case letters beyond a few special entries."""
    return sum(entry != entry.lower() and entry[0] not in "[<" for entry in entries) > len(entries) // 100


def write_folder(folder: Path, entries: Sequence[str], options: Options) -> None:
    """Write vocab.txt, tokenizer_config.json and special_tokens_map.json as Hugging Face reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "do_lower_case": options.do_lower_case,
        "strip_accents": options.strip_accents,
        "tokenize_chinese_chars": options.tokenize_chinese_chars,
        "tokenizer_class": "BertTokenizer",
        **options.special_tokens,
    }
    files = {
        "vocab.txt": "".join(entry + "\n" for entry in entries),
        "tokenizer_config.json": json.dumps(config, ensure_ascii=False, indent=2) + "\n",
        "special_tokens_map.json": json.dumps(options.special_tokens, ensure_ascii=False, indent=2) + "\n",
    }
    for name, text in files.items():
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        try:
            temporary.write_bytes(text.encode("utf-8"))
            os.replace(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)
