"""Questions whose answer is a piece of a text: SQuAD's format and CMRC 2018's first one; and the sets that come so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks.clue import submission
from ms_plm.data.benchmarks.examples import QuestionExample
from ms_plm.data.benchmarks.files import Place, document, entry, mapping, name_of, sequence, text_of, whole_of
from ms_plm.data.benchmarks.tasks import OWN, BenchmarkTask, Source, Submission, one

XQUAD_LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


@dataclass(frozen=True)
class Paragraphs:
    """SQuAD's JSON, versions 1.1 and 2.0, or the list of paragraphs (`context_text`, `query_text`) CMRC began with.

    Answers stay as the file has them, offsets that do not fit included: `ms_plm.data.answers` mends them.
    """

    def read(self, path: Path, labelled: bool, dropped: Counter[str]) -> Iterator[tuple[Place, QuestionExample]]:
        """Examples with their places; see `Table.read`."""
        content = document(path)
        if isinstance(content, list):
            yield from _first_format(content, path)
            return
        for number, article in enumerate(
            sequence(entry(mapping(content, Place(path)), "data", Place(path)), Place(path))
        ):
            place = Place(path, record=f"article {number}")
            for paragraph in sequence(entry(mapping(article, place), "paragraphs", place), place):
                context = text_of(mapping(paragraph, place), "context", place)
                for question in sequence(entry(paragraph, "qas", place), place):
                    yield _question(mapping(question, place), context, path, place)


def _question(record: dict[str, Any], context: str, path: Path, place: Place) -> tuple[Place, QuestionExample]:
    identifier = name_of(entry(record, "id", place))
    place = Place(path, record=f"question {identifier}")
    impossible = record.get("is_impossible", False)
    answers = [] if impossible else sequence(record.get("answers", []), place)
    pairs = [(text_of(mapping(one, place), "text", place), whole_of(one, "answer_start", place)) for one in answers]
    question = text_of(record, "question", place)
    return place, QuestionExample(
        identifier, question, context, tuple(pair for pair in pairs if pair[0]), bool(impossible)
    )


def _first_format(content: list[Any], path: Path) -> Iterator[tuple[Place, QuestionExample]]:
    """Paragraphs whose answers are texts without offsets."""
    for number, paragraph in enumerate(content):
        place = Place(path, record=f"paragraph {number}")
        context = text_of(mapping(paragraph, place), "context_text", place)
        for question in sequence(entry(paragraph, "qas", place), place):
            identifier = name_of(entry(mapping(question, place), "query_id", place))
            here = Place(path, record=f"question {identifier}")
            answers = sequence(question.get("answers", []), here)
            if not all(isinstance(answer, str) for answer in answers):
                raise UserError(f"{here}: field 'answers': expected a list of texts.")
            pairs = tuple((answer, -1) for answer in answers if answer)
            yield here, QuestionExample(identifier, text_of(question, "query_text", here), context, pairs)


def _splits(**names: tuple[str, ...]) -> dict[str, tuple[Source, ...]]:
    return {split: tuple(Source((name,), Paragraphs()) for name in files) for split, files in names.items()}


def _squad(version: str, metrics: tuple[str, ...]) -> BenchmarkTask:
    return BenchmarkTask(
        f"squad{version[0]}",
        "question_answering",
        _splits(train=(f"train-v{version}.json",), dev=(f"dev-v{version}.json",)),
        metrics,
        submission=Submission("answers", {"dev": "predictions.json"}),
    )


QUESTIONS = (
    _squad("1.1", ("squad_f1", "squad_em")),
    _squad("2.0", ("squad_f1", "squad_em", "squad_has_answer_f1", "squad_no_answer_accuracy")),
    BenchmarkTask(
        "clue/cmrc2018",
        "question_answering",
        _splits(
            train=("train.json", "cmrc2018_train.json"),
            dev=("dev.json", "cmrc2018_dev.json"),
            test=("test.json", "cmrc2018_test.json"),
            test_trial=("trial.json", "cmrc2018_trial.json"),
        ),
        ("cmrc_f1", "cmrc_em"),
        submission=submission("cmrc2018", answers=True),
    ),
    BenchmarkTask(
        "drcd",
        "question_answering",
        _splits(
            train=("DRCD_training.json", "train.json"),
            dev=("DRCD_dev.json", "dev.json"),
            test=("DRCD_test.json", "test.json"),
        ),
        ("cmrc_f1", "cmrc_em"),
    ),
    *(
        BenchmarkTask(
            f"xquad/{language}",
            "question_answering",
            _splits(test=(f"xquad.{language}.json",)),
            ("squad_f1", "squad_em", *(("cmrc_f1", "cmrc_em") if language == "zh" else ())),  # XTREME has the first two
        )
        for language in XQUAD_LANGUAGES
    ),
)


def own_questions(
    files: Mapping[str, str], metrics: tuple[str, ...] = ("squad_f1", "squad_em"), name: str = OWN
) -> BenchmarkTask:
    """A task of your own files in SQuAD's format.

    Args:
        files: split (train, dev, test ...) -> file.
        metrics: what is computed, the first decides; for Chinese `cmrc_f1` and `cmrc_em`.
        name: what the task is called.
    """
    return BenchmarkTask(
        name, "question_answering", {split: one(file, Paragraphs()) for split, file in files.items()}, tuple(metrics)
    )
