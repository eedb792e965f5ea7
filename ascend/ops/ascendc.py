"""`dropout_add_layer_norm` and `relative_attention` by our own operators in Ascend C (`ms_plm_ascend.ascendc`).

They are installed into CANN from a package (`python -m ms_plm_ascend.ascendc --build`) and found there by name. **They
have never run on hardware**; the same kernels run on a CPU on the project's twin of Ascend C, whose library has them
under the same names: `library` is its path, and nothing on a device.

Both save what their gradient needs in fp32 (means and deviations of rows, largest scores and sums) and compute the rest
again; gradients are kernels too. Dropout takes bits of the device's own generator, one a number.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.config.precision import MASKED
from ms_plm.kernels import Call, Implementation
from ms_plm.kernels.attention import distances, numbers
from ms_plm.kernels.dropout import DropoutSite
from ms_plm.kernels.registry import for_static_training
from ms_plm_ascend.ascendc.operators import (
    ATTENTION,
    ATTENTION_GRAD,
    FOLDER,
    LAYER_NORM,
    LAYER_NORM_GRAD,
    LONGEST,
    MOST_PARTS,
    WIDEST,
    Operator,
    not_installed,
    vendors,
)
from ms_plm_ascend.ops.bits import KeepBits
from ms_plm_ascend.ops.limits import draws_bits, draws_bits_of_scores, keeps_less, lacks_chip

_zeros, _sum = ops.ZerosLike(), ops.ReduceSum()


def _operation(operator: Operator, library: str, shape, dtype, bprop=None) -> ops.Custom:
    name = f"{library}:{operator.type}" if library else operator.type
    return ops.Custom(name, out_shape=shape, out_dtype=dtype, func_type="aot", bprop=bprop)


def _parts(shape: list[int]) -> int:
    return min(int(np.prod(shape[:-1])), MOST_PARTS)


# MindSpore keeps one gradient per symbol: one operation per library, whatever differs between places is an input


@functools.cache
def _dropout_add_layer_norm(library: str) -> ops.Custom:
    backward = _operation(
        LAYER_NORM_GRAD,
        library,
        lambda dy, x, r, w, k, c, m, s: (x, x, [_parts(x), w[0]], [_parts(x), w[0]]),
        lambda dy, x, r, w, k, c, m, s: (x, dy, dy, dy),
    )

    def bprop(x, residual, weight, bias, keep, constants, out, dout):
        dx, dresidual, dweight, dbias = backward(dout[0], x, residual, weight, keep, constants, out[1], out[2])
        return dx, dresidual, _sum(dweight, 0), _sum(dbias, 0), _zeros(keep), _zeros(constants)

    return _operation(
        LAYER_NORM,
        library,
        lambda x, r, w, b, k, c: (x, x[:-1], x[:-1]),
        lambda x, r, w, b, k, c: (r, r, r),
        bprop,
    )


@functools.cache
def _relative_attention(library: str) -> ops.Custom:
    backward = _operation(
        ATTENTION_GRAD,
        library,
        lambda do, q, k, v, t, m, b, c, top, total: (q, k, v),
        lambda do, q, k, v, t, m, b, c, top, total: (q, k, v),
    )

    def bprop(query, key, value, table, mask, keep, constants, out, dout):
        dquery, dkey, dvalue = backward(dout[0], query, key, value, table, mask, keep, constants, out[1], out[2])
        return dquery, dkey, dvalue, _zeros(table), _zeros(mask), _zeros(keep), _zeros(constants)

    def shape(query, key, value, table, mask, keep, constants):
        rows = [query[0], query[2] // table[1], query[1]]
        return query, rows, rows

    return _operation(ATTENTION, library, shape, lambda q, k, v, t, m, b, c: (q, m, m), bprop)


def _keep(site: DropoutSite | None) -> float:
    return 1.0 if site is None else 1.0 - site.probability


class AscendCDropoutAddLayerNorm(nn.Cell):
    """LayerNorm(dropout(x) + residual) in one pass over memory, and its gradient in one."""

    def __init__(
        self,
        call: Call,
        size: int,
        epsilon: float,
        site: DropoutSite | None,
        library: str = "",
        bits: type = KeepBits,
    ) -> None:
        super().__init__()
        self.op, self.drops = _dropout_add_layer_norm(library), site is not None
        self.constants = Tensor(np.array([epsilon, 1.0 / _keep(site)], np.float32))
        self.nothing = Tensor(np.zeros(1, np.uint8))
        if self.drops:
            self.bits = bits(call, site)

    def construct(self, x, residual, weight, bias, rng=None):
        if x.dtype != ms.float16:
            x = x.astype(ms.float32)
        keep = self.nothing
        if self.drops and rng is not None:
            keep = self.bits(x.shape)
        return self.op(x, residual.astype(ms.float32), weight, bias, keep, self.constants)[0]


class AscendCAttention(nn.Cell):
    """`relative_attention` by blocks of rows that fit in a vector core's memory; see plm_relative_attention.cpp.

    What layers share is the table by distance, fp16 `[2S-1, D]`.
    """

    def __init__(
        self,
        call: Call,
        heads: int,
        head_size: int,
        reach: int,
        site: DropoutSite | None = None,
        causal: bool = False,
        learned_table: bool = False,
        library: str = "",
        bits: type = KeepBits,
    ) -> None:
        super().__init__()
        self.op, self.drops = _relative_attention(library), site is not None
        self.heads, self.size, self.reach, self.causal = heads, head_size, reach, causal
        self.constants = Tensor(np.array([1.0 / math.sqrt(head_size), 1.0 / _keep(site)], np.float32))
        self.nothing = Tensor(np.zeros(1, np.uint8))
        if self.drops:
            self.bits = bits(call, site)

    def positions(self, table, query_length, key_length, query_offset=0):
        """Rows of the table for distances 1-S .. S-1.

        Raises:
            ValueError: rows are longer than the kernel takes, or there are not as many queries as keys.
        """
        if query_length != key_length:
            raise ValueError(
                f"the kernel relative_attention: ascendc takes as many queries as keys, not {query_length}"
            )
        if key_length > LONGEST:
            raise ValueError(
                f"the kernel relative_attention: ascendc takes up to {LONGEST} positions, not {key_length}; set "
                "impl.kernels.relative_attention to flash3 or rotation"
            )
        distance = numbers(2 * key_length - 1) - (key_length - 1)
        return ops.gather(table, ops.clamp(distance, -self.reach, self.reach) + self.reach, 0).astype(ms.float16)

    def construct(self, query, key, value, mask, positions=None, rng=None, head_mask=None, query_offset=0):
        batch, length, _ = query.shape
        mask = mask.astype(ms.float32)
        if self.causal:
            mask = mask + (distances(length, length) > 0).astype(ms.float32) * MASKED
        mask = ops.broadcast_to(mask, (batch, 1, mask.shape[2], length))
        keep = self.nothing
        if self.drops and rng is not None:
            keep = self.bits((batch, self.heads, length, length))
        context = self.op(query, key, value, positions, mask, keep, self.constants)[0]
        if head_mask is not None:
            by_head = context.reshape((batch, length, self.heads, self.size))
            context = (by_head * head_mask.reshape((1, 1, -1, 1)).astype(context.dtype)).reshape(context.shape)
        return context, None, None


def _for_layer_norm(call: Call) -> str | None:
    reason = lacks_chip(call) or draws_bits(call) or for_static_training(call)
    return reason or not_installed(LAYER_NORM, LAYER_NORM_GRAD)


def _for_attention(call: Call) -> str | None:
    if call.compute != "fp16":
        return "multiplies in fp16"
    if call.length is not None and call.length > LONGEST:
        return f"takes up to {LONGEST} positions, not {call.length}"
    reason = lacks_chip(call) or keeps_less(call) or draws_bits_of_scores(call) or for_static_training(call)
    return reason or not_installed(ATTENTION, ATTENTION_GRAD)


def _layer_norm_serves(size: int = 768, **arguments) -> str | None:
    if size > WIDEST:
        return f"takes rows of up to {WIDEST} numbers, not {size}"
    return f"needs a width that is a multiple of 8, not {size}" if size % 8 else None


def _attention_serves(head_size: int = 64, learned_table: bool = False, **arguments) -> str | None:
    if learned_table:
        return "gives no gradient of a learned table"
    return f"needs a head size of 16, 32, 48 ... 128, not {head_size}" if head_size % 16 or head_size > 128 else None


def _code() -> list[Path]:
    """The operators' sources, and the packages that are installed of them."""
    header = f"op_api/include/aclnn_{ATTENTION.name}.h"
    installed = [folder for folder in vendors() if (folder / header).is_file()]
    files = [path for kind in ("*.h", "*.cpp") for path in FOLDER.rglob(kind)]
    files += [path for folder in installed for path in folder.rglob("*") if path.is_file()]
    return sorted(files)


IMPLEMENTATIONS = tuple(
    Implementation(operation, "ascendc", ("ascend",), cell, supports, serves=serves, proven=False, code=_code)
    for operation, cell, supports, serves in (
        ("dropout_add_layer_norm", AscendCDropoutAddLayerNorm, _for_layer_norm, _layer_norm_serves),
        ("relative_attention", AscendCAttention, _for_attention, _attention_serves),
    )
)
