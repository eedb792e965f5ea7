"""Learning rate by step number (skipped updates count), computed on the host in float64."""

from __future__ import annotations

from collections.abc import Callable

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import ScheduleSection


def warmup_steps(section: ScheduleSection, total: int) -> int:
    """Number of warm-up steps."""
    if section.warmup_steps is not None:
        return section.warmup_steps
    return round((section.warmup_ratio or 0.0) * total)


def build_schedule(section: ScheduleSection, peak: float, total: int) -> Callable[[int], float]:
    """The learning rate of the update that follows `step` finished ones.

    Warm-up: peak (step + 1) / warmup, so that no update is wasted at rate 0 and the peak is met at its end. Then
    final + (1 - final) (1 - progress)^power times the peak, with power 1 for `linear`.

    Raises:
        UserError: the warm-up is longer than the training.
    """
    warmup = warmup_steps(section, total)
    if warmup > total:
        raise UserError(
            f"train.schedule: {warmup} warm-up steps are more than the {total} steps of training; "
            "lower warmup_steps or raise train.steps."
        )

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        if section.name == "constant":
            return peak
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return peak * (section.final + (1.0 - section.final) * (1.0 - progress) ** section.power)

    return rate
