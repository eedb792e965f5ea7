"""What an implementation of an operation declares, and what is known of the calls to come when one is chosen.

An implementation is a stateless cell: a function of tensors, weights passed in. Parameters live in `models/`, so a
checkpoint does not know which implementation ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Call:
    """What is known of the calls to come when a model is built.

    Attributes:
        device: cpu, gpu or ascend.
        compute: dtype of matrix products: fp32, fp16 or bf16.
        training: gradients will be asked for.
        dynamic: shapes are not known when the graph is compiled.
        wants: what the encoder gives beside its last layer: hidden_states, and of attention scores, probabilities,
            projected (queries, keys and values).
        wants_of: numbers of the layers whose attention gives that; None: all.
        exact_dropout: dropout must be a function of the keys (see `ms_plm.common.rng`).
        seed: of the device's own dropout: the run's seed and the process's rank, mixed.
        chip: of an Ascend device, see `ms_plm.config.chips`; None where unknown.
        length: of the longest sequences, in tokens; None where unknown.
        dropout: the implementation of dropout, inside other operations as well; filled in by `Kernels`.
    """

    device: str = "cpu"
    compute: str = "fp32"
    training: bool = False
    dynamic: bool = False
    wants: frozenset[str] = frozenset()
    wants_of: frozenset[int] | None = None
    exact_dropout: bool = True
    seed: int = 0
    chip: str | None = None
    length: int | None = None
    dropout: Implementation | None = None


def _always(call: Call) -> str | None:
    return None


def _nothing() -> Iterable[Path]:
    return ()


def _anything(**arguments: Any) -> str | None:
    return None


def for_training(call: Call) -> str | None:
    """`supports` of forms whose gain is in training."""
    return None if call.training else "is for training; evaluation and exported graphs use stock operators"


def for_static_training(call: Call) -> str | None:
    """`supports` of forms for training on shapes that are known when the graph is compiled."""
    return "needs static shapes" if call.dynamic else for_training(call)


def no_bf16_on_cpu(call: Call) -> str | None:
    """`supports` of forms that compute in stock operators of the compute type."""
    return "has no bf16 operators on cpu" if call.device == "cpu" and call.compute == "bf16" else None


@dataclass(frozen=True)
class Implementation:
    """One form of an operation.

    Attributes:
        operation: name of the operation.
        name: of this form; `reference` is the plain definition in stock operators.
        devices: where it runs.
        build: makes the stateless cell from the call and the operation's own arguments.
        supports: None, or the reason why it declines a call.
        preference: `auto` takes the highest among those that accept; verified ones go by their measured times.
        serves: None, or the reason why it declines the arguments that `build` is to get.
        proven: it has been run on the hardware that it is for; `auto` takes no other, unless it was verified on the
            machine itself (`ms_plm.kernels.verified`).
        code: files beside those of `build`'s folder that decide what it computes; a record of its verification is of
            these too.
    """

    operation: str
    name: str
    devices: tuple[str, ...]
    build: Callable[..., Any]
    supports: Callable[[Call], str | None] = _always
    preference: int = 0
    serves: Callable[..., str | None] = _anything
    proven: bool = True
    code: Callable[[], Iterable[Path]] = _nothing

    def declines(self, call: Call, **arguments: Any) -> str | None:
        """The reason why this form cannot serve the call, built with these arguments; or None."""
        if call.device not in self.devices:
            return f"runs on {', '.join(self.devices)}, not on {call.device}"
        return self.supports(call) or self.serves(**arguments)


ALL_DEVICES = ("cpu", "gpu", "ascend")
