"""Dropout: the same bits in the graph and on the host, masks where the plan puts them, nothing in evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from measured import Measured, need
from mindspore import Tensor, nn

from ms_plm.common import rng
from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.dropout import DropoutPlan, StockDropout

KEYS = rng.sample_keys(3, 1, np.arange(4, 7), rng.DROPOUT)
LENGTH, WIDTH, HEADS = 5, 7, 3
HIDDEN, SCORES = (3, LENGTH, WIDTH), (3, HEADS, LENGTH, LENGTH)


def _plan() -> tuple[DropoutPlan, list]:
    """A site on hidden values, one on scores, one on hidden values again; the sample counts are odd."""
    plan = DropoutPlan()
    return plan, [plan.hidden(0.1, WIDTH), plan.scores(0.5, HEADS), plan.hidden(0.3, WIDTH)]


class ThreeSites(nn.Cell):
    """Dropout of ones at every site of `_plan`."""

    def __init__(self, form: str, sites: list) -> None:
        super().__init__()
        kernels = Kernels(Call(training=True), {"dropout": form})
        self.first, self.second, self.third = (kernels.build("dropout", site=site) for site in sites)

    def construct(self, hidden, scores, random=None):
        return self.first(hidden, random), self.second(scores, random), self.third(hidden, random)


def _apply(form: str, random: np.ndarray | None) -> list[np.ndarray]:
    _, sites = _plan()
    random = None if random is None else Tensor(random)
    out = ThreeSites(form, sites).set_train(True)(Tensor(np.ones(HIDDEN, "f")), Tensor(np.ones(SCORES, "f")), random)
    return [value.asnumpy() for value in out]


@pytest.mark.parametrize("form", ["hash", "native"])
def test_the_hash_in_the_graph_gives_the_hosts_bits(form: str) -> None:
    need(form)
    plan, sites = _plan()
    hashed, masked = _apply(form, KEYS), _apply("host_mask", plan.host_mask(KEYS, LENGTH))
    for site, one, other in zip(sites, hashed, masked, strict=True):
        np.testing.assert_array_equal(one, other)
        kept = np.empty((3, one[0].size), np.bool_)
        rng.keep_mask(KEYS, site.operation, one[0].size, rng.keep_threshold(site.probability), kept)
        np.testing.assert_array_equal(one.reshape(3, -1) > 0, kept)


def test_kept_values_are_scaled_so_that_the_mean_stays() -> None:
    _, sites = _plan()
    for site, values in zip(sites, _apply("hash", KEYS), strict=True):
        expected = 65536 / rng.keep_threshold(site.probability)
        np.testing.assert_allclose(values[values > 0], expected, rtol=1e-6)
        assert expected == pytest.approx(1 / (1 - site.probability), rel=1e-4)


def test_a_plan_lays_masks_one_after_the_other() -> None:
    plan, sites = _plan()
    mask, at = plan.host_mask(KEYS, LENGTH), 0
    for site, shape in zip(sites, (HIDDEN, SCORES, HIDDEN), strict=True):
        assert site.offset(3, LENGTH) == at
        kept = np.empty((3, int(np.prod(shape[1:]))), np.bool_)
        rng.keep_mask(KEYS, site.operation, kept.shape[1], rng.keep_threshold(site.probability), kept)
        np.testing.assert_array_equal(mask[at : at + kept.size], kept.ravel())
        at += kept.size
    assert at == plan.size(3, LENGTH) == mask.size


def test_a_samples_mask_does_not_depend_on_its_batch() -> None:
    plan, sites = _plan()
    mask = plan.host_mask(KEYS, LENGTH)
    for row in range(3):
        alone = plan.host_mask(KEYS[row : row + 1], LENGTH)
        for site, count in zip(sites, (LENGTH * WIDTH, HEADS * LENGTH**2, LENGTH * WIDTH), strict=True):
            start = site.offset(3, LENGTH) + row * count
            begin = site.offset(1, LENGTH)
            np.testing.assert_array_equal(mask[start : start + count], alone[begin : begin + count])


@pytest.mark.parametrize("form", ["hash", "host_mask", "native"])
def test_without_random_numbers_values_pass(form: str) -> None:
    need(form)
    for values in _apply(form, None):
        assert (values == 1).all()


def test_probability_zero_has_no_site_and_no_mask() -> None:
    plan = DropoutPlan()
    assert plan.hidden(0.0, WIDTH) is None
    assert plan.scores(0.0, HEADS) is None
    assert not plan
    assert plan.host_mask(KEYS, LENGTH).size == 0
    kernel = Kernels(Call(training=True)).build("dropout", site=None)
    x = Tensor(np.ones(HIDDEN, "f"))
    np.testing.assert_array_equal(kernel(x, Tensor(KEYS)).asnumpy(), x.asnumpy())


class _WithKeys(Measured):
    def outputs(self, *inputs):
        return (self.kernel(inputs[0], inputs[1]),)


@pytest.mark.parametrize("form", ["hash", "host_mask", "native"])
def test_dropped_values_get_no_gradient(form: str) -> None:
    need(form)
    plan = DropoutPlan()
    site = plan.hidden(0.3, WIDTH)
    kernel = Kernels(Call(training=True), {"dropout": form}).build("dropout", site=site)
    mask = plan.host_mask(KEYS, LENGTH)
    draw = np.random.default_rng(0)
    x, cotangent = draw.standard_normal(HIDDEN).astype("f"), draw.standard_normal(HIDDEN).astype("f")
    random = mask if form == "host_mask" else KEYS
    (values,), (gradient,) = _WithKeys(kernel, [cotangent], 1).measure(x, random)
    factor = mask.reshape(HIDDEN) * (65536 / rng.keep_threshold(0.3))
    np.testing.assert_allclose(values, x * factor, rtol=1e-6)
    np.testing.assert_allclose(gradient, cotangent * factor, rtol=1e-6)


def test_half_precision_stays_half() -> None:
    plan = DropoutPlan()
    kernel = Kernels(Call(training=True), {"dropout": "hash"}).build("dropout", site=plan.hidden(0.5, WIDTH))
    out = kernel(Tensor(np.ones(HIDDEN, np.float16)), Tensor(KEYS)).asnumpy()
    assert out.dtype == np.float16
    assert set(np.unique(out)) == {0.0, 2.0}


def test_the_devices_own_dropout_is_refused_where_resume_must_be_exact() -> None:
    with pytest.raises(UserError, match=r"impl\.kernels\.dropout: stock cannot be used.*exact_resume: false"):
        Kernels(Call(device="ascend"), {"dropout": "stock"})
    assert Kernels(Call(device="ascend", exact_dropout=False)).choose("dropout")[0].name == "stock"


def test_the_devices_own_dropout_differs_between_seeds_processes_and_places() -> None:
    _, sites = _plan()
    same = [replace(site, probability=0.5) for site in sites]

    def mask(seed: int, site) -> bytes:
        out = StockDropout(Call(seed=seed), site).set_train(True)(Tensor(np.ones((1, 400), "f")), Tensor(KEYS))
        assert set(np.unique(out.asnumpy())) == {0.0, 2.0}
        return out.asnumpy().tobytes()

    drawn = [mask(seed, site) for seed in (0, 1, 2**40 + 1) for site in same]
    assert len(set(drawn)) == len(drawn)
    assert mask(1, same[0]) == drawn[3]
    assert StockDropout(Call(seed=1), same[0]).dropout.Seed0 > 0
