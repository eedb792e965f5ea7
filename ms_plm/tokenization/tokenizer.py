"""The project's tokenizer: BERT's WordPiece or RoBERTa's byte-level BPE on the tokenizers library, for batches."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import tokenizers

from ms_plm.common.errors import UserError
from ms_plm.tokenization.blocks import BlockPieces, encodable
from ms_plm.tokenization.bytelevel import ByteLevel, ByteLevelOptions
from ms_plm.tokenization.folder import read_folder, write_folder
from ms_plm.tokenization.vocabulary import Options, check_entries, check_special_tokens, looks_cased
from ms_plm.tokenization.wordpiece import WordPiece

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Encoded texts, padded to the longest.

    Attributes:
        input_ids, token_type_ids, attention_mask: int32 `[batch, seq]`.
        word_ids: for each text the number of the word each token belongs to; None for special tokens and padding.
        offsets: for each text the `(begin, end)` characters of each token in its text; (0, 0) for special tokens.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    attention_mask: np.ndarray
    word_ids: list[list[int | None]]
    offsets: list[list[tuple[int, int]]]


@dataclass(frozen=True)
class Pieces:
    """Pieces of one text, without special tokens.

    Attributes:
        ids: uint32 `[n]`.
        offsets: int64 `[n, 2]`, first character and the one after the last, in the text as it was given.
    """

    ids: np.ndarray
    offsets: np.ndarray


class Tokenizer:
    """Text to ids and back: those of BERT's WordPiece, or of RoBERTa's byte-level BPE.

    Attributes:
        vocabulary: entries in the order of their ids.
        options: as given.
        layout: where special tokens stand around texts.
        continuation: which entries continue a word, bool `[V]`.

    Args:
        vocabulary: entries in the order of their ids.
        options: lower-casing, special tokens; their class tells the kind. Default: WordPiece's.
        source: where the vocabulary came from, for messages.

    Raises:
        UserError: an entry is empty or comes twice, a special token is none, merges do not fit.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        options: Options | ByteLevelOptions | None = None,
        source: str | os.PathLike = "vocab",
    ):
        options = options or Options()
        check_entries(vocabulary, Path(source))
        check_special_tokens(vocabulary, options, Path(source))
        self.vocabulary = list(vocabulary)
        self.options = options
        self._ids = {entry: number for number, entry in enumerate(self.vocabulary)}
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self._ids[token]
            for token in (
                options.pad_token,
                options.unk_token,
                options.cls_token,
                options.sep_token,
                options.mask_token,
            )
        )
        self.special_ids: tuple[int, ...] = tuple(
            sorted({self._ids[token] for token in options.special_tokens.values()})
        )
        self._kind = (ByteLevel if self.byte_level else WordPiece)(self._ids, options)
        self.layout, self.continuation = self._kind.layout, self._kind.continuation
        self._marked = self._kind.library()
        self._marked.add_special_tokens(options.added_tokens)
        self._cutting: dict[int, tokenizers.Tokenizer] = {}

    @classmethod
    def load(cls, path: str | os.PathLike, lower_case: bool | None = None) -> Tokenizer:
        """Read a model folder (vocab.txt, vocab.json with merges.txt or tokenizer.json; tokenizer_config.json) or file.

        Args:
            path: folder or file.
            lower_case: what overrules the folder; None: the folder's setting, else True. Byte-level BPE has none.

        Raises:
            UserError: missing or of a wrong shape; the message names the line.
        """
        path = Path(path)
        if not path.exists():
            raise UserError(f"{path}: no such vocabulary. Expected a model folder or a vocab.txt.")
        vocabulary, options, told = read_folder(path)
        if isinstance(options, ByteLevelOptions):
            if lower_case:
                raise UserError(f"{path}: lower_case: a byte-level BPE tells upper case from lower; leave it out.")
        elif lower_case is not None:
            options = replace(options, do_lower_case=lower_case)
        elif not told and looks_cased(vocabulary):
            logger.warning(
                "%s: text is lower-cased because nothing says otherwise, but the vocabulary holds upper-case entries. "
                "If it is a cased one, say so (--no-lower-case, data.lower_case: false).",
                path,
            )
        return cls(vocabulary, options, path)

    def save(self, folder: str | os.PathLike) -> None:
        """Write the folder's tokenizer files, readable by `load` and by Hugging Face."""
        write_folder(Path(folder), self.vocabulary, self.options)

    @property
    def vocab_size(self) -> int:
        """Number of entries."""
        return len(self.vocabulary)

    @property
    def byte_level(self) -> bool:
        """Whether this is a byte-level BPE, else it is WordPiece."""
        return isinstance(self.options, ByteLevelOptions)

    @property
    def readable(self) -> list[str]:
        """Entries as people read them: those of WordPiece as they are, those of a byte-level BPE with spaces."""
        return self._kind.readable

    @property
    def lower_case(self) -> bool:
        """Whether text is lower-cased."""
        return self.options.do_lower_case

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary and every option that changes ids."""
        content = json.dumps([self.vocabulary, asdict(self.options)], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    def __call__(
        self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None, max_length: int | None = None
    ) -> Batch:
        """Encode texts, or pairs of texts, with special tokens around them as `layout` says.

        A special token written in a text, such as `[MASK]`, is that token.

        Args:
            texts: one text or many.
            pairs: as many second texts.
            max_length: longest result, special tokens included; the longer text of a pair is cut first.

        Raises:
            UserError: no texts, another number of pairs, or no room for the special tokens.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        pairs = [pairs] if isinstance(pairs, str) else pairs if pairs is None else list(pairs)
        if not texts:
            raise UserError("texts: expected at least one text, found none.")
        if pairs is not None and len(pairs) != len(texts):
            raise UserError(f"pairs: expected as many as texts ({len(texts)}), found {len(pairs)}.")
        special = self.layout.special(pairs is not None)
        if max_length is not None and max_length < special:
            raise UserError(f"max_length: expected at least {special}, the special tokens; found {max_length}.")
        texts = [encodable(text) for text in texts]
        inputs = texts if pairs is None else list(zip(texts, map(encodable, pairs), strict=True))
        encodings = self._marked.encode_batch(inputs)
        if max_length is not None:
            encodings = self._truncated(encodings, inputs, max_length)
        length = max(len(encoding.ids) for encoding in encodings)
        for encoding in encodings:
            encoding.pad(length, pad_id=self.pad_id, pad_type_id=0, pad_token=self.options.pad_token)
        return Batch(
            np.array([encoding.ids for encoding in encodings], np.int32),
            np.array([encoding.type_ids for encoding in encodings], np.int32),
            np.array([encoding.attention_mask for encoding in encodings], np.int32),
            [encoding.word_ids for encoding in encodings],
            [encoding.offsets for encoding in encodings],
        )

    def _truncated(self, encodings: list, inputs: list, max_length: int) -> list:
        """The same, with those that are too long encoded again and cut (the library's setting is not thread-safe)."""
        long = [number for number, encoding in enumerate(encodings) if len(encoding.ids) > max_length]
        if not long:
            return encodings
        cutting = self._cutting.get(max_length)
        if cutting is None:
            cutting = tokenizers.Tokenizer.from_str(self._marked.to_str())
            cutting.enable_truncation(max_length, strategy="longest_first")
            self._cutting[max_length] = cutting
        for number, encoding in zip(long, cutting.encode_batch([inputs[number] for number in long]), strict=True):
            encodings[number] = encoding
        return encodings

    def encode_block(self, texts: Sequence[str]) -> BlockPieces:
        """Pieces of sentences of running text in flat arrays: what `prepare` uses, see `BlockPieces` and `pieces`."""
        return self._kind.blocks(texts, inside=True)

    def pieces(self, texts: Sequence[str], inside: bool = False) -> list[Pieces]:
        """Pieces of texts without special tokens; a special token written in a text is ordinary text.

        Args:
            texts: many.
            inside: each stands within another text, behind a space, such as a word of a sentence; to a byte-level BPE
                it is another one then.
        """
        if not texts:
            return []
        block = self._kind.blocks(texts, inside)
        offsets = np.stack([block.begins, block.ends], axis=1)
        starts = np.concatenate([[0], block.text_ends[:-1]])
        return [
            Pieces(block.ids[first:last], offsets[first:last] - base)
            for first, last, base in zip(starts, block.text_ends, block.text_starts, strict=True)
        ]

    def token_id(self, token: str) -> int | None:
        """Id of an entry, None if it is not in the vocabulary."""
        return self._ids.get(token)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Entries of ids.

        Raises:
            UserError: an id outside the vocabulary.
        """
        numbers = [int(number) for number in ids]
        for number in numbers:
            if not 0 <= number < self.vocab_size:
                raise UserError(f"id {number}: expected 0 to {self.vocab_size - 1}, the vocabulary's ids.")
        return [self.vocabulary[number] for number in numbers]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """Readable text.

        Args:
            ids: token ids; those of a padded embedding table, beyond the vocabulary, read as the unknown token.
            skip_special_tokens: leave out the special tokens, such as [CLS], [SEP], [PAD], [MASK] and [UNK].
        """
        numbers = [number if number < self.vocab_size else self.unk_id for number in map(int, ids)]
        if skip_special_tokens:
            special = set(self.special_ids)
            numbers = [number for number in numbers if number not in special]
        return self._kind.joined(self.tokens(numbers))
