"""The proxy: what it says of a map depends on map and seed alone, and nothing is compiled for a new one."""

from __future__ import annotations

import time

import mindspore as ms
import numpy as np
import pytest
import tiny_search
from mindspore import Tensor

from ms_plm.distill.search.proxy import Proxy, Start, skipped_losses


@pytest.fixture(scope="module")
def proxy(base, tmp_path_factory):
    ms.set_device("CPU")
    ms.set_context(mode=0)
    return Proxy(tiny_search.recipe(base, tmp_path_factory.mktemp("search") / "run"))


@pytest.fixture(scope="module")
def answers(proxy):
    asked = [([1, 3], 1), ([3, 0], 1), ([1, 3], 2), ([1, 3], 1)]
    found = []
    for gene, seed in asked:
        encoder = proxy._distilled(gene, seed)
        begun = time.monotonic()
        found.append((encoder, proxy({"gene": gene, "seed": seed}), time.monotonic() - begun))
    return found


def same(one: dict, other: dict) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_a_map_gets_the_same_again_whatever_was_evaluated_between(answers):
    (first, said, _), *_, (last, said_last, _) = answers
    assert same(first, last)
    assert said["figures"] == said_last["figures"]
    assert list(said["figures"]) == ["train.tsv accuracy"]
    assert 0.0 <= said["figures"]["train.tsv accuracy"] <= 1.0


def test_maps_and_seeds_differ(answers):
    (first, *_), (other_map, *_), (other_seed, *_), _ = answers
    assert not same(first, other_map)
    assert not same(first, other_seed)


def test_only_the_first_map_waits_for_the_compiler(answers):
    seconds = [taken for *_, taken in answers]
    assert max(seconds[1:]) < 0.7 * seconds[0]


def test_skipping_a_layer_is_what_a_teacher_without_it_does(proxy):
    ids = np.random.default_rng(0).integers(5, 60, (4, 9)).astype(np.int32)
    batch = (ids, np.zeros_like(ids), np.ones_like(ids))
    losses = skipped_losses(proxy.teacher, [batch])
    teacher = proxy.teacher.encoder
    mask = Tensor(np.zeros((4, 1, 1, 9), np.float32))
    for skipped, loss in enumerate(losses):
        states = []
        for left_out in (None, skipped):
            x = teacher.embeddings(Tensor(ids), Tensor(batch[1]))
            for number, layer in enumerate(teacher.layers):
                if number != left_out:
                    x = layer(x, mask, None)[0]
            states.append(x.asnumpy())
        assert loss == pytest.approx(np.square(states[0] - states[1]).mean(), rel=1e-4)
    assert proxy({"skipped": True}) == proxy({"skipped": True})


def test_what_was_started_with_comes_back():
    parameters = [ms.Parameter(Tensor(value), name=str(n)) for n, value in enumerate((np.ones(2), np.zeros((2, 3))))]
    start = Start(parameters)
    for parameter in parameters:
        ms.ops.assign(parameter, parameter + 1)
    start.restore()
    assert parameters[0].asnumpy().tolist() == [1, 1]
    assert not parameters[1].asnumpy().any()
    ms.ops.assign(parameters[0], parameters[0] + 1)
    start.restore()
    assert parameters[0].asnumpy().tolist() == [1, 1]
