"""A tag for every word: entities, parts of speech. The first token of a word carries its tag."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, TokensExample, is_by_character
from ms_plm.data.buckets import LabelledSamples
from ms_plm.data.tagging import TagWindow, read_tags, tag_windows
from ms_plm.data.tags import are_entities, entities
from ms_plm.evaluation.metrics import log_softmax
from ms_plm.models.model import Model
from ms_plm.tasks.kind import Reading, TaskKind, TaskLoss, TaskSamples, logits_of
from ms_plm.tasks.text import label_names
from ms_plm.tokenization import Tokenizer

Words = Callable[[str], list[tuple[str, int]]]
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+|[^\w\s]|_")
"""What a word of a raw text is: a Chinese character, a run of other letters and digits, a punctuation mark."""


class TagLoss(TaskLoss):
    """Cross-entropy in nats over words."""

    def scores(self, logits, attention_mask, labels):
        return (logits.reshape((-1, logits.shape[-1])),)


class TagKind(TaskKind):
    """Token classification; every word counts the same in the loss."""

    head, loss, labelled = "token_classification", TagLoss, True

    def samples(self, examples: Sequence[TokensExample], tokenizer: Tokenizer, training: bool = False) -> TaskSamples:
        """Sentences, those that are too long in parts."""
        windows = list(tag_windows(examples, tokenizer, self.limits.max_length))
        tags = [_numbers(example, self.labels or ()) for example in examples]
        return TaskSamples(examples, _rows(windows, tags, tokenizer.pad_id), windows)

    def read(self, logits: np.ndarray, samples: TaskSamples, threshold: float | None = None) -> Reading:
        """Tags of the words of each sentence."""
        found = np.split(logits.argmax(-1), samples.rows.starts[1:-1])
        return Reading(read_tags(samples.examples, samples.windows, found, self.labels), {})


def _numbers(example: TokensExample, labels: Sequence[str]) -> list[int]:
    """Ids of the tags of a sentence; -1 where it has none."""
    if example.tags is None:
        return [-1] * len(example.words)
    numbers = {name: number for number, name in enumerate(labels)}
    strange = [tag for tag in example.tags if tag not in numbers]
    if strange:
        raise UserError(f"sentence {example.id}: tag {strange[0]!r}; expected one of {', '.join(map(repr, labels))}.")
    return [numbers[tag] for tag in example.tags]


def _rows(windows: Sequence[TagWindow], tags: Sequence[Sequence[int]], pad_id: int) -> LabelledSamples:
    ids = np.concatenate([window.input_ids for window in windows])
    labels = np.concatenate([window.labels(tags[window.example]) for window in windows])
    starts = np.concatenate([[0], np.cumsum([len(window.input_ids) for window in windows])])
    weights = (labels >= 0).astype(np.float32)
    return LabelledSamples(ids, np.zeros_like(ids), starts, np.maximum(labels, 0), weights, pad_id, by_token=True)


def words_of(text: str) -> list[tuple[str, int]]:
    """Words of a raw text and where each begins: Chinese characters, runs of other letters, punctuation marks."""
    return [(match[0], match.start()) for match in _WORD.finditer(text)]


def characters_of(text: str) -> list[tuple[str, int]]:
    """Every character as a word, blanks too, as CLUENER has it."""
    return [(character, place) for place, character in enumerate(text)]


def words_for(model: Model) -> Words:
    """How a model's task cuts texts, as far as its folder says which one that was."""
    task = TASKS.get((model.config.provenance or {}).get("task"))
    return characters_of if task is not None and is_by_character(task) else words_of


def tag(
    model: Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int = 128,
    batch: int = 32,
    words_in: Words = words_of,
) -> list[dict]:
    """Tags of the words of texts, and the entities that they name.

    Args:
        model: with the head `token_classification`.
        tokenizer: the model's.
        texts: raw.
        max_length: longer ones are read in parts.
        batch: texts at once.
        words_in: gives the words of a text and where each begins, see `words_for`.

    Returns:
        For each its `text`, `words`, `tags`, and `entities` with `type`, `text`, `start`, `stop` (characters) and
        `probability`, the mean over the entity's words; no entities where the tags are of another kind.
    """
    words = [words_in(text) for text in texts]
    examples = [TokensExample(str(number), tuple(word for word, _ in found)) for number, found in enumerate(words)]
    windows = list(tag_windows(examples, tokenizer, min(max_length, model.limit or max_length)))
    made = [
        {"text": text, "words": [word for word, _ in found], "tags": [], "entities": []}
        for text, found in zip(texts, words, strict=True)
    ]
    if not windows:
        return made
    rows = _rows(windows, [[-1] * len(example.words) for example in examples], tokenizer.pad_id)
    labels = label_names(model)
    logits = logits_of(model, rows, len(labels), batch)
    likely = np.split(np.exp(log_softmax(logits)).max(-1), rows.starts[1:-1])
    tags = read_tags(examples, windows, np.split(logits.argmax(-1), rows.starts[1:-1]), labels)
    sure: list[list[float]] = [[] for _ in texts]
    for window, values in zip(windows, likely, strict=True):
        sure[window.example] += values[window.places].tolist()
    for item, found, here, probabilities in zip(made, words, tags, sure, strict=True):
        item["tags"] = here
        for kind, begin, stop in entities(here) if are_entities(labels) else ():
            start, end = found[begin][1], found[stop - 1][1] + len(found[stop - 1][0])
            item["entities"].append({
                "type": kind, "text": item["text"][start:end], "start": start, "stop": end,
                "probability": float(np.mean(probabilities[begin:stop])),
            })  # fmt: skip
    return made
