"""Held-out figures against NumPy on a tiny model's logits."""

import math

import mindspore as ms
import numpy as np
import pytest
from golden_files import GOLDENS
from mindspore import Tensor

from ms_plm.data.loader import EvaluationBatch
from ms_plm.evaluation.metrics import content_tokens, log_softmax
from ms_plm.models.folder import load
from ms_plm.tasks.runner import EvaluationResult, PretrainingEvaluator, PretrainingSums

ROWS, LENGTH, SLOTS = 3, 16, 4


@pytest.fixture(scope="module")
def model_and_tokenizer():
    ms.set_device("CPU")
    ms.set_context(mode=0)
    return load(GOLDENS / "nezha_k8", head="pretraining")


def _batch(seed: int, rows: int, vocabulary: int) -> EvaluationBatch:
    random = np.random.default_rng(seed)
    slots = random.random((ROWS, SLOTS)) < 0.7
    slots[rows:] = False
    positions = np.where(slots, random.integers(1, LENGTH - 3, (ROWS, SLOTS)), 0) + np.arange(ROWS)[:, None] * LENGTH
    arrays = {
        "input_ids": random.integers(5, vocabulary, (ROWS, LENGTH)).astype(np.int32),
        "token_type_ids": (np.arange(LENGTH) > 7).astype(np.int32)[None].repeat(ROWS, 0),
        "attention_mask": (np.arange(LENGTH) < LENGTH - 2).astype(np.int32)[None].repeat(ROWS, 0),
        "masked_positions": positions.astype(np.int32).reshape(-1),
        "masked_labels": np.where(slots, random.integers(0, vocabulary, (ROWS, SLOTS)), 0).astype(np.int32).reshape(-1),
        "masked_weights": slots.astype(np.float32).reshape(-1),
        "next_sentence_labels": random.integers(0, 2, ROWS).astype(np.int32),
    }
    real = (np.arange(ROWS) < rows).astype(np.float32)
    return EvaluationBatch(arrays, real, rows, {"masked_lm": float(slots.sum()), "next_sentence": float(rows)})


@pytest.fixture(scope="module")
def batches(model_and_tokenizer):
    size = model_and_tokenizer[1].vocab_size
    return [_batch(1, 3, size), _batch(2, 2, size)]


@pytest.fixture(scope="module")
def result(model_and_tokenizer, batches) -> EvaluationResult:
    model, tokenizer = model_and_tokenizer
    return PretrainingEvaluator(model, True, tokenizer).evaluate(batches, others={"echo": Echo()})


class Echo:
    """Answers the token that is shown."""

    def predict(self, input_ids, positions):
        return input_ids.reshape(-1)[positions]


def _by_hand(model, tokenizer, batches) -> dict[str, float]:
    losses, hits, content, next_losses, next_hits = [], [], [], [], []
    counted = content_tokens(tokenizer.vocabulary, tokenizer.special_ids)
    for batch in batches:
        arrays = batch.arrays
        out = model(*(Tensor(arrays[name]) for name in ("input_ids", "token_type_ids", "attention_mask")))
        logits = out.prediction_logits.asnumpy().reshape(-1, tokenizer.vocab_size)
        relation = log_softmax(out.seq_relationship_logits.asnumpy())
        for position, label, weight in zip(
            arrays["masked_positions"], arrays["masked_labels"], arrays["masked_weights"], strict=True
        ):
            if weight:
                losses.append(-log_softmax(logits[position])[label])
                hits.append(logits[position].argmax() == label)
                content.append(counted[label])
        for row in range(batch.rows):
            label = arrays["next_sentence_labels"][row]
            next_losses.append(-relation[row, label])
            next_hits.append(relation[row].argmax() == label)
    figures = {
        "masked_lm_loss": np.mean(losses),
        "perplexity": math.exp(np.mean(losses)),
        "accuracy": np.mean(hits),
        "accuracy_words": np.mean(np.array(hits)[np.array(content)]),
        "next_sentence_loss": np.mean(next_losses),
        "next_sentence_accuracy": np.mean(next_hits),
    }
    return {"loss": figures["masked_lm_loss"] + figures["next_sentence_loss"], **figures}


def test_figures_are_those_computed_by_hand_from_all_logits(result, model_and_tokenizer, batches):
    expected = _by_hand(*model_and_tokenizer, batches)
    figures = result.figures()
    assert figures.keys() == expected.keys()
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=1e-5), name


def test_counts_leave_out_repeated_rows_and_unused_slots(result, batches):
    assert result.sums.sequences == 5
    assert result.sums.positions == sum(np.count_nonzero(batch.arrays["masked_weights"]) for batch in batches)


def test_other_predictors_are_measured_on_the_same_positions(result, batches):
    hits = total = 0
    for batch in batches:
        arrays = batch.arrays
        used = arrays["masked_weights"] > 0
        shown = arrays["input_ids"].reshape(-1)[arrays["masked_positions"][used]]
        hits, total = hits + (shown == arrays["masked_labels"][used]).sum(), total + used.sum()
    others = result.as_dict()["baselines"]
    assert others["echo"]["accuracy"] == pytest.approx(hits / total)
    assert result.others["echo"].weight == result.sums.weight


def test_figures_over_several_processes_come_from_added_sums(model_and_tokenizer, batches, result):
    model, tokenizer = model_and_tokenizer
    evaluator = PretrainingEvaluator(model, True, tokenizer)
    one, two = (evaluator.evaluate([batch]).sums for batch in batches)

    def total(values: list[float]) -> list[float]:
        return (np.array(values) + two.as_array()).tolist()

    both = evaluator.evaluate(batches[:1], total=total)
    assert both.figures() == pytest.approx(result.figures())
    assert one.sequences == 3


def test_without_next_sentence_the_loss_is_that_of_the_masked_lm(model_and_tokenizer, batches):
    model, tokenizer = model_and_tokenizer
    figures = PretrainingEvaluator(model, False, tokenizer).evaluate(batches).figures()
    assert "next_sentence_loss" not in figures
    assert figures["loss"] == figures["masked_lm_loss"]


def test_nothing_to_predict_gives_nan_and_null_in_json():
    result = EvaluationResult(PretrainingSums(sequences=2.0), nsp=False)
    assert math.isnan(result.figures()["masked_lm_loss"])
    assert result.as_dict()["figures"]["accuracy"] is None
