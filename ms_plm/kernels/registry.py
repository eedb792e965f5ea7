"""Which implementation of an operation runs: declared by implementations, chosen once when a model is built.

An implementation is a stateless cell: a function of tensors, weights passed in. Parameters live in `models/`, so a
checkpoint does not know which implementation ran.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ms_plm.common.errors import UserError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """What is known of the calls to come when a model is built.

    Attributes:
        device: cpu, gpu or ascend.
        compute: dtype of matrix products: fp32, fp16 or bf16.
        training: gradients will be asked for.
        dynamic: shapes are not known when the graph is compiled.
        wants: what attention gives beside the context: scores, probabilities.
        exact_dropout: dropout must be a function of the keys (see `ms_plm.common.rng`).
        dropout: the implementation of dropout inside other operations; filled in by `Kernels`.
    """

    device: str = "cpu"
    compute: str = "fp32"
    training: bool = False
    dynamic: bool = False
    wants: frozenset[str] = frozenset()
    exact_dropout: bool = True
    dropout: str = "hash"


def _always(call: Call) -> str | None:
    return None


@dataclass(frozen=True)
class Implementation:
    """One form of an operation.

    Attributes:
        operation: name of the operation.
        name: of this form; `reference` is the plain definition in stock operators.
        devices: where it runs.
        build: makes the stateless cell from the call and the operation's own arguments.
        supports: None, or the reason why it declines a call.
        preference: `auto` takes the highest among those that accept.
    """

    operation: str
    name: str
    devices: tuple[str, ...]
    build: Callable[..., Any]
    supports: Callable[[Call], str | None] = _always
    preference: int = 0

    def declines(self, call: Call) -> str | None:
        """The reason why this form cannot serve the call, or None."""
        if call.device not in self.devices:
            return f"runs on {', '.join(self.devices)}, not on {call.device}"
        return self.supports(call)


ALL_DEVICES = ("cpu", "gpu", "ascend")


def implementations() -> dict[str, tuple[Implementation, ...]]:
    """All operations with their implementations, the reference first."""
    from ms_plm.kernels import activations, attention, dropout, linear, loss, normalization, optimizer

    modules = (linear, activations, normalization, attention, dropout, loss, optimizer)
    table: dict[str, list[Implementation]] = {}
    for module in modules:
        for item in module.IMPLEMENTATIONS:
            table.setdefault(item.operation, []).append(item)
    return {name: tuple(items) for name, items in table.items()}


@dataclass
class Kernels:
    """The chosen implementations of one model.

    Attributes:
        call: see `Call`.
        request: `auto`, `reference`, or {operation: name} (`impl.kernels` of a recipe).
    """

    call: Call = field(default_factory=Call)
    request: str | dict[str, str] = "auto"

    def __post_init__(self) -> None:
        self._table = implementations()
        self._chosen: dict[str, tuple[Implementation, str]] = {}
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

        self.call = replace(self.call, dropout=self.choose("dropout")[0].name)

    def choose(self, operation: str) -> tuple[Implementation, str]:
        """The implementation of an operation and the reason for it.

        Raises:
            UserError: one was asked for that does not exist or that declines this call.
        """
        if operation not in self._chosen:
            self._chosen[operation] = self._select(operation)
            chosen, reason = self._chosen[operation]
            level = logging.INFO if self.call.training else logging.DEBUG  # evaluation and export take what is stock
            _log.log(level, "kernel %s: %s (%s)", operation, chosen.name, reason)
        return self._chosen[operation]

    def _select(self, operation: str) -> tuple[Implementation, str]:
        forms = self._table[operation]
        wanted = self.request.get(operation) if isinstance(self.request, dict) else None
        if self.request == "reference":
            wanted = forms[0].name
        if wanted not in (None, "auto"):
            for form in forms:
                if form.name == wanted:
                    reason = form.declines(self.call)
                    if reason:
                        raise UserError(f"impl.kernels.{operation}: {wanted} cannot be used here: it {reason}.")
                    return form, "asked for"
            raise UserError(
                f"impl.kernels.{operation}: no implementation {wanted!r}; there are {', '.join(f.name for f in forms)}."
            )
        refusals = {form.name: form.declines(self.call) for form in forms}
        accepting = [form for form in forms if refusals[form.name] is None]
        if not accepting:
            reasons = "; ".join(f"{name} {reason}" for name, reason in refusals.items())
            raise UserError(f"no implementation of {operation} serves this run: {reasons}.")
        best = max(accepting, key=lambda form: form.preference)
        passed = [f"{n} {r}" for n, r in refusals.items() if r]
        return best, "fastest that serves this run" + (f"; passed over: {'; '.join(passed)}" if passed else "")

    def build(self, operation: str, **arguments: Any) -> Any:
        """The chosen implementation as a stateless cell."""
        return self.choose(operation)[0].build(self.call, **arguments)
