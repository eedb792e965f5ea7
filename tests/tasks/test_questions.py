"""Answers in texts: the loss over the tokens of a window, answers read from logits, the threshold for none."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_run
from task_models import cross_entropy, loss_of, tiny_model

from ms_plm.config.finetuning import TextLimits
from ms_plm.data.benchmarks import TASKS, QuestionExample
from ms_plm.tasks.kind import TaskLogits, all_logits
from ms_plm.tasks.questions import THRESHOLD, QuestionKind, answer

LIMITS = TextLimits(max_length=12, stride=3, max_question=3, max_answer=4)
KIND = QuestionKind(TASKS["squad2"], None, LIMITS)
EXAMPLES = [
    QuestionExample("0", "ba be", "da de di do du fa fe fi", (("do du", 9),)),
    QuestionExample("1", "bi", "ga ge", (), impossible=True),
    QuestionExample("2", "bo", "ka ke ki", ()),
]


@pytest.fixture(scope="module")
def model():
    return tiny_model(KIND.head)


@pytest.fixture(scope="module")
def samples():
    return KIND.samples(EXAMPLES, tiny_run.tokenizer())


def test_the_loss_is_over_the_tokens_of_a_window_however_far_it_is_padded(model, samples):
    """A window without the answer points to [CLS]; a question without a label has no weight."""
    rows = samples.rows
    logits = all_logits(TaskLogits(model), rows, (16,), 2, 2)
    parts = np.split(logits, rows.starts[1:-1])
    each = [
        (cross_entropy(part[:, 0], first) + cross_entropy(part[:, 1], last)) / 2
        for part, (first, last) in zip(parts, rows.labels, strict=True)
    ]
    assert rows.weights.tolist() == [1.0] * (len(rows) - 1) + [0.0]
    assert (rows.labels == 0).all(1).sum() >= 2
    expected = sum(each[:-1])
    for length in (16, 24):
        assert loss_of(KIND, model, rows, None, length) == pytest.approx(expected, rel=1e-5)
    assert KIND.mean_loss(logits, rows) == pytest.approx(expected / (len(each) - 1), rel=1e-6)


def test_the_labels_of_windows_read_back_as_the_answers(samples):
    """Logits that point at the labels; the threshold leaves exactly the impossible question unanswered."""
    rows = samples.rows
    said = np.zeros((len(rows.input_ids), 2))
    for side in (0, 1):
        said[rows.starts[:-1] + rows.labels[:, side], side] = 5
    reading = KIND.read(said, samples)
    assert reading.predictions[:2] == ["do du", ""]
    assert THRESHOLD in reading.more
    never = KIND.read(said, samples, threshold=1e9)
    assert never.predictions[0] == "do du"
    assert never.predictions[1] != ""
    assert not never.more


def test_questions_whose_answer_stands_nowhere_are_left_out_of_training_only():
    lost = QuestionExample("3", "ba", "da de", (("zz", 0),))
    assert len(KIND.samples([*EXAMPLES, lost], tiny_run.tokenizer(), training=True).examples) == 3
    assert len(KIND.samples([*EXAMPLES, lost], tiny_run.tokenizer()).examples) == 4


def test_answers_are_the_best_spans_by_brute_force(model):
    tokenizer = tiny_run.tokenizer()
    question, text = "ba be", "da de di do"
    (found,) = answer(model, tokenizer, [(question, text)], TextLimits(max_length=16, max_question=3, max_answer=2))
    batch = tokenizer([question], [text])
    logits = model(batch.input_ids, batch.token_type_ids, batch.attention_mask).task_logits.asnumpy()[0]
    words, first = text.split(), 4  # [CLS] ba be [SEP] da ...
    spans = {
        " ".join(words[begin : end + 1]): logits[first + begin, 0] + logits[first + end, 1]
        for begin in range(4)
        for end in range(begin, min(begin + 2, 4))
    }
    best = max(spans, key=spans.get)
    assert found["answer"] == best
    assert found["candidates"][0]["score"] == pytest.approx(spans[best], rel=1e-4)
    one = found["candidates"][0]
    assert text[one["start"] : one["stop"]] == one["text"]
    assert answer(model, tokenizer, [(question, text)], threshold=-1e9)[0]["answer"] == ""
