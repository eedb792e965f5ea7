"""Learning rates against closed forms."""

from __future__ import annotations

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import ScheduleSection
from ms_plm.training.schedule import build_schedule, warmup_steps


def test_warm_up_rises_from_one_share_to_the_peak() -> None:
    rate = build_schedule(ScheduleSection(warmup_steps=4), 0.8, 12)
    assert [rate(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_linear_decay_meets_the_final_share_at_the_end() -> None:
    rate = build_schedule(ScheduleSection(warmup_steps=4, final=0.1), 0.8, 12)
    for step in range(4, 13):
        assert rate(step) == pytest.approx(0.8 * (1 - 0.9 * (step - 4) / 8))
    assert rate(4) == pytest.approx(0.8)
    assert rate(12) == pytest.approx(0.08)
    assert rate(100) == pytest.approx(0.08)


def test_polynomial_decay_has_its_power() -> None:
    rate = build_schedule(ScheduleSection(name="polynomial", power=2.0), 1e-3, 10)
    for step in range(11):
        assert rate(step) == pytest.approx(1e-3 * (1 - step / 10) ** 2)


def test_constant_stays_at_the_peak_after_the_warm_up() -> None:
    rate = build_schedule(ScheduleSection(name="constant", warmup_steps=2), 0.5, 10)
    assert [rate(step) for step in (0, 1, 2, 9, 50)] == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.5])


def test_warm_up_may_be_a_share_of_the_training() -> None:
    assert warmup_steps(ScheduleSection(warmup_ratio=0.1), 250) == 25
    assert warmup_steps(ScheduleSection(), 250) == 0
    assert warmup_steps(ScheduleSection(warmup_steps=7), 250) == 7


def test_without_warm_up_training_begins_at_the_peak() -> None:
    assert build_schedule(ScheduleSection(), 0.3, 10)(0) == 0.3


def test_no_update_of_a_linear_training_is_wasted_at_rate_zero() -> None:
    rate = build_schedule(ScheduleSection(warmup_steps=3), 1.0, 9)
    assert min(rate(step) for step in range(9)) > 0


def test_a_training_that_is_all_warm_up_ends_at_the_peak() -> None:
    rate = build_schedule(ScheduleSection(warmup_steps=5), 1.0, 5)
    assert rate(4) == 1.0
    assert rate(5) in (0.0, 1.0)


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.schedule: 11 warm-up steps are more than the 10 steps"):
        build_schedule(ScheduleSection(warmup_steps=11), 1.0, 10)
