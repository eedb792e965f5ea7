"""Overflow on chips that saturate: too large a result becomes the largest number, and a status register tells.

Where overflow is infinite (IEEE arithmetic), the gradients' norm says all. An Ascend 910A has no such mode: infinity
itself becomes `LARGEST` there, and the register must be cleared before a forward pass and read after the gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops.operations.math_ops import NPUClearFloatStatusV2, NPUGetFloatStatusV2

LARGEST = float(np.finfo(np.float32).max)
"""What infinity becomes on a chip that saturates."""
FINITE = 1.8e19
"""A norm as large as that is not finite: it is the root of a sum of squares that overflowed, and where overflow
saturates that of `LARGEST`, about 1.84e19."""


class NpuStatus(nn.Cell):
    """The register of an Ascend device: eight words, 0 as long as nothing overflowed.

    Not yet run on hardware. Nothing ties these operators to the rest of a graph, so each takes a value that must have
    been computed before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nothing = Tensor(np.zeros(8, np.int32))
        self.clear_status, self.get_status = NPUClearFloatStatusV2(), NPUGetFloatStatusV2()

    def clear(self, after):
        """Forget what happened until `after`; the value returned must be waited for."""
        return self.clear_status(ops.depend(self.nothing, after))

    def read(self, after):
        """1.0 if anything overflowed until `after`, else 0.0; fp32 scalar."""
        status = self.get_status(ops.depend(self.nothing, after))
        return ops.reduce_max((status != 0).astype(ms.float32))


class WatchedForward(nn.Cell):
    """Forward and gradients between clearing and reading a register.

    Args:
        forward: gives terms fp32 `[terms]` and gradients from the scale, inverse weights, keys and arrays.
        status: such as `NpuStatus`.
    """

    def __init__(self, forward: nn.Cell, status: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.forward, self.status = forward, status

    def construct(self, scale, inverse_weights, rng, *arrays):
        """As `forward`; behind the last term stands 1 where this pass overflowed, so that it is added like them."""
        cleared = self.status.clear(scale)
        arrays = ops.depend(arrays, cleared)
        terms, gradients = self.forward(scale, inverse_weights, rng, *arrays)
        return ops.concat((terms, self.status.read(gradients).reshape((1,)))), gradients


def watched(forward: nn.Cell, status: Callable[[], nn.Cell] | None) -> nn.Cell:
    """A forward, between clearing and reading a register where the chip has one."""
    return forward if status is None else WatchedForward(forward, status())
