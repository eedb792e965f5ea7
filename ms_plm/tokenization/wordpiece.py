"""WordPiece, over whole blocks of text: the tokenizers library decides, NumPy does the counting.

The library turns one word into pieces; it is asked once for every character and every word that occurs and its answers
are kept. A block of text is cut into words with array operations, so that Chinese, where a character is a word, needs
no Python loop at all, and offsets into the original characters come for free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from ms_plm.tokenization.blocks import BlockPieces, Layout, code_points
from ms_plm.tokenization.vocabulary import MAX_CHARACTERS_PER_WORD, Options

_UNICODE = 0x110000
_UNSEEN, _IN_WORD, _ALONE, _SPACE, _ALONE_ODD = range(5)
_WORDS_KEPT = 1 << 18
_LEARNED_AT_ONCE = 1 << 14


class WordPiece:
    """How text becomes entries and back, as BERT's BasicTokenizer and WordpieceTokenizer have it.

    Args:
        ids: of the entries.
        options: lower-casing and special tokens, all of them entries.
    """

    def __init__(self, ids: Mapping[str, int], options: Options) -> None:
        self._ids, self._options = dict(ids), options
        begin, end = (ids[options.cls_token],), (ids[options.sep_token],)
        self.layout = Layout(begin, end, end, second_type=1)
        self.continuation = np.array([entry.startswith("##") for entry in ids], dtype=bool)
        self.readable = list(ids)
        self._blocks = BlockWordPiece(self.library())

    def library(self) -> tokenizers.Tokenizer:
        """Tokenizer without added tokens."""
        options = self._options
        library = tokenizers.Tokenizer(
            models.WordPiece(
                self._ids,
                unk_token=options.unk_token,
                max_input_chars_per_word=MAX_CHARACTERS_PER_WORD,
                continuing_subword_prefix="##",
            )
        )
        library.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=options.tokenize_chinese_chars,
            strip_accents=options.strip_accents,
            lowercase=options.do_lower_case,
        )
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        library.post_processor = processors.BertProcessing(
            (options.sep_token, self.layout.end[0]), (options.cls_token, self.layout.begin[0])
        )
        return library

    def blocks(self, texts: Sequence[str], inside: bool) -> BlockPieces:
        """Pieces of texts, without special tokens; `inside` another text or not, they are the same."""
        return self._blocks(texts)

    def joined(self, tokens: Sequence[str]) -> str:
        """Readable text: pieces joined to words, spaces only where a script has them."""
        text = ""
        for token in tokens:
            if token.startswith("##") and len(token) > 2:
                text += token[2:]
            elif text and _spaced(text[-1], token[0]):
                text += " " + token
            else:
                text += token
        return text


_CLOSING = frozenset(".,;:!?)]}%'’”")
_OPENING = frozenset("([{'‘“")


def _spaced(left: str, right: str) -> bool:
    """Whether a space stands between two tokens that end and begin with these characters."""
    if left == "]" or right == "[":  # special tokens
        return not (_is_wide(left) or _is_wide(right))
    return not (_is_wide(left) or _is_wide(right) or right in _CLOSING or left in _OPENING)


def _is_wide(character: str) -> bool:
    """Chinese characters and punctuation, kana, full-width forms."""
    return character >= "\u2e80" and not "\uac00" <= character <= "\ud7af" and character < "\U00040000"


class BlockWordPiece:
    """Pieces of texts, equal to what `library` gives without special tokens.

    Args:
        library: tokenizer with a BertNormalizer, a BertPreTokenizer and a WordPiece model, without added tokens.
    """

    def __init__(self, library: tokenizers.Tokenizer):
        self._library = library
        self._kinds = np.zeros(_UNICODE, np.uint8)
        self._kinds[10] = _SPACE  # joins the texts
        self._character_ids = np.zeros(_UNICODE, np.uint32)
        self._forget_words()

    def _forget_words(self) -> None:
        self._words: dict[str, int] = {}
        self._counts: list[np.ndarray] = []
        self._bank = _Bank()

    def _learn_characters(self, codes: np.ndarray) -> None:
        """Find out how the library treats characters: between two letters it stays, stands alone or separates."""
        normalize = self._library.normalizer.normalize_str
        split = self._library.pre_tokenizer.pre_tokenize_str
        for code in codes.tolist():
            if 0xD800 <= code < 0xE000:  # a lone surrogate: like any control character it is dropped within a word
                self._kinds[code] = _IN_WORD
                continue
            words = split(normalize(f"a{chr(code)}a"))
            if len(words) == 1:
                self._kinds[code] = _IN_WORD
            elif len(words) == 2:
                self._kinds[code] = _SPACE
            else:
                ids = self._library.encode(chr(code), add_special_tokens=False).ids
                self._kinds[code] = _ALONE if len(ids) == 1 else _ALONE_ODD
                self._character_ids[code] = ids[0] if len(ids) == 1 else 0

    def _word_numbers(self, words: list[str]) -> np.ndarray:
        """Numbers of words in the bank; new words are learned from the library."""
        if len(self._words) > _WORDS_KEPT:
            self._forget_words()
        numbers = list(map(self._words.get, words))
        if None in numbers:
            missing = list(dict.fromkeys(word for word, number in zip(words, numbers, strict=True) if number is None))
            for start in range(0, len(missing), _LEARNED_AT_ONCE):
                self._learn_words(missing[start : start + _LEARNED_AT_ONCE])
            numbers = list(map(self._words.__getitem__, words))
        return np.array(numbers, dtype=np.int64)

    def _learn_words(self, words: list[str]) -> None:
        # U+FFFD is dropped by the normalizer as a lone surrogate has to be; the library cannot be given those
        given = [word.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for word in words]
        for word, encoding in zip(words, self._library.encode_batch(given, add_special_tokens=False), strict=True):
            self._words[word] = self._bank.add(encoding.ids, encoding.offsets)

    def __call__(self, texts: Sequence[str]) -> BlockPieces:
        """Pieces of `texts`; line feeds within a text are spaces."""
        joined = "\n".join(texts)
        codes = code_points(joined)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        text_starts = np.cumsum(lengths + 1) - (lengths + 1)
        kinds = self._kinds[codes]
        if not kinds.all():
            self._learn_characters(np.unique(codes[kinds == _UNSEEN]))
            kinds = self._kinds[codes]
        in_word, odd = kinds == _IN_WORD, kinds == _ALONE_ODD
        # a unit is a character that stands alone, or a run of characters within a word
        run_starts, run_ends = odd.copy(), odd.copy()
        run_starts[:1] |= in_word[:1]
        run_starts[1:] |= in_word[1:] & ~in_word[:-1]
        run_ends[-1:] |= in_word[-1:]
        run_ends[:-1] |= in_word[:-1] & ~in_word[1:]
        alone = kinds == _ALONE
        units = np.flatnonzero(alone | run_starts)
        is_run = run_starts[units]
        runs = units[is_run]
        last = (np.flatnonzero(run_ends) + 1).tolist()
        words = [joined[a:b] for a, b in zip(runs.tolist(), last, strict=True)]
        numbers = self._word_numbers(words) if words else np.zeros(0, np.int64)

        counts = np.ones(len(units), np.int64)
        counts[is_run] = self._bank.counts(numbers)
        firsts = np.cumsum(counts) - counts
        total = int(counts.sum())
        ids, begins = np.empty(total, np.uint32), np.empty(total, np.int64)
        ends = np.empty(total, np.int64)
        single, places = units[~is_run], firsts[~is_run]
        ids[places], begins[places], ends[places] = self._character_ids[codes[single]], single, single + 1
        self._bank.spread(numbers, firsts[is_run], runs, ids, begins, ends)
        text_ends = np.searchsorted(begins, text_starts + lengths, side="left")
        return BlockPieces(ids, begins, ends, text_ends, codes, text_starts)


class _Bank:
    """Pieces of words, one word after the other in growing arrays."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._offsets: list[tuple[int, int]] = []
        self._starts: list[int] = [0]
        self._arrays: tuple[np.ndarray, ...] | None = None

    def add(self, ids: list[int], offsets: list[tuple[int, int]]) -> int:
        """Keep a word's pieces; returns its number."""
        self._ids += ids
        self._offsets += offsets
        self._starts.append(len(self._ids))
        self._arrays = None
        return len(self._starts) - 2

    def _frozen(self) -> tuple[np.ndarray, ...]:
        if self._arrays is None:
            offsets = np.array(self._offsets, np.int64).reshape(-1, 2)
            self._arrays = (np.array(self._ids, np.uint32), offsets, np.array(self._starts, np.int64))
        return self._arrays

    def counts(self, numbers: np.ndarray) -> np.ndarray:
        """Pieces of each word: int64 `[n]`."""
        starts = self._frozen()[2]
        return starts[numbers + 1] - starts[numbers]

    def spread(
        self,
        numbers: np.ndarray,
        places: np.ndarray,
        positions: np.ndarray,
        ids: np.ndarray,
        begins: np.ndarray,
        ends: np.ndarray,
    ) -> None:
        """Write the pieces of words, which begin at characters `positions`, into the arrays from `places` on."""
        bank_ids, offsets, starts = self._frozen()
        counts = starts[numbers + 1] - starts[numbers]
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        source = np.repeat(starts[numbers], counts) + within
        target = np.repeat(places, counts) + within
        base = np.repeat(positions, counts)
        ids[target] = bank_ids[source]
        begins[target] = base + offsets[source, 0]
        ends[target] = base + offsets[source, 1]
