"""Which of our forms a contestant runs, as a request for `Kernels` (`impl.kernels` of a recipe)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from _serving import decline

from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.choice import implementations

NATIVE = "native"
Arguments = Mapping[str, Mapping[str, Any]]


def kernels_for(which: str, call: Call, arguments: Arguments | None = None, **forms: str) -> Kernels:
    """The implementations of a contestant.

    Args:
        which: `auto`, `reference`, `composed` (what auto would choose if there were no native forms), or `native`
            (auto, where the native forms exist; ends the worker where they do not).
        call: of the model.
        arguments: what operations will be built with, by operation, where a form may decline it.
        forms: names of forms that are set in spite of this, by operation.
    """
    if which == NATIVE:
        reasons = native_refusals(call)
        if reasons:
            decline(f"no native form of {', '.join(reasons)}: {next(iter(reasons.values()))}")
    if which == "composed":
        return Kernels(call, {**composed_request(call, arguments or {}), **forms})
    return Kernels(call, forms or ("reference" if which == "reference" else "auto"))


def composed_request(call: Call, arguments: Arguments) -> dict[str, str]:
    """For every operation the form that `auto` would choose if there were no native one."""
    table = implementations()

    def best(operation: str, call: Call) -> str:
        given = arguments.get(operation, {})
        fitting = [form for form in table[operation] if form.name != NATIVE and form.declines(call, **given) is None]
        return max(fitting, key=lambda form: form.preference).name

    dropout = {"dropout": best("dropout", call)}
    call = Kernels(call, dropout).call  # other operations look at the form of dropout
    return dropout | {operation: best(operation, call) for operation in table if operation != "dropout"}


def native_refusals(call: Call) -> dict[str, str]:
    """Operations that have a native form which declines the call, with the reason; all of them if there is none."""
    table = implementations()
    native = {name: form for name, forms in table.items() for form in forms if form.name == NATIVE}
    if not native:
        return dict.fromkeys(table, "none is registered")
    reasons = {name: form.declines(call) for name, form in native.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def described(kernels: Kernels, arguments: Arguments | None = None) -> str:
    """The forms by name, each with the operations that take it."""
    taken: dict[str, list[str]] = {}
    for operation in implementations():
        form = kernels.choose(operation, **(arguments or {}).get(operation, {}))[0]
        taken.setdefault(form.name, []).append(operation)
    return "; ".join(f"{form}: {', '.join(operations)}" for form, operations in taken.items())
