"""Byte-level BPE, as RoBERTa has it: text is bytes, a space belongs to the word behind it, nothing is unknown."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from ms_plm.common.errors import UserError
from ms_plm.tokenization.blocks import BlockPieces, Layout, code_points, encodable

SPACE = "\u0120"
"""How an entry writes the space before a word: GPT-2's character for the byte 0x20."""


@dataclass(frozen=True)
class ByteLevelOptions:
    """What decides ids besides the entries; names of the fields in Hugging Face's tokenizer_config.json.

    Attributes:
        merges: pairs of entries that become one, in order.
        add_prefix_space: whether a text begins like a word within one.
    """

    merges: tuple[tuple[str, str], ...]
    add_prefix_space: bool = False
    bos_token: str = "<s>"
    eos_token: str = "</s>"
    pad_token: str = "<pad>"
    unk_token: str = "<unk>"
    cls_token: str = "<s>"
    sep_token: str = "</s>"
    mask_token: str = "<mask>"

    do_lower_case = False

    @property
    def special_tokens(self) -> dict[str, str]:
        """Special tokens by role: `{"pad_token": "<pad>", ...}`."""
        names = [field.name for field in fields(self) if field.name.endswith("_token")]
        return {name: getattr(self, name) for name in names}

    @property
    def added_tokens(self) -> list[tokenizers.AddedToken]:
        """Special tokens as they are found in a text; as in transformers the mask takes the space before it along."""
        roles = self.special_tokens
        return [
            tokenizers.AddedToken(token, special=True, normalized=False, lstrip=token == self.mask_token)
            for token in dict.fromkeys(roles.values())
        ]


class ByteLevel:
    """How text becomes entries and back.

    Args:
        ids: of the entries.
        options: merges and special tokens, all of them entries.

    Raises:
        UserError: a merge is of what is no entry.
    """

    def __init__(self, ids: Mapping[str, int], options: ByteLevelOptions) -> None:
        self._ids, self._options = dict(ids), options
        begin, end = (ids[options.cls_token],), (ids[options.sep_token],)
        self.layout = Layout(begin, end * 2, end, second_type=0)
        special = set(options.special_tokens.values())
        self.continuation = np.array([not entry.startswith(SPACE) and entry not in special for entry in ids], bool)
        self._outer = self.library()

    @functools.cached_property
    def _inner(self) -> tokenizers.Tokenizer:
        return self._outer if self._options.add_prefix_space else self._library(add_prefix_space=True)

    def library(self) -> tokenizers.Tokenizer:
        """Tokenizer without added tokens; offsets leave spaces out."""
        return self._library(self._options.add_prefix_space)

    def _library(self, add_prefix_space: bool) -> tokenizers.Tokenizer:
        options = self._options
        try:
            library = tokenizers.Tokenizer(models.BPE(self._ids, list(options.merges)))
        except Exception as error:  # the library raises no other kind
            raise UserError(
                f"merges of the byte-level BPE do not fit its vocabulary: {error}. Use the vocab.json and merges.txt "
                "that belong together."
            ) from error
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
        library.post_processor = processors.RobertaProcessing(
            (options.sep_token, self.layout.end[0]),
            (options.cls_token, self.layout.begin[0]),
            trim_offsets=True,
            add_prefix_space=add_prefix_space,
        )
        return library

    def blocks(self, texts: Sequence[str], inside: bool) -> BlockPieces:
        """Pieces of texts, without special tokens; `inside`: each continues another text, after a space."""
        library = self._inner if inside else self._outer
        encodings = library.encode_batch([encodable(text) for text in texts], add_special_tokens=False)
        counts = np.fromiter((len(encoding.ids) for encoding in encodings), np.int64, len(encodings))
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        text_starts = np.cumsum(lengths + 1) - (lengths + 1)
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.uint32)
        places = chain.from_iterable(chain.from_iterable(encoding.offsets) for encoding in encodings)
        offsets = np.fromiter(places, np.int64).reshape(-1, 2) + np.repeat(text_starts, counts)[:, None]
        codes = code_points("\n".join(texts))
        return BlockPieces(ids, offsets[:, 0], offsets[:, 1], np.cumsum(counts), codes, text_starts)

    @functools.cached_property
    def readable(self) -> list[str]:
        """What each entry stands for, with its space; bytes that make no character are U+FFFD."""
        special = set(self._options.special_tokens.values())
        return [entry if entry in special else self.joined([entry]) for entry in self._ids]

    def joined(self, tokens: Sequence[str]) -> str:
        """The text of entries."""
        return decoders.ByteLevel().decode(list(tokens))
