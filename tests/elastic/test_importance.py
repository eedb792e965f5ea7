"""Importance is what finite differences in float64 say of gates on heads and of neurons' weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from elastic_models import HEADS, LAYERS, LENGTH, NEURONS, arrays, loss64, model, tensors64
from mindspore import Tensor

from ms_plm.common.errors import UserError
from ms_plm.data.buckets import LabelledSamples
from ms_plm.elastic.importance import importance
from ms_plm.elastic.rewiring import Importance
from ms_plm.elastic.training import of_first
from ms_plm.tasks.text import TextLoss

STEP = 1e-5
LAYER = "bert.encoder.layer.{}."


def samples(count: int = 6) -> LabelledSamples:
    """Sorted by length, so that batches are slices."""
    batch = arrays(count, seed=3)
    order = np.argsort(batch["attention_mask"].sum(1), kind="stable")
    batch = {name: values[order] for name, values in batch.items()}
    real = batch["attention_mask"].astype(bool)
    starts = np.concatenate(([0], np.cumsum(real.sum(1))))
    ids, types = batch["input_ids"][real], batch["token_type_ids"][real]
    return LabelledSamples(ids, types, starts, batch["labels"], batch["weights"], 0)


def batches(of: LabelledSamples, size: int) -> list[dict[str, np.ndarray]]:
    return [of.rows(np.arange(start, start + size), LENGTH) for start in range(0, len(of), size)]


def slope(config, tensors, batch, changed) -> float:
    """d loss / d factor of the named slices of tensors, at 1, by central differences."""
    ends = []
    for factor in (1 + STEP, 1 - STEP):
        moved = dict(tensors)
        for name, where in changed:
            moved[name] = tensors[name].copy()
            moved[name][where] *= factor
        ends.append(loss64(config, moved, batch))
    return (ends[0] - ends[1]) / (2 * STEP)


def expected(of, parts, original: bool) -> tuple[np.ndarray, np.ndarray]:
    """Heads `[L, N]` and neurons `[L, F]`, one slope at a time."""
    tensors, size = tensors64(of), of.config.attention_head_size
    found = []
    for batch in parts:
        heads, into, out = np.zeros((LAYERS, HEADS)), np.zeros((LAYERS, NEURONS)), np.zeros((LAYERS, NEURONS))
        for layer in range(LAYERS):
            name = LAYER.format(layer)
            for head in range(HEADS):
                columns = np.s_[:, size * head : size * (head + 1)]
                gate = [(f"{name}attention.output.dense.weight", columns)]
                heads[layer, head] = slope(of.config, tensors, batch, gate)
            for neuron in range(NEURONS):
                first = [(f"{name}intermediate.dense.{leaf}", np.s_[neuron]) for leaf in ("weight", "bias")]
                into[layer, neuron] = slope(of.config, tensors, batch, first)
                out[layer, neuron] = slope(
                    of.config, tensors, batch, [(f"{name}output.dense.weight", np.s_[:, neuron])]
                )
        found.append((heads, into, out))
    stacked = [np.stack(values) for values in zip(*found, strict=True)]
    if original:
        stacked = [np.cumsum(values, 0) for values in stacked]
    heads, into, out = (np.abs(values).sum(0) for values in stacked)
    return heads, into + out


@pytest.mark.parametrize("accumulate", ["none", "original"])
def test_importance_equals_finite_differences(accumulate):
    whole, rows = model(training=True), samples()
    found = importance(TextLoss(whole), rows, (LENGTH,), 3, accumulate)
    heads, neurons = expected(whole, batches(rows, 3), accumulate == "original")
    np.testing.assert_allclose(found.heads, heads, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.neurons, neurons, rtol=1e-3, atol=1e-5)


def test_samples_that_fill_up_the_last_batch_do_not_count():
    whole, rows = model(training=True), samples()
    loss = TextLoss(whole)
    some = importance(loss, rows, (LENGTH,), 4)
    heads, _ = expected(whole, [rows.rows(np.arange(4), LENGTH), rows.rows(np.arange(4, 6), LENGTH)], False)
    np.testing.assert_allclose(some.heads, heads, rtol=1e-3, atol=1e-5)


def test_samples_of_which_none_counts_say_nothing_and_are_refused():
    rows = samples()
    rows = replace(rows, weights=np.zeros_like(rows.weights))
    with pytest.raises(UserError, match=r"none of the 6 samples .* counts in the loss .*method\.rewire\.rows"):
        importance(TextLoss(model(training=True)), rows, (LENGTH,), 3)


def test_importance_that_is_not_finite_gives_no_order():
    whole = model(training=True)
    whole.encoder.layers[1].output.bias.set_data(Tensor(np.full(16, np.inf, np.float32)))
    with pytest.raises(UserError, match=r"is not finite: .*impl\.precision to bf16 or fp32"):
        importance(TextLoss(whole), samples(), (LENGTH,), 3)


def test_all_processes_take_the_order_that_the_first_one_found():
    """Two heads that are nearly as important as each other: another process may see them the other way round."""
    here, there = ([np.array([1.0 + sign * 1e-6, 1.0, 3.0])] for sign in (1, -1))
    neurons = [np.array([2.0, 5.0])]

    class Group:
        def gather_arrays(self, array: np.ndarray) -> np.ndarray:
            return np.stack((np.concatenate((*here, *neurons)).astype(np.float32), array))

    found = of_first(Importance(there, neurons), Group())
    assert np.argsort(-found.heads[0]).tolist() == [2, 0, 1]
    assert np.argsort(-found.neurons[0]).tolist() == [1, 0]
