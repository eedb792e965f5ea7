"""Building a WordPiece vocabulary from text, the same one every time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from ms_plm.common.errors import UserError
from ms_plm.tokenization.blocks import code_points
from ms_plm.tokenization.tokenizer import Tokenizer
from ms_plm.tokenization.vocabulary import Options

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHARACTERS_AT_ONCE = 1 << 20


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, lower_case: bool = True, min_frequency: int = 2
) -> Tokenizer:
    """A tokenizer whose vocabulary is built from texts, Chinese, English or both.

    Every Chinese character and every punctuation mark is an entry of its own; other scripts get pieces merged from
    characters, the most frequent pair first. The entries are: the special tokens, characters that begin a word (by code
    point), characters that continue one, then merged pieces in the order in which they were found.

    Args:
        texts: read twice, so a list or another object that can be iterated again; not an iterator.
        vocab_size: entries of the vocabulary; fewer if the texts do not have as many.
        lower_case: lower-case the texts and drop accents.
        min_frequency: a character or a pair that occurs less often gets no entry.

    Raises:
        UserError: no text, or a size without room for any character.
    """
    if iter(texts) is texts:
        raise TypeError("texts are read twice: pass a list or an object that can be iterated again")
    if vocab_size <= len(SPECIAL_TOKENS) + 1:
        raise UserError(f"vocab_size: expected more than {len(SPECIAL_TOKENS) + 1}, found {vocab_size}.")
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, following = _alphabet(texts, library, vocab_size - len(SPECIAL_TOKENS), min_frequency)
    continuing = ["##" + character for character in following]
    # The trainer numbers continuing characters in the order of a randomly seeded hash table, and the numbers decide
    # between pairs of equal frequency. Naming those characters beforehand makes the result reproducible.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIAL_TOKENS, *continuing],
        initial_alphabet=first,
        limit_alphabet=len(first),
        show_progress=False,
    )
    library.train_from_iterator(_blocks(texts), trainer)
    found = library.get_vocab()
    head = [*SPECIAL_TOKENS, *first, *continuing]
    known = set(head)
    merged = sorted((entry for entry in found if entry not in known), key=found.get)
    vocabulary = [*head, *merged][:vocab_size]
    if len(vocabulary) < vocab_size:
        logger.info("the texts give %d entries, fewer than the %d asked for", len(vocabulary), vocab_size)
    return Tokenizer(vocabulary, Options(do_lower_case=lower_case), "new vocabulary")


def _blocks(texts: Iterable[str]) -> Iterator[str]:
    """Texts joined to blocks: fewer calls into the library."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text) + 1
        if size >= _CHARACTERS_AT_ONCE:
            yield "\n".join(block)
            block, size = [], 0
    if block:
        yield "\n".join(block)


def _alphabet(
    texts: Iterable[str], library: tokenizers.Tokenizer, room: int, min_frequency: int
) -> tuple[list[str], list[str]]:
    """Characters that get an entry: those that begin words, and those that continue one, both by code point.

    The most frequent come first until there is no room; among equals the smaller code point.
    """
    counts = np.zeros(0x110000, np.int64)
    for block in _blocks(texts):
        codes = code_points(library.normalizer.normalize_str(block))
        counts += np.bincount(codes, minlength=counts.size)
    counts[[ord(" "), ord("\n")]] = 0  # the normalizer makes all white space spaces
    if not counts.any():
        raise UserError("There is no text to build a vocabulary from: every input is empty.")
    seen = np.flatnonzero(counts)
    order = seen[np.lexsort((seen, -counts[seen]))]
    first: list[str] = []
    following: list[str] = []
    for code in order.tolist():
        character = chr(code)
        pieces = library.pre_tokenizer.pre_tokenize_str(f"a{character}a")
        if len(pieces) == 2 or counts[code] < min_frequency:  # a space, or rare
            continue
        alone = len(pieces) == 3 or _is_chinese(character, library)
        if len(first) + len(following) + (1 if alone else 2) > room:
            logger.warning(
                "the vocabulary's size leaves out characters that occur %d times or less; "
                "they will be [UNK]. A larger --vocab-size holds them.",
                counts[code],
            )
            break
        first.append(character)
        if not alone:
            following.append(character)
    if not first:
        raise UserError(f"min_frequency {min_frequency}: no character occurs as often. Give more text or a lower one.")
    return sorted(first), sorted(following)


def _is_chinese(character: str, library: tokenizers.Tokenizer) -> bool:
    """Whether the normalizer puts spaces around the character."""
    return library.normalizer.normalize_str(character).strip() != library.normalizer.normalize_str(character)
