"""Implementations that were never run: each against float64, forward and gradients, and its time beside the bound."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from ms_plm.common.releases import cann_release, mindspore_release
from ms_plm.config.chips import CHIPS
from ms_plm.kernels import Call, Implementation, Kernels
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.verified import Record, code_of
from ms_plm_ascend.bringup.attention_trial import AttentionTrial
from ms_plm_ascend.bringup.check import Check, Verdict
from ms_plm_ascend.bringup.norm_trial import NormTrial
from ms_plm_ascend.bringup.operators import Operators
from ms_plm_ascend.bringup.optimizer_trial import OptimizerTrial
from ms_plm_ascend.bringup.trial import Trial, dropout_is_right, milliseconds
from ms_plm_ascend.roofline.bounds import bound

TRIALS: dict[str, Trial] = {
    "attention": AttentionTrial(relative=False),
    "relative_attention": AttentionTrial(relative=True),
    "dropout_add_layer_norm": NormTrial(),
    "optimizer_update": OptimizerTrial(),
}
"""Operation -> how its forms are verified. A form of another operation cannot be."""


def bound_milliseconds(trial: Trial, form: Implementation, call: Call) -> float:
    """What the call's chip needs at least for what a trial times, by the model of `ms_plm_ascend.roofline`."""
    return 1000 * bound(trial.work(form, call), CHIPS[call.chip]).seconds


def verify(form: Implementation, call: Call, trial: Trial | None = None, repeats: int = 20) -> Verdict:
    """Hold a form against float64 and time it; the verdict carries a record where it is right.

    Args:
        trial: default: that of the form's operation in `TRIALS`.
        repeats: how often it is timed.
    """
    trial = trial or TRIALS.get(form.operation)
    if trial is None:
        return Verdict(None, f"there is no definition of {form.operation} in float64 here")
    if reason := form.declines(call):
        return Verdict(None, f"it {reason}")
    figures, limit = trial.errors(form, call), trial.tolerance(call)
    worst = max(figures, key=figures.__getitem__)
    if not figures[worst] <= limit:
        return Verdict(False, f"WRONG: {worst} is off by {figures[worst]:.1e}, allowed are {limit:.0e}", figures)
    dropout = trial.dropout(form, call)
    if dropout is not None and not dropout_is_right(dropout):
        return Verdict(False, "WRONG with dropout", {**figures, **dropout})
    taken, least = milliseconds(trial, form, call, repeats), bound_milliseconds(trial, form, call)
    record = Record(
        operation=form.operation,
        form=form.name,
        chip=call.chip,
        dtype=call.compute,
        mindspore=str(mindspore_release()),
        cann=cann_release() or "unknown",
        code=code_of(form),
        date=date.today().isoformat(),
        errors=figures,
        tolerance=limit,
        milliseconds=taken,
        bound_milliseconds=least,
    )
    answer = f"right to {figures[worst]:.1e}; {taken:.2f} ms, at least {least:.2f} by the model ({least / taken:.0%})"
    return Verdict(True, answer, {**figures, **(dropout or {}), "ms": taken, "bound ms": least}, record.model_dump())


def call_for(operators: Operators) -> Call:
    """What training on the device asks for."""
    return Kernels(Call("ascend", operators.dtype, training=True, exact_dropout=False, chip=operators.chip)).call


def form_checks(dtypes: Iterable[str]) -> list[tuple[str, Check]]:
    """A check for every form that runs on Ascend and was never run there, by compute type."""
    made = []
    for operation, forms in implementations().items():
        for form in forms:
            if "ascend" in form.devices and not form.proven:
                made += [(dtype, _check(operation, form, dtype)) for dtype in dtypes]
    return made


def _check(operation: str, form: Implementation, dtype: str) -> Check:
    trial = TRIALS.get(operation)
    return Check(
        f"{operation}-{form.name}-{dtype}",
        f"Is {form.name} right for {operation} in {dtype}, and how fast is it?",
        trial.how if trial else "nothing: its definition is not here",
        f"it stays out of auto; the run names another form: impl.kernels={{{operation}: ...}}",
        lambda operators: verify(form, call_for(operators)),
    )
