"""What of a split is confused: classes under their names, tags word by word."""

import json
from collections.abc import Sequence

import pytest

from ms_plm.data.benchmarks import TASKS, Split, TextExample, TokensExample, own_tokens
from ms_plm.tasks.confusion import told_confusion

pytest.importorskip("matplotlib")


def texts(labels: Sequence[str | None]) -> Split:
    examples = tuple(TextExample(str(number), "a", label=label) for number, label in enumerate(labels))
    return Split("clue/tnews", "dev", (), examples, TASKS["clue/tnews"].labels[:2])


def written(path) -> dict:
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def test_classes_whose_labels_are_numbers_are_shown_by_their_names(tmp_path):
    picture = tmp_path / "c.png"
    split = texts(["100", "100", "101", None])
    said = told_confusion(TASKS["clue/tnews"], split, ["100", "101", "101", "100"], picture, several=True)
    picture = tmp_path / "c_dev.png"
    assert said.splitlines() == [
        f"confused most in dev (all in {picture} and {picture.with_suffix('.json')}):",
        "  news_story taken for news_culture: 1 (50.0% of its examples)",
    ]
    assert written(picture)["labels"] == ["news_story", "news_culture"]
    assert written(picture)["counts"] == [[1, 1], [0, 1]]


def test_every_word_of_tagged_sentences_counts(tmp_path):
    examples = (TokensExample("0", ("a", "b"), ("O", "B")), TokensExample("1", ("c",), ("B",)))
    split = Split("own", "dev", (), examples, ("O", "B"))
    told_confusion(own_tokens({}, "word", "tag"), split, [("O", "O"), ("B",)], tmp_path / "c.png")
    assert written(tmp_path / "c.png")["counts"] == [[1, 0], [1, 1]]


@pytest.mark.parametrize(("label", "said"), [("100", "nothing is confused in dev"), (None, "it has no labels")])
def test_where_there_is_nothing_to_tell_that_is_said(tmp_path, label, said):
    assert said in told_confusion(TASKS["clue/tnews"], texts([label]), ["100"], tmp_path / "c.png")
    assert (tmp_path / "c.png").exists() == (label is not None)
