"""`relative_attention` and `dropout_add_layer_norm` by the Triton kernels of `ms_plm_ascend.triton_kernels`.

In graph mode a kernel is started by a callback on the host (`ops._ms_pyfunc`, private to MindSpore, the way its own
large models take); gradients are the cells' own. **We have run this on no Ascend**: kernels and wrappers are tested
apart from the device, see `ascend/README.md`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.kernels import Call, Implementation, relative_attention
from ms_plm.kernels.dropout import DropoutSite
from ms_plm.kernels.dtypes import COMPUTE
from ms_plm.kernels.registry import for_static_training
from ms_plm.kernels.relative_attention import RotatedPositions
from ms_plm_ascend.ops.limits import keeps_less, lacks_chip
from ms_plm_ascend.triton_kernels import calls
from ms_plm_ascend.triton_kernels.calls import LARGEST_HEAD, LARGEST_TOKEN, PARTS, Attention, Dropout, Norm
from ms_plm_ascend.triton_kernels.catalogue import kernel_of

_zeros = ops.ZerosLike()  # a primitive: a function of `ops` in construct and in bprop breaks the compile


class Device:
    """What starts kernels on an Ascend (`calls.Runner`), for MindSpore's tensors."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        return ms.mint.empty(shape, dtype=dtype, device="Ascend")

    def programs(self, tasks: int, multiplies: bool) -> int:
        return min(tasks, _cores()["num_aicore" if multiplies else "num_vectorcore"])

    def run(self, kernel: str, programs: int, arguments: dict[str, Any], constants: dict[str, Any]) -> None:
        kernel_of(kernel)[(programs,)](**arguments, **constants)


@functools.cache
def _cores() -> dict[str, int]:
    from triton.runtime import driver

    return driver.active.utils.get_device_properties(driver.active.get_current_device())


def _attention(query: Tensor, reach: int, base: int, threshold: int) -> Attention:
    return Attention(query.shape[2], query.shape[3], reach, Dropout(base, threshold))


# What follows are the callbacks and the shapes of their results. MindSpore reads the annotations, and wants every
# argument named.


def _infer_attention(query, key, value, mask, keys, phi, cosines, sines, outer, swap, reach, base, threshold):
    batch, length, heads, _ = query.shape
    return Tensor(shape=query.shape, dtype=query.dtype), Tensor(shape=(batch, heads, length), dtype=ms.float32)


def triton_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    keys: Tensor,
    phi: Tensor,
    cosines: Tensor,
    sines: Tensor,
    outer: Tensor,
    swap: Tensor,
    reach: int,
    base: int,
    threshold: int,
) -> tuple[Tensor, Tensor]:
    given = (query, key, value, mask, keys, phi, cosines, sines, outer, swap)
    return _finished(_attention(query, reach, base, threshold).forward(Device(), *given))


def _infer_attention_grad(
    query, key, value, mask, keys, phi, cosines, sines, outer, swap, out, logsum, dout, reach, base, threshold
):
    like = Tensor(shape=query.shape, dtype=query.dtype)
    return like, like, like


def triton_attention_grad(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    keys: Tensor,
    phi: Tensor,
    cosines: Tensor,
    sines: Tensor,
    outer: Tensor,
    swap: Tensor,
    out: Tensor,
    logsum: Tensor,
    dout: Tensor,
    reach: int,
    base: int,
    threshold: int,
) -> tuple[Tensor, Tensor, Tensor]:
    given = (query, key, value, mask, keys, phi, cosines, sines, outer, swap, out, logsum, dout)
    return _finished(_attention(query, reach, base, threshold).backward(Device(), *given))


def _infer_norm(x, residual, weight, bias, keys, epsilon, base, threshold):
    row = Tensor(shape=x.shape[:2], dtype=ms.float32)
    return Tensor(shape=x.shape, dtype=ms.float32), row, row


def triton_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    bias: Tensor,
    keys: Tensor,
    epsilon: float,
    base: int,
    threshold: int,
) -> tuple[Tensor, Tensor, Tensor]:
    call = Norm(x.shape[2], epsilon, Dropout(base, threshold))
    return _finished(call.forward(Device(), x, residual, weight, bias, keys))


def _infer_norm_grad(x, residual, weight, keys, mean, inverse, dy, epsilon, base, threshold):
    partial = Tensor(shape=(PARTS, 2, x.shape[2]), dtype=ms.float32)
    return Tensor(shape=x.shape, dtype=x.dtype), Tensor(shape=x.shape, dtype=ms.float32), partial


def triton_norm_grad(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    keys: Tensor,
    mean: Tensor,
    inverse: Tensor,
    dy: Tensor,
    epsilon: float,
    base: int,
    threshold: int,
) -> tuple[Tensor, Tensor, Tensor]:
    call = Norm(x.shape[2], epsilon, Dropout(base, threshold))
    return _finished(call.backward(Device(), x, residual, weight, keys, mean, inverse, dy))


def _finished(results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Several results of a callback are read before its kernels have run, unless it waits for them."""
    ms.runtime.synchronize()
    return results


_INFER = {
    triton_attention: _infer_attention,
    triton_attention_grad: _infer_attention_grad,
    triton_norm: _infer_norm,
    triton_norm_grad: _infer_norm_grad,
}


@functools.cache
def _operator(function: Any) -> Any:
    """The callback as a primitive, made when the first cell wants it: MindSpore registers it for the process."""
    return ops._ms_pyfunc(infer_func=_INFER[function])(function)


class AttentionOperator(nn.Cell):
    """The attention kernels in the graph, of one configuration; tensors as in `triton_kernels/attention.py`."""

    def __init__(self, call: Attention) -> None:
        super().__init__()
        self.reach, self.base, self.threshold = call.reach, call.dropout.base, call.dropout.threshold
        self.forward_, self.backward_ = _operator(triton_attention), _operator(triton_attention_grad)

    def construct(self, query, key, value, mask, keys, phi, cosines, sines, outer, swap):
        return self.forward_(
            *(query, key, value, mask, keys, phi, cosines, sines, outer, swap, self.reach, self.base, self.threshold)
        )

    def gradient(self, query, key, value, mask, keys, phi, cosines, sines, outer, swap, out, logsum, dout):
        return self.backward_(
            *(query, key, value, mask, keys, phi, cosines, sines, outer, swap, out, logsum, dout),
            *(self.reach, self.base, self.threshold),
        )


class NormOperator(nn.Cell):
    """The normalization kernels in the graph, of one configuration; tensors as in `triton_kernels/normalization.py`."""

    def __init__(self, call: Norm) -> None:
        super().__init__()
        self.epsilon, self.base, self.threshold = call.epsilon, call.dropout.base, call.dropout.threshold
        self.forward_, self.backward_ = _operator(triton_norm), _operator(triton_norm_grad)

    def construct(self, x, residual, weight, bias, keys):
        return self.forward_(x, residual, weight, bias, keys, self.epsilon, self.base, self.threshold)

    def gradient(self, x, residual, weight, keys, mean, inverse, dy):
        given = (x, residual, weight, keys, mean, inverse, dy)
        return self.backward_(*given, self.epsilon, self.base, self.threshold)


class _Attention(nn.Cell):
    """The operator with its gradient: context `[B, S, N, D]` and logsum, which has none."""

    def __init__(self, operator: nn.Cell) -> None:
        super().__init__()
        self.operator = operator

    def construct(self, query, key, value, mask, keys, phi, cosines, sines, outer, swap):
        return self.operator(query, key, value, mask, keys, phi, cosines, sines, outer, swap)

    def bprop(self, query, key, value, mask, keys, phi, cosines, sines, outer, swap, out, dout):
        given = (query, key, value, mask, keys, phi, cosines, sines, outer, swap)
        dquery, dkey, dvalue = self.operator.gradient(*given, out[0], out[1], dout[0])
        fixed = ()
        for tensor in given[3:]:
            fixed = (*fixed, _zeros(tensor))
        return dquery, dkey, dvalue, *fixed


class _Norm(nn.Cell):
    """The operator with its gradient: y `[B, S, H]`, and mean and inverse, which have none."""

    def __init__(self, operator: nn.Cell) -> None:
        super().__init__()
        self.operator, self.sum = operator, ops.ReduceSum()

    def construct(self, x, residual, weight, bias, keys):
        return self.operator(x, residual, weight, bias, keys)

    def bprop(self, x, residual, weight, bias, keys, out, dout):
        dx, dresidual, partial = self.operator.gradient(x, residual, weight, keys, out[1], out[2], dout[0])
        sums = self.sum(partial, 0)
        return dx, dresidual, sums[0], sums[1], _zeros(keys)


def _dropout(site: DropoutSite) -> Dropout:
    return Dropout(site.base, site.threshold)


class TritonAttention(nn.Cell):
    """`relative_attention`; see `ms_plm/kernels/attention.py`."""

    def __init__(
        self,
        call: Call,
        heads: int,
        head_size: int,
        reach: int,
        site: DropoutSite | None = None,
        causal: bool = False,
        learned_table: bool = False,
        operator: type = AttentionOperator,
    ) -> None:
        super().__init__()
        self.heads, self.size, self.drops = heads, head_size, site is not None
        self.dtype = COMPUTE[call.compute]
        self.rotated = RotatedPositions(head_size)
        self.swap = Tensor(np.eye(head_size, dtype=np.float32)[np.arange(head_size) ^ 1], self.dtype)
        self.no_keys = Tensor(np.zeros((1, 2), np.int32))
        self.keeping = _Attention(operator(Attention(heads, head_size, reach)))
        if self.drops:
            self.dropping = _Attention(operator(Attention(heads, head_size, reach, _dropout(site))))

    def positions(self, table, query_length, key_length, query_offset=0):
        """phi of the compute dtype, cosines and sines `[S, D]`, and the outer rows `[2, D]`."""
        prepared = self.rotated.prepare(table, query_length, key_length, query_offset)
        return prepared[0].astype(self.dtype), prepared[1], prepared[2], prepared[3]

    def construct(self, query, key, value, mask, positions=None, rng=None, head_mask=None, query_offset=0):
        batch, length, _ = query.shape
        if mask.shape[2] != 1:
            raise ValueError("triton takes masks of keys [B, 1, 1, S] alone; set impl.kernels to another form")
        shape = (batch, length, self.heads, self.size)
        given = (query.reshape(shape), key.reshape(shape), value.reshape(shape), mask.reshape((batch, length)))
        if self.drops and rng is not None:
            context = self.dropping(*given, rng, *positions, self.swap)[0]
        else:
            context = self.keeping(*given, self.no_keys, *positions, self.swap)[0]
        if head_mask is not None:
            context = context * head_mask.reshape((1, 1, -1, 1)).astype(context.dtype)
        return context.reshape((batch, length, self.heads * self.size)), None, None


class TritonNorm(nn.Cell):
    """`dropout_add_layer_norm` of `[B, S, H]`; see `ms_plm/kernels/normalization.py`."""

    def __init__(
        self,
        call: Call,
        size: int,
        epsilon: float,
        site: DropoutSite | None = None,
        operator: type = NormOperator,
    ) -> None:
        super().__init__()
        self.drops = site is not None
        self.no_keys = Tensor(np.zeros((1, 2), np.int32))
        self.keeping = _Norm(operator(Norm(size, epsilon)))
        if self.drops:
            self.dropping = _Norm(operator(Norm(size, epsilon, _dropout(site))))

    def construct(self, x, residual, weight, bias, rng=None):
        residual = residual.astype(ms.float32)
        if self.drops and rng is not None:
            return self.dropping(x, residual, weight, bias, rng)[0]
        return self.keeping(x, residual, weight, bias, self.no_keys)[0]


BACKEND = "TRITON_BACKEND"
"""Environment variable of triton-ascend: the framework whose tensors and streams it takes."""


def missing() -> str | None:
    """What this machine lacks to start the kernels from MindSpore, or None. Imports nothing."""
    wanted = "needs triton-ascend 3.2.1 or later, the first that takes MindSpore's tensors"
    found = importlib.util.find_spec("triton")
    if found is None or not found.submodule_search_locations:
        return f"{wanted}: pip install 'triton-ascend>=3.2.1'"
    if not (Path(found.submodule_search_locations[0]) / "backends" / "ascend" / "backend_register.py").exists():
        return f"{wanted}, not {_installed()}"
    if os.environ.get(BACKEND, "").lower() != "mindspore" and importlib.util.find_spec("torch_npu"):
        return f"needs {BACKEND}=mindspore in the environment: triton-ascend takes torch_npu where it is installed"
    if shutil.which("bishengir-compile") is None:
        return "needs the compiler of CANN, bishengir-compile, in PATH: source set_env.sh of CANN 8.5 or later"
    return None


def _installed() -> str:
    for name in ("triton-ascend", "triton"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return "the triton that is installed"


def for_triton(call: Call) -> str | None:
    """`supports` of forms on these kernels."""
    return lacks_chip(call) or for_static_training(call) or missing()


def _for_attention(call: Call) -> str | None:
    if call.compute == "fp32":
        return "multiplies in fp16 or bf16"
    return keeps_less(call) or for_triton(call)


def _serves(head_size: int = 64, causal: bool = False, learned_table: bool = False, **arguments) -> str | None:
    if learned_table:
        return "is right for the fixed sinusoid alone, not for a learned table"
    if causal:
        return "has no causal form"
    if head_size > LARGEST_HEAD:
        return f"holds heads of at most {LARGEST_HEAD} numbers in a vector core, not {head_size}"
    return f"needs a head size that is a multiple of 16, not {head_size}" if head_size % 16 else None


def _norm_serves(size: int = 768, **arguments) -> str | None:
    if size > LARGEST_TOKEN:
        return f"holds tokens of at most {LARGEST_TOKEN} numbers in a vector core, not {size}"
    return None


def _code() -> list[Path]:
    """The kernels, and what prepares positions for them."""
    return [*sorted(Path(calls.__file__).parent.glob("*.py")), Path(relative_attention.__file__)]


IMPLEMENTATIONS = tuple(
    Implementation(operation, "triton", ("ascend",), cell, supports, serves=serves, proven=False, code=_code)
    for operation, cell, supports, serves in (
        ("relative_attention", TritonAttention, _for_attention, _serves),
        ("dropout_add_layer_norm", TritonNorm, for_triton, _norm_serves),
    )
)
