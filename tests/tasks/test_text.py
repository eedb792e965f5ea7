"""Classes and numbers for texts: samples, weights, losses and predictions against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_run
from mindspore import Tensor

from ms_plm.common.errors import UserError
from ms_plm.config.finetuning import TextLimits
from ms_plm.config.model import ModelConfig
from ms_plm.data.benchmarks import TASKS, TextExample
from ms_plm.kernels import Call, Kernels
from ms_plm.models.model import Model
from ms_plm.tasks.kind import TaskLogits
from ms_plm.tasks.text import TextKind, TextLoss, label_numbers
from ms_plm.training.finetuning import balanced_weights

SST, NUMBERS = TASKS["glue/sst-2"], TASKS["glue/sts-b"]
LIMITS = TextLimits(max_length=24)

EXAMPLES = [
    TextExample("0", "ba be bi", "da", "good", None),
    TextExample("1", "da de", "di do du", "bad", None),
    TextExample("2", "fa", "gu", None, None),
]


def test_samples_hold_the_tokens_of_each_text_and_what_they_count():
    tokenizer = tiny_run.tokenizer()
    made = TextKind(SST, ["bad", "good"], LIMITS).samples(EXAMPLES, tokenizer).rows
    for number, example in enumerate(EXAMPLES):
        alone = tokenizer([example.text], [example.pair], 24)
        row = made.rows(np.array([number]), 24)
        length = alone.input_ids.shape[1]
        np.testing.assert_array_equal(row["input_ids"][0, :length], alone.input_ids[0])
        np.testing.assert_array_equal(row["token_type_ids"][0, :length], alone.token_type_ids[0])
        assert row["attention_mask"].sum() == length
    assert made.labels.tolist() == [1, 0, 0]
    assert made.weights.tolist() == [1, 1, 0]


def test_a_class_that_is_not_known_is_named():
    with pytest.raises(UserError, match=r"example 0: class 'good'; expected one of 'bad', 'fair'"):
        label_numbers(EXAMPLES, ["bad", "fair"])


def test_numbers_stay_numbers():
    examples = [TextExample("0", "a", "b", 3.5, None), TextExample("1", "a", "b", None, None)]
    numbers, known = label_numbers(examples, None)
    assert numbers.tolist() == [3.5, 0.0]
    assert known.tolist() == [True, False]


def test_balanced_classes_weigh_the_same_in_sum():
    numbers = np.array([0, 0, 0, 2, 2, 1])
    weights = balanced_weights(numbers, 3)
    np.testing.assert_allclose([weights[numbers[numbers == c]].sum() for c in range(3)], [2, 2, 2])
    assert np.isfinite(balanced_weights(numbers, 5)).all()


def test_predictions_are_names_or_numbers_within_bounds():
    logits = np.array([[0.1, 0.4], [2.0, -1.0]])
    assert TextKind(SST, ["bad", "good"], LIMITS).read(logits, None).predictions == ["good", "bad"]
    numbers = np.array([[6.0], [-1.0], [2.5]])
    assert TextKind(NUMBERS, None, LIMITS).read(numbers, None).predictions == [5.0, 0.0, 2.5]


@pytest.mark.parametrize("labels", [("bad", "good", "fair"), 1])
def test_the_loss_is_the_weighted_sum_over_samples(labels):
    """Cross-entropy or squared differences in float64 from the model's own logits; without dropout."""
    config = ModelConfig(
        vocab_size=len(tiny_run.VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    ).with_labels(labels)
    model = Model(config, "sequence_classification", Kernels(Call(training=True))).initialise(5)
    names = None if labels == 1 else labels
    answers = [2.0, -1.0, 0.5] if labels == 1 else ["good", "fair", "bad"]
    examples = [
        TextExample(str(n), text, None, answer, None)
        for n, (text, answer) in enumerate(zip(("ba be", "da", "fi fo fu"), answers, strict=True))
    ]
    kind = TextKind(NUMBERS if labels == 1 else SST, names, TextLimits(max_length=8))
    samples = kind.samples(examples, tiny_run.tokenizer()).rows
    arrays = samples.rows(np.arange(3), 8)
    weights = np.array([1.0, 0.0, 2.0], np.float32)
    inputs = [Tensor(arrays[name]) for name in ("input_ids", "token_type_ids", "attention_mask")]
    logits = TaskLogits(model)(*inputs).asnumpy().astype(np.float64)
    if labels == 1:
        losses = (logits[:, 0] - np.array(answers)) ** 2
    else:
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(3), arrays["labels"]]
    found = TextLoss(model)(None, *inputs, Tensor(arrays["labels"]), Tensor(weights)).asnumpy()
    np.testing.assert_allclose(found, [(losses * weights).sum()], rtol=1e-5)
    np.testing.assert_allclose(kind.mean_loss(logits, samples), losses.mean(), rtol=1e-6)
