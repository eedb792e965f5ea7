"""Benchmarks and your own labelled files: what their files hold, and files of predictions for their servers."""

from ms_plm.data.benchmarks.augmented import check_augmentable, read_augmented, record_of
from ms_plm.data.benchmarks.choices import CHOICES
from ms_plm.data.benchmarks.clue import CLUE_TEXTS
from ms_plm.data.benchmarks.examples import (
    ChoiceExample,
    Example,
    QuestionExample,
    Split,
    TextExample,
    TokensExample,
    is_labelled,
)
from ms_plm.data.benchmarks.glue import GLUE
from ms_plm.data.benchmarks.others import OTHER_TEXTS, own_texts
from ms_plm.data.benchmarks.questions import QUESTIONS, own_questions
from ms_plm.data.benchmarks.reading import read_split, read_task, without_train_texts
from ms_plm.data.benchmarks.submissions import write_predictions
from ms_plm.data.benchmarks.superglue import SUPERGLUE_TEXTS
from ms_plm.data.benchmarks.tasks import OWN, BenchmarkTask, Source, Submission
from ms_plm.data.benchmarks.tokens import TOKENS, is_by_character, own_tokens

TASKS: dict[str, BenchmarkTask] = {
    task.name: task for task in (*GLUE, *CLUE_TEXTS, *SUPERGLUE_TEXTS, *OTHER_TEXTS, *QUESTIONS, *CHOICES, *TOKENS)
}
"""All benchmark tasks by name."""

__all__ = [
    "OWN",
    "TASKS",
    "BenchmarkTask",
    "ChoiceExample",
    "Example",
    "QuestionExample",
    "Source",
    "Split",
    "Submission",
    "TextExample",
    "TokensExample",
    "check_augmentable",
    "is_by_character",
    "is_labelled",
    "own_questions",
    "own_texts",
    "own_tokens",
    "read_augmented",
    "read_split",
    "read_task",
    "record_of",
    "without_train_texts",
    "write_predictions",
]
