"""Sharing the optimizer's state out among processes (ZeRO stage 1, Rajbhandari et al., arXiv 1910.02054).

Gradients are added over all processes as without it; then each process updates only its own tensors, of which it alone
holds the moments, and hands them to the others. Whole tensors are shared out, because LAMB needs their norms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mindspore import ParameterTuple, nn, ops

from ms_plm.training.parallel import Parallel

_MESSAGE = 1 << 22
"""Largest number of fp32 values that all processes together send at a time for a checkpoint (16 MiB)."""


def owners(shapes: Sequence[tuple[int, ...]], ranks: int) -> tuple[int, ...]:
    """The process that owns each tensor: from the largest on, each goes to the one that has least so far.

    Args:
        shapes: of the tensors.
        ranks: number of processes.
    """
    sizes = [int(np.prod(shape)) for shape in shapes]
    loads, found = [0] * ranks, [0] * len(sizes)
    for tensor in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        found[tensor] = loads.index(min(loads))
        loads[found[tensor]] += sizes[tensor]
    return tuple(found)


class Sharding:
    """Which process holds the moments of which tensor and updates it.

    Args:
        shapes: of the trained tensors, by name; the same on all processes, in the same order.
        group: the processes; None: this one owns everything.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], group: Parallel | None = None) -> None:
        self.shapes, self.group = dict(shapes), group
        self.rank, self.ranks = (group.rank, group.ranks) if group else (0, 1)
        self.owners = owners(list(self.shapes.values()), self.ranks)
        self.own = tuple(number for number, owner in enumerate(self.owners) if owner == self.rank)

    def share(self, rank: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of a process's tensors."""
        return {
            name: shape for (name, shape), owner in zip(self.shapes.items(), self.owners, strict=True) if owner == rank
        }

    def describe(self) -> str:
        """How much this process holds, for the log."""
        megabytes = [8 * size / 1e6 for size in self._sizes()]
        return (
            f"moments of {len(self.own)} of {len(self.shapes)} tensors are in this process, {megabytes[self.rank]:.2f} "
            f"of {sum(megabytes):.2f} MB; at most {max(megabytes):.2f} MB in each of {self.ranks}"
        )

    def _sizes(self) -> list[int]:
        """Number of values in each process's share."""
        return [sum(int(np.prod(shape)) for shape in self.share(rank).values()) for rank in range(self.ranks)]

    def gather(self, held: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """One array for every tensor, by name, on the first process; the others get their own back.

        All processes must call it together. Sent in messages of one size, so that one graph is compiled.

        Args:
            held: fp32 arrays of this process's tensors, in order.
        """
        mine = dict(zip(self.share(self.rank), held, strict=True))
        if self.ranks == 1:
            return mine
        sizes, flat = self._sizes(), np.concatenate([np.zeros(0, np.float32), *(array.reshape(-1) for array in held)])
        length = max(1, min(max(sizes), _MESSAGE // self.ranks))
        shares = [np.empty(size, np.float32) for size in sizes] if self.rank == 0 else []
        for begin in range(0, max(sizes), length):
            message = np.zeros(length, np.float32)
            part = flat[begin : begin + length]
            message[: part.size] = part
            received = self.group.gather_arrays(message)
            for share, values in zip(shares, received, strict=False):
                share[begin : begin + length] = values[: max(0, share.size - begin)]
        for rank, values in enumerate(shares):
            mine.update(_cut(values, self.share(rank)))
        return mine


def _cut(values: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    parts = np.split(values, ends[:-1]) if shapes else []
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


class HandOut(nn.Cell):
    """Every tensor from its owner to all processes, in place.

    A graph of its own, the same on all processes: the order of messages in a graph depends on what else is in it, and
    updates differ from process to process.
    """

    def __init__(self, parameters: ParameterTuple, sharding: Sharding) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = parameters
        self.broadcasts = [ops.Broadcast(owner) for owner in sharding.owners]

    def construct(self):
        for broadcast, parameter in zip(self.broadcasts, self.parameters):  # noqa: B905 (graph mode has no `strict`)
            ops.assign(parameter, broadcast((parameter,))[0])
        return True
