"""Implementations that were never run: each against float64, forward and gradients, and its time beside the bound."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from ms_plm.common.releases import cann_release, mindspore_release
from ms_plm.config.chips import CHIPS
from ms_plm.kernels import Call, Implementation, Kernels
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.verified import Record, Timing, code_of
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


def bound_milliseconds(trial: Trial, form: Implementation, call: Call, length: int | None) -> float:
    """What the call's chip needs at least for what a trial times, by the model of `ms_plm_ascend.roofline`."""
    return 1000 * bound(trial.work(form, call, length), CHIPS[call.chip]).seconds


def instead_of(form: Implementation, call: Call) -> Implementation:
    """What `auto` takes where nothing is verified."""
    forms = implementations()[form.operation]
    return max((f for f in forms if f.proven and not f.declines(call)), key=lambda f: f.preference)


def timings(trial: Trial, form: Implementation, instead: Implementation, call: Call, repeats: int) -> list[Timing]:
    """A form's time beside that of another one and the bound, at each length of a trial."""
    return [
        Timing(
            length=length,
            milliseconds=milliseconds(trial, form, call, length, repeats),
            instead_milliseconds=milliseconds(trial, instead, call, length, repeats),
            bound_milliseconds=bound_milliseconds(trial, form, call, length),
        )
        for length in trial.timed_lengths
    ]


def verify(form: Implementation, call: Call, trial: Trial | None = None, repeats: int = 20) -> Verdict:
    """Hold a form against float64, and time it beside what is taken without it; a right one gets a record.

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
    instead = instead_of(form, call)
    taken = timings(trial, form, instead, call, repeats)
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
        instead=instead.name,
        timings=taken,
    )
    told = "; ".join(_told(timing, instead.name) for timing in taken)
    timed = {name: value for timing in taken for name, value in _figures(timing).items()}
    answer = f"right to {figures[worst]:.1e}; {told}"
    return Verdict(True, answer, {**figures, **(dropout or {}), **timed}, record.model_dump())


def _at(timing: Timing) -> str:
    return f" at {timing.length}" if timing.length else ""


def _told(timing: Timing, instead: str) -> str:
    share = timing.bound_milliseconds / timing.milliseconds
    return (
        f"{timing.milliseconds:.2f} ms{_at(timing)}, {instead} {timing.instead_milliseconds:.2f}, at least "
        f"{timing.bound_milliseconds:.2f} by the model ({share:.0%})"
    )


def _figures(timing: Timing) -> dict[str, float]:
    names = {"ms": timing.milliseconds, "instead ms": timing.instead_milliseconds}
    return {f"{name}{_at(timing)}": value for name, value in {**names, "bound ms": timing.bound_milliseconds}.items()}


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
