"""Multiple choice: the loss over an example's own choices, gaps of one text, cutting around a gap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny_run
from task_models import cross_entropy, loss_of, tiny_model

from ms_plm.common.errors import UserError
from ms_plm.config.finetuning import TextLimits
from ms_plm.data.benchmarks import TASKS, ChoiceExample
from ms_plm.data.benchmarks.choices import GAP
from ms_plm.data.buckets import BucketedLoader
from ms_plm.tasks.choices import ChoiceKind, ChoiceLoss, around_gap, choose
from ms_plm.tasks.kind import TaskLogits, all_logits

KIND = ChoiceKind(TASKS["clue/chid"], None, TextLimits(max_length=16))
EXAMPLES = [
    ChoiceExample("0", "ba be bi", "da", ("de", "di do du"), 1),
    ChoiceExample("1", "fa", "fe", ("fi", "fo", "fu"), 2),
    ChoiceExample("2", "ga", None, ("ge", "gi"), None),
]


@pytest.fixture(scope="module")
def model():
    return tiny_model(KIND.head)


@pytest.fixture(scope="module")
def samples():
    return KIND.samples(EXAMPLES, tiny_run.tokenizer())


def test_rows_are_the_text_and_the_question_with_a_choice(samples):
    tokenizer = tiny_run.tokenizer()
    arrays = samples.rows.rows(np.array([1, 0]), 16)
    assert arrays["input_ids"].shape == (6, 16)
    for row, (text, pair) in enumerate([("fa", "fe fi"), ("fa", "fe fo"), ("fa", "fe fu"), ("ba be bi", "da de")]):
        ids = tokenizer([text], [pair]).input_ids[0]
        assert arrays["input_ids"][row, : len(ids)].tolist() == ids.tolist()
    assert arrays["attention_mask"][5].sum() == 0
    assert arrays["labels"].tolist() == [2, 1]


def test_the_loss_is_over_the_choices_that_there_are(model, samples):
    logits = all_logits(TaskLogits(model), samples.rows, (16,), 2, 3)
    expected = [cross_entropy(logits[0, :2], 1), cross_entropy(logits[1], 2)]
    for length in (16, 24):
        assert loss_of(KIND, model, samples.rows, None, length) == pytest.approx(sum(expected), rel=1e-5)
    assert KIND.mean_loss(logits, samples.rows) == pytest.approx(np.mean(expected), rel=1e-6)


def test_updates_hold_all_rows_of_their_samples_whatever_the_micro_batch(samples):
    def arrays(micro_batch):
        loader = BucketedLoader(samples.rows, 3, (16,), ChoiceLoss.weights_of, 2, micro_batch)
        return [list(loader.load(number).micro_batches) for number in range(2)]

    for whole, parts in zip(arrays(2), arrays(1), strict=True):
        for name, values in whole[0].items():
            assert len(values) == (2 if name in ("labels", "weights", "counted") else 6)
            np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))
    keys = np.concatenate([part[0]["dropout_keys"] for part in arrays(2)])
    assert len(np.unique(keys, axis=0)) == 9  # one sample fills the second update up


def test_gaps_of_one_text_take_different_choices():
    """As the best of all assignments, found by brute force."""
    draw = np.random.default_rng(1)
    gaps = [ChoiceExample(str(n), f"ba {GAP}", None, ("da", "de", "di", "do"), 0, group="g") for n in range(3)]
    samples = KIND.samples(gaps, tiny_run.tokenizer())
    for _ in range(5):
        logits = draw.standard_normal((3, 4)) * 2
        likely = np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
        best = max(itertools.permutations(range(4), 3), key=lambda p: sum(likely[n, c] for n, c in enumerate(p)))
        assert KIND.read(logits, samples).predictions == list(best)


def test_a_choice_that_there_is_not_is_never_taken(samples):
    logits = np.array([[0.0, 1.0, 9.0], [0.0, 1.0, 9.0], [2.0, 1.0, 9.0]])
    assert KIND.read(logits, samples).predictions == [1, 2, 0]


@pytest.mark.parametrize("place", [0, 3, 50, 97, 100])
def test_a_long_text_is_cut_around_its_gap(place):
    text = "x" * place + GAP + "y" * (100 - place)
    cut = around_gap(text, 60)
    assert len(cut) == 60
    assert GAP in cut
    left = cut.index(GAP)
    right = 60 - len(GAP) - left
    assert abs(left - right) <= 1 or left == place or right == 100 - place
    assert around_gap("short", 60) == "short"


def test_choosing_gives_the_likeliest_of_any_number_of_choices(model):
    questions = [("ba", "da", ["de", "di"]), ("fa", None, ["fi", "fo", "fu"])]
    together = choose(model, tiny_run.tokenizer(), questions, 16)
    for item, question in zip(together, questions, strict=True):
        assert sum(item["probabilities"]) == pytest.approx(1)
        assert item["choice"] == question[2][int(np.argmax(item["probabilities"]))]
        (alone,) = choose(model, tiny_run.tokenizer(), [question], 16)
        np.testing.assert_allclose(alone["probabilities"], item["probabilities"], rtol=1e-5)
    with pytest.raises(UserError, match="expected two at least"):
        choose(model, tiny_run.tokenizer(), [("ba", None, ["da"])])
