"""The operators of `ms_plm_ascend.ops.triton` on a CPU: the same cells around callbacks that interpret the kernels.

For a process where TRITON_INTERPRET=1 was set before Triton was imported, and Triton and MindSpore both are there. The
callbacks and their shapes name every argument: `ops.Custom` takes no `*arguments`.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_plm_ascend.triton_kernels.calls import PARTS, Attention, Norm
from ms_plm_ascend.triton_kernels.interpreter import Interpreter


def _callback(function, shapes, dtypes):
    return ops.Custom(function, out_shape=shapes, out_dtype=dtypes, func_type="pyfunc")


def _run(function, *arrays):
    return function(Interpreter(), *(np.ascontiguousarray(array) for array in arrays))


class AttentionOperator(nn.Cell):
    """As `ms_plm_ascend.ops.triton.AttentionOperator`."""

    def __init__(self, call: Attention) -> None:
        super().__init__()

        def forward(q, k, v, mask, keys, phi, cos, sin, outer, swap):
            return _run(call.forward, q, k, v, mask, keys, phi, cos, sin, outer, swap)

        def backward(q, k, v, mask, keys, phi, cos, sin, outer, swap, out, logsum, dout):
            return _run(call.backward, q, k, v, mask, keys, phi, cos, sin, outer, swap, out, logsum, dout)

        self.forward_ = _callback(
            forward,
            lambda q, k, v, mask, keys, phi, cos, sin, outer, swap: (q, (q[0], q[2], q[1])),
            lambda q, k, v, mask, keys, phi, cos, sin, outer, swap: (q, ms.float32),
        )
        self.backward_ = _callback(
            backward,
            lambda q, k, v, mask, keys, phi, cos, sin, outer, swap, out, logsum, dout: (q, q, q),
            lambda q, k, v, mask, keys, phi, cos, sin, outer, swap, out, logsum, dout: (q, q, q),
        )

    def construct(self, q, k, v, mask, keys, phi, cos, sin, outer, swap):
        return self.forward_(q, k, v, mask, keys, phi, cos, sin, outer, swap)

    def gradient(self, q, k, v, mask, keys, phi, cos, sin, outer, swap, out, logsum, dout):
        return self.backward_(q, k, v, mask, keys, phi, cos, sin, outer, swap, out, logsum, dout)


class NormOperator(nn.Cell):
    """As `ms_plm_ascend.ops.triton.NormOperator`."""

    def __init__(self, call: Norm) -> None:
        super().__init__()

        def forward(x, residual, weight, bias, keys):
            return _run(call.forward, x, residual, weight, bias, keys)

        def backward(x, residual, weight, keys, mean, inverse, dy):
            return _run(call.backward, x, residual, weight, keys, mean, inverse, dy)

        self.forward_ = _callback(
            forward,
            lambda x, residual, weight, bias, keys: (x, x[:2], x[:2]),
            lambda x, residual, weight, bias, keys: (ms.float32, ms.float32, ms.float32),
        )
        self.backward_ = _callback(
            backward,
            lambda x, residual, weight, keys, mean, inverse, dy: (x, x, (PARTS, 2, x[2])),
            lambda x, residual, weight, keys, mean, inverse, dy: (x, ms.float32, ms.float32),
        )

    def construct(self, x, residual, weight, bias, keys):
        return self.forward_(x, residual, weight, bias, keys)

    def gradient(self, x, residual, weight, keys, mean, inverse, dy):
        return self.backward_(x, residual, weight, keys, mean, inverse, dy)
