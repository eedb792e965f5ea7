"""The operators as compiled graphs, for `operators.AscendOperators`."""

from __future__ import annotations

import functools

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.ops.auto_generate import FlashAttentionScore, FlashAttentionScoreGrad

from ms_plm_ascend.bringup.operators import WHOLE_ROWS, Options


def _configured(operator: type, options: Options):
    return operator(
        options.heads,
        keep_prob=options.keep,
        scale_value=options.scale,
        pre_tokens=options.before,
        next_tokens=options.after,
        inner_precise=WHOLE_ROWS,
        input_layout="BSND",
        sparse_mode=0,
    )


class FlashForward(nn.Cell):
    """Row maxima and sums `[B, N, S, 8]` and the output, all fp32."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.score = _configured(FlashAttentionScore, options)

    def construct(self, query, key, value, shift, bits, hidden):
        largest, total, _, out = self.score(query, key, value, shift, bits, None, hidden)
        return largest, total, out.astype(ms.float32)


class FlashGradient(nn.Cell):
    """Gradients of query, key and value, fp32."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.grad = _configured(FlashAttentionScoreGrad, options)

    def construct(self, query, key, value, shift, bits, hidden, largest, total, out, cotangent):
        found = self.grad(query, key, value, cotangent, shift, bits, None, hidden, largest, total, None, out)
        return found[0].astype(ms.float32), found[1].astype(ms.float32), found[2].astype(ms.float32)


def _like(x):
    return ms.mint.empty(x.shape, dtype=x.dtype)


class Draw(nn.Cell):
    """Dropout's bits, by the device's generator with fixed seeds, as forms of attention draw them."""

    def __init__(self, keep: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.keep = shape, Tensor(keep, ms.float32)
        self.draw = ops.DropoutGenMask(Seed0=11, Seed1=13)

    def construct(self):
        return self.draw(self.shape, self.keep)


@functools.cache
def _host_step():
    """x -> x + 1, started by the host, as an operator; its name can be registered once in a process.

    It waits afterwards alone, as the callbacks of `ops.triton` do: nothing but its place among the device's operators
    tells the addition that x is there.
    """

    def add_one(x: Tensor) -> Tensor:
        result = x + 1
        ms.runtime.synchronize()
        return result

    # annotations as objects: they tell the kinds of arguments
    add_one.__annotations__ = {"x": Tensor, "return": Tensor}
    return ops._ms_pyfunc(infer_func=_like)(add_one)


class HostAndDevice(nn.Cell):
    """A host callback between two operators of the device, so many times: out of order, numbers are others."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds, self.host = rounds, _host_step()

    def construct(self, x):
        for _ in range(self.rounds):
            x = self.host(x) * 2
        return x
