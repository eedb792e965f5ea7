"""The implementations of all operations, and the choice among them when a model is built."""

from __future__ import annotations

import copy
import difflib
import functools
import logging
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.kernels.attention import IMPLEMENTATIONS as ATTENTION
from ms_plm.kernels.dropout import IMPLEMENTATIONS as DROPOUT
from ms_plm.kernels.embedding import IMPLEMENTATIONS as EMBEDDING
from ms_plm.kernels.linear import IMPLEMENTATIONS as LINEAR
from ms_plm.kernels.loss import IMPLEMENTATIONS as LOSS
from ms_plm.kernels.native.forms import IMPLEMENTATIONS as NATIVE
from ms_plm.kernels.normalization import IMPLEMENTATIONS as NORMALIZATION
from ms_plm.kernels.optimizer import IMPLEMENTATIONS as OPTIMIZER
from ms_plm.kernels.registry import Call, Implementation
from ms_plm.kernels.relative_attention import IMPLEMENTATIONS as RELATIVE_ATTENTION
from ms_plm.kernels.verified import proof, rejected

_log = logging.getLogger(__name__)
ENTRY_POINTS = "ms_plm.kernels"
"""Group of entry points: each names a tuple of `Implementation`."""
_ALL = (*EMBEDDING, *LINEAR, *NORMALIZATION, *ATTENTION, *RELATIVE_ATTENTION, *DROPOUT, *LOSS, *OPTIMIZER, *NATIVE)


UNPROVEN = "it has never run on the hardware that it is for"


def refusal(form: Implementation, call: Call, **arguments: Any) -> str | None:
    """Why `auto` does not take a form for a call, built with these arguments; None where it may."""
    if reason := form.declines(call, **arguments):
        return reason
    if form.proven:
        return None
    if record := proof(form, call):
        timing = record.timing(call.length)
        if timing.milliseconds < timing.instead_milliseconds:
            return None
        at = f" at length {timing.length}" if timing.length else ""
        return f"was slower here: {timing.milliseconds:.2f} ms, {record.instead} {timing.instead_milliseconds:.2f}{at}"
    other = rejected(form, call)
    return f"is not taken unless it is asked for: {UNPROVEN}" + (f" ({other})" if other else "")


def standing(form: Implementation, call: Call) -> str:
    """What is known of a form that we could not prove: that it was verified here, or that it never ran; else empty."""
    if form.proven:
        return ""
    record = proof(form, call)
    return f"verified on this machine {record.date}" if record else UNPROVEN


def rank(form: Implementation, call: Call) -> tuple[bool, float]:
    """What `auto` compares of forms that it may take, the higher the better; verified ones were faster than others."""
    record = None if form.proven else proof(form, call)
    return (True, -record.timing(call.length).milliseconds) if record else (False, form.preference)


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


@functools.cache
def _installed() -> tuple[Implementation, ...]:
    """Implementations of other packages, by their entry points.

    Raises:
        UserError: one cannot be loaded.
    """
    found: list[Implementation] = []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.value):
        try:
            found += point.load()
        except Exception as error:
            package = point.dist.name if point.dist else point.value
            raise UserError(
                f"kernels: the entry point {point.value} of {package} cannot be loaded ({type(error).__name__}: "
                f"{error}); install a version that fits this ms_plm, or remove it."
            ) from error
    return tuple(found)


def implementations() -> dict[str, tuple[Implementation, ...]]:
    """All operations with their implementations, the reference first."""
    table: dict[str, list[Implementation]] = {}
    for item in (*_ALL, *_installed()):
        table.setdefault(item.operation, []).append(item)
    return {name: tuple(items) for name, items in table.items()}


@dataclass
class Kernels:
    """The chosen implementations of one model.

    Attributes:
        call: see `Call`.
        request: `auto`, `reference`, or {operation: name} (`impl.kernels` of a recipe).
        chosen: what has been chosen so far, as (operation, implementation) -> reason.
    """

    call: Call = field(default_factory=Call)
    request: str | dict[str, str] = "auto"

    def __post_init__(self) -> None:
        self._table = implementations()
        self.chosen: dict[tuple[str, str], str] = {}
        if isinstance(self.request, str) and self.request not in ("auto", "reference"):
            raise UserError(
                f"impl.kernels: expected auto, reference or {{operation: name}}, found {self.request!r}. "
                f"Operations: {', '.join(sorted(self._table))}."
            )
        if isinstance(self.request, dict):
            for operation in self.request:
                if operation not in self._table:
                    near = difflib.get_close_matches(operation, self._table, 1)
                    hint = f" Did you mean {near[0]}?" if near else ""
                    raise UserError(
                        f"impl.kernels.{operation}: no such operation.{hint} Expected {', '.join(sorted(self._table))}."
                    )

        self.call = replace(self.call, dropout=self.choose("dropout")[0])

    def choose(self, operation: str, **arguments: Any) -> tuple[Implementation, str]:
        """The implementation of an operation and the reason for it, which is logged once.

        Args:
            operation: its name.
            arguments: those that it is built with, as far as they are known.

        Raises:
            UserError: one was asked for that does not exist or that declines this call.
        """
        chosen, reason = self._select(operation, arguments)
        if (operation, chosen.name) not in self.chosen:
            self.chosen[operation, chosen.name] = reason
            level = logging.INFO if self.call.training else logging.DEBUG  # evaluation and export take what is stock
            _log.log(level, "kernel %s: %s (%s)", operation, chosen.name, reason)
        return chosen, reason

    def _select(self, operation: str, arguments: dict[str, Any]) -> tuple[Implementation, str]:
        forms = self._table[operation]
        wanted = self.request.get(operation) if isinstance(self.request, dict) else None
        if self.request == "reference":
            wanted = forms[0].name
        if wanted not in (None, "auto"):
            for form in forms:
                if form.name == wanted:
                    reason = form.declines(self.call, **arguments)
                    if reason:
                        raise UserError(f"impl.kernels.{operation}: {wanted} cannot be used here: it {reason}.")
                    return form, _joined("asked for", standing(form, self.call))
            raise UserError(
                f"impl.kernels.{operation}: no implementation {wanted!r}; there are {', '.join(f.name for f in forms)}."
            )
        refusals = {form.name: refusal(form, self.call, **arguments) for form in forms}
        accepting = [form for form in forms if refusals[form.name] is None]
        if not accepting:
            reasons = "; ".join(f"{name} {reason}" for name, reason in refusals.items())
            raise UserError(f"no implementation of {operation} serves this run: {reasons}.")
        best = max(accepting, key=lambda form: rank(form, self.call))
        passed = [f"{n} {r}" for n, r in refusals.items() if r]
        reason = _joined("fastest that serves this run", standing(best, self.call))
        return best, _joined(reason, f"passed over: {'; '.join(passed)}" if passed else "")

    def for_layer(self, number: int) -> Kernels:
        """The same for one layer, which gives nothing but its output where `Call.wants_of` does not name it."""
        call = self.call
        if call.wants_of is None or number in call.wants_of:
            return self
        plain = copy.copy(self)  # with the same record of what was chosen
        plain.call = replace(call, wants=frozenset())
        return plain

    def build(self, operation: str, **arguments: Any) -> Any:
        """The chosen implementation as a stateless cell."""
        return self.choose(operation, **arguments)[0].build(self.call, **arguments)
