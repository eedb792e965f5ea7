"""Tags for words: the loss over words, tags read from logits, entities of raw texts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_run
from task_models import cross_entropy, loss_of, tiny_model

from ms_plm.common.errors import UserError
from ms_plm.config.finetuning import TextLimits
from ms_plm.config.model import ModelConfig
from ms_plm.data.benchmarks import TASKS, TokensExample
from ms_plm.tasks.kind import TaskLogits, all_logits
from ms_plm.tasks.tagging import TagKind, characters_of, tag, words_for, words_of

LABELS = ("O", "B-X", "I-X")
KIND = TagKind(TASKS["cluener"], LABELS, TextLimits(max_length=8))
EXAMPLES = [
    TokensExample("0", ("ba", "bebu", "."), ("B-X", "I-X", "O")),
    TokensExample("1", ("da", "de", "di", "do", "du", "fa", "fe"), ("O", "O", "B-X", "O", "B-X", "I-X", "I-X")),
    TokensExample("2", ("ga",), None),
]


@pytest.fixture(scope="module")
def model():
    return tiny_model(KIND.head, LABELS)


@pytest.fixture(scope="module")
def samples():
    """The second sentence is in two windows; the second word of the first has two tokens."""
    return KIND.samples(EXAMPLES, tiny_run.tokenizer())


@pytest.fixture(scope="module")
def logits(model, samples):
    return all_logits(TaskLogits(model), samples.rows, (8,), 3, 3)


def test_every_word_with_a_tag_has_weight_at_its_first_token(samples):
    assert len(samples.rows) == 4
    assert samples.rows.weights.sum() == 10
    arrays = samples.rows.rows(np.array([0]), 8)
    assert arrays["weights"][0].tolist() == [0, 1, 1, 0, 1, 0, 0, 0]
    assert arrays["labels"][0, [1, 2, 4]].tolist() == [1, 2, 0]


def test_the_loss_is_the_sum_over_words_however_far_they_are_padded(model, samples, logits):
    expected = [
        cross_entropy(row, label)
        for row, label, weight in zip(logits, samples.rows.labels, samples.rows.weights, strict=True)
        if weight
    ]
    assert loss_of(KIND, model, samples.rows, None, 8) == pytest.approx(sum(expected), rel=1e-5)
    assert loss_of(KIND, model, samples.rows, None, 16) == pytest.approx(sum(expected), rel=1e-5)
    assert KIND.mean_loss(logits, samples.rows) == pytest.approx(np.mean(expected), rel=1e-6)


def test_tags_are_those_of_the_first_tokens(samples):
    """Logits that say the labels of the examples where these stand, and something else elsewhere."""
    said = np.zeros((len(samples.rows.input_ids), 3))
    said[:, 1] = 1
    known = samples.rows.weights > 0
    said[known] = np.eye(3)[samples.rows.labels[known]]
    read = KIND.read(said, samples)
    assert read.predictions[:2] == [list(example.tags) for example in EXAMPLES[:2]]
    assert len(read.predictions[2]) == 1


def test_an_unknown_tag_is_named():
    with pytest.raises(UserError, match=r"sentence 0: tag 'B-X'; expected one of 'O', 'B-Y'"):
        TagKind(TASKS["cluener"], ("O", "B-Y"), TextLimits()).samples(EXAMPLES, tiny_run.tokenizer())


def test_words_of_raw_texts_are_chinese_characters_runs_of_letters_and_marks():
    assert words_of("北京 is_big, été 3.") == [
        ("北", 0), ("京", 1), ("is", 3), ("_", 5), ("big", 6), (",", 9), ("été", 11), ("3", 15), (".", 16)
    ]  # fmt: skip


@pytest.mark.parametrize(("task", "words"), [("cluener", characters_of), ("own", words_of), (None, words_of)])
def test_raw_texts_are_cut_as_the_models_task_cuts_them(task, words):
    config = ModelConfig(vocab_size=8, provenance={"task": task} if task else None)
    assert words_for(SimpleNamespace(config=config)) is words
    assert characters_of("3 CN") == [("3", 0), (" ", 1), ("C", 2), ("N", 3)]


def test_entities_of_raw_texts_stand_where_they_say(model):
    texts = ["ba be bi bo bu da", "", "de di. ga"]
    found = tag(model, tiny_run.tokenizer(), texts, 8)
    assert [len(item["tags"]) for item in found] == [6, 0, 4]
    for item in found:
        for one in item["entities"]:
            assert item["text"][one["start"] : one["stop"]] == one["text"]
            assert 1 / 3 <= one["probability"] <= 1
    alone = TaskLogits(model)  # the tags are what the model says most
    windows = KIND.samples([TokensExample("0", ("de", "di", ".", "ga"))], tiny_run.tokenizer())
    most = all_logits(alone, windows.rows, (8,), 1, 3).argmax(1)[1:5]
    assert found[2]["tags"] == [LABELS[number] for number in most]
