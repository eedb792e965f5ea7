"""What a recipe's `data` section names, opened: tokenizer, prepared corpus, training and held-out samples, masking."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ms_plm.common.errors import UserError
from ms_plm.common.files import default_cache_folder
from ms_plm.config.places import place
from ms_plm.config.recipe import DataSection, EvaluateSection
from ms_plm.data.corpus import Corpus
from ms_plm.data.masking import Masking, build_masking
from ms_plm.data.prepare import corpus_key, prepare
from ms_plm.data.samples import CorpusSamples, SampleSource
from ms_plm.tokenization import Tokenizer

log = logging.getLogger(__name__)
EVALUATION_SEED = 0
"""Held-out pairs and masks are the same for every run, so that figures of different runs can be compared."""


@dataclass(frozen=True)
class PretrainingData:
    """Everything that pretraining reads.

    Attributes:
        tokenizer: whose ids the samples hold.
        corpus: the prepared corpus, or None for MindRecord.
        train: samples to train on.
        held_out: samples to evaluate on, or None where no document was held out.
        masking: which positions are predicted.
        fingerprint: of the content of the data.
    """

    tokenizer: Tokenizer
    corpus: Corpus | None
    train: SampleSource
    held_out: SampleSource | None
    masking: Masking
    fingerprint: str


def cache_folder(data: DataSection) -> Path:
    """Where prepared corpora and sample tables go."""
    return Path(data.cache).expanduser() if data.cache else default_cache_folder()


def open_tokenizer(data: DataSection, fallback: Path | None) -> Tokenizer | None:
    """The tokenizer that a recipe names, else the one in `fallback` (a model folder), else None."""
    if data.tokenizer:
        return Tokenizer.load(place(data.tokenizer), lower_case=data.lower_case)
    return Tokenizer.load(fallback, lower_case=data.lower_case) if fallback else None


def open_corpus(data: DataSection, tokenizer: Tokenizer | None, processes: int) -> Corpus:
    """The prepared corpus of a recipe; raw text is prepared into the cache first, keyed by its content.

    Raises:
        UserError: neither text nor corpus is named, text comes without a vocabulary, or the vocabulary is another.
    """
    if data.corpus:
        corpus = Corpus.open(place(data.corpus))
        if tokenizer is not None:
            corpus.check_vocabulary(tokenizer)
        return corpus
    if not data.text:
        raise UserError("data: expected text (raw files) or corpus (made by `ms-plm prepare`), found neither.")
    if tokenizer is None:
        raise UserError(
            "data.tokenizer: expected a folder or vocab.txt, found nothing; raw text needs one. "
            "`ms-plm train-tokenizer` makes a vocabulary."
        )
    sources = [text.model_copy(update={"files": tuple(str(place(name)) for name in text.files)}) for text in data.text]
    folder = cache_folder(data) / "corpora" / corpus_key(sources, tokenizer)
    log.info("text is prepared into %s", folder)
    return prepare(sources, tokenizer, folder, processes=processes, wait=True)


def open_data(
    data: DataSection, evaluate: EvaluateSection, seed: int, processes: int, model_folder: Path | None = None
) -> PretrainingData:
    """Open everything.

    Args:
        data: section of a recipe.
        evaluate: may name another corpus for evaluation.
        seed: of the draws that make training samples.
        processes: to prepare raw text with.
        model_folder: a model that training continues from; its tokenizer is the default.

    Raises:
        UserError: see the parts.
    """
    tokenizer = open_tokenizer(data, model_folder)
    if data.mindrecord:
        return _open_mindrecord(data, evaluate, tokenizer)
    corpus = open_corpus(data, tokenizer, processes)
    tokenizer = tokenizer or corpus.tokenizer()
    train = _samples(corpus, "train", data, seed)
    held_out = _other_held_out(data, evaluate, tokenizer)
    if held_out is None and corpus.counts("held_out").documents:
        held_out = _samples(corpus, "held_out", data, EVALUATION_SEED)
    masking = build_masking(data.masking, tokenizer)
    return PretrainingData(tokenizer, corpus, train, held_out, masking, corpus.fingerprint)


def _other_held_out(data: DataSection, evaluate: EvaluateSection, tokenizer: Tokenizer) -> CorpusSamples | None:
    """Samples of the corpus that is named for evaluation: its held-out documents, else all of it."""
    if not evaluate.corpus:
        return None
    corpus = Corpus.open(place(evaluate.corpus))
    corpus.check_vocabulary(tokenizer)
    split = "held_out" if corpus.counts("held_out").documents else "train"
    return _samples(corpus, split, data, EVALUATION_SEED)


def _samples(corpus: Corpus, split: str, data: DataSection, seed: int) -> CorpusSamples:
    return CorpusSamples(
        corpus,
        split,
        data.max_length,
        data.nsp,
        data.short_sample_probability,
        cache=cache_folder(data),
        seed=seed,
    )


def _open_mindrecord(data: DataSection, evaluate: EvaluateSection, tokenizer: Tokenizer | None) -> PretrainingData:
    """Samples whose masks are in the files; held-out documents come from `evaluate.corpus`, masked as `data` says."""
    from ms_plm.data.mindrecord import MindRecordSamples

    path = place(data.mindrecord)
    if tokenizer is None and (path / "tokenizer").is_dir():
        tokenizer = Tokenizer.load(path / "tokenizer", lower_case=data.lower_case)
    if tokenizer is None:
        raise UserError(f"data.tokenizer: {path} comes without its vocabulary; name its folder or vocab.txt.")
    train = MindRecordSamples(path, cache=cache_folder(data), tokenizer=tokenizer, nsp=data.nsp)
    if train.max_length != data.max_length:
        raise UserError(
            f"data.max_length is {data.max_length}, but the samples in {path} have {train.max_length} tokens. Set "
            f"data.max_length={train.max_length}, or write the files anew with --max-length {data.max_length}."
        )
    held_out = _other_held_out(data, evaluate, tokenizer)
    masking = train.masking(otherwise=build_masking(data.masking, tokenizer))
    return PretrainingData(tokenizer, None, train, held_out, masking, train.fingerprint)
