"""Worker of attention.py: one form of our relative attention, forward and gradients of query, key and value.

Where dropout reads masks made on the host, they are made inside the timed step.
"""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
from _attention_sizes import DROPOUT, HEAD_SIZE, SHORT, SIZES, inputs
from _kernel_requests import kernels_for
from _serving import decline, resident_mb, serve, worker_arguments
from mindspore import Tensor, nn, ops

from ms_plm.common import rng
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.attention import table_tensor
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.dropout import DropoutPlan

REACH = 64
OPERATION = "relative_attention"


class Gradients(nn.Cell):
    """Of query, key and value."""

    def __init__(self, attention: nn.Cell) -> None:
        super().__init__()
        self.attention, self.gradients = attention, ops.GradOperation(get_all=True, sens_param=True)

    def _context(self, query, key, value, mask, positions, keys):
        return self.attention(query, key, value, mask, positions, keys)[0]

    def construct(self, query, key, value, mask, positions, keys, dcontext):
        return self.gradients(self._context)(query, key, value, mask, positions, keys, dcontext)[:3]


class Positions(nn.Cell):
    """What the layers of a model share; made once, not in the timed step."""

    def __init__(self, attention: nn.Cell, length: int) -> None:
        super().__init__()
        self.attention, self.table, self.length = attention, table_tensor(REACH, HEAD_SIZE), length

    def construct(self):
        return self.attention.positions(self.table, self.length, self.length)


def build_step(kernels: Kernels, batch: int, length: int, heads: int) -> Callable[[int], float]:
    """A function that runs step n."""
    plan = DropoutPlan()
    site = plan.scores(DROPOUT, heads)
    attention = kernels.build(OPERATION, heads=heads, head_size=HEAD_SIZE, site=site, causal=False)
    on_host = kernels.choose("dropout")[0].name == "host_mask"
    *arrays, dcontext = map(Tensor, inputs(batch, length, heads))
    mask = Tensor(np.zeros((batch, 1, 1, length), np.float32))
    positions = ms.mutable(Positions(attention, length)())  # a tuple would be a constant of the graph
    run = Gradients(attention).set_train()

    def step(number: int) -> float:
        keys = rng.sample_keys(1, 0, np.arange(number * batch, (number + 1) * batch), rng.DROPOUT)
        bits = Tensor.from_numpy(plan.host_mask(keys, length) if on_host else keys)
        dquery, *_ = run(*arrays, mask, positions, bits, dcontext)
        value = float(dquery.asnumpy()[0, 0, 0])
        if not np.isfinite(value):
            raise RuntimeError(f"step {number}: a gradient is {value}")
        return value

    return step


def kernels_with(form: str, compute: str) -> Kernels:
    """The implementations: everything native, or the named form with stock operators around it."""
    if form not in {item.name for item in implementations()[OPERATION]}:
        decline(f"{OPERATION} has no form {form!r}")
    call = Call(device="cpu", compute=compute, training=True)
    if form in ("native", "reference"):
        return kernels_for(form, call)
    return kernels_for("composed", call, **{OPERATION: form})


def main() -> None:
    args = worker_arguments(__doc__, **SIZES, form="reference", compute="fp32")
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.device_context.cpu.op_tuning.threads_num(args.threads)
    kernels = kernels_with(args.form, args.compute)
    build_step(kernels, 1, SHORT, args.heads)(0)
    base = resident_mb()
    about = f"mindspore {ms.__version__}, {args.compute}, dropout {kernels.choose('dropout')[0].name}"
    serve(build_step(kernels, args.batch, args.length, args.heads), about, base_mb=base)


if __name__ == "__main__":
    main()
