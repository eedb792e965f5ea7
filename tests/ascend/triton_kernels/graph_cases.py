"""The graph-mode cells of `ms_plm_ascend.ops.triton` around interpreted kernels; run as a program, it prints errors.

For a process with MindSpore and Triton, TRITON_INTERPRET=1 set.
"""

from __future__ import annotations

import json

import mindspore as ms
import numpy as np
from attention_cases import HEADS, Case, MeasuredAttention, problem
from interpreted import AttentionOperator, NormOperator
from measured import Measured, central_differences, largest_error
from mindspore import Tensor

from ms_plm.common import rng
from ms_plm.kernels import Call
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm_ascend.ops.triton import TritonAttention, TritonNorm

CASES = {
    "fp32": (Case(21, 21, reach=5, padded=7), np.float32),
    "fp32, dropout, head mask": (Case(21, 21, reach=5, dropout="hash", head_mask=True), np.float32),
    "fp16, dropout": (Case(21, 21, reach=5, padded=7, dropout="hash"), np.float16),
}
EPSILON = 1e-12


def attention(case: Case, dtype: type) -> dict[str, float]:
    """Errors of context and gradients."""
    call = Call(device="ascend", compute="fp16" if dtype == np.float16 else "fp32", training=True)
    options = {"heads": HEADS, "head_size": case.size, "reach": case.reach, "site": case.plan()[1]}
    cell = TritonAttention(call, operator=AttentionOperator, **options)
    return MeasuredAttention(case, cell).errors(problem(case, dtype))


class _WithKeys(Measured):
    def __init__(self, kernel, cotangents, count: int, keys: np.ndarray) -> None:
        super().__init__(kernel, cotangents, count)
        self.keys = Tensor(keys)

    def outputs(self, *inputs):
        return (self.kernel(*inputs, self.keys),)


def norm() -> dict[str, float]:
    """Errors of dropout_add_layer_norm and its gradients."""
    plan, shape = DropoutPlan(), (2, 3, 9)
    site = plan.hidden(0.4, 9)
    draw = np.random.default_rng(0)
    inputs = [draw.standard_normal(s).astype(np.float32) + 0.5 for s in (shape, shape, (9,), (9,), shape)]
    inputs, cotangent = inputs[:4], inputs[4]
    keys = rng.sample_keys(8, 0, np.arange(2), rng.DROPOUT)
    factors = plan.host_mask(keys, 3).reshape(shape) / (site.threshold / 65536)

    def formula(x, residual, weight, bias):
        h = x * factors + residual
        centred = h - h.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * weight + bias

    cell = TritonNorm(Call(device="ascend", training=True), 9, EPSILON, site, operator=NormOperator)
    outputs, gradients = _WithKeys(cell, [cotangent], 4, keys).measure(*inputs)
    expected = central_differences(lambda *arrays: float((formula(*arrays) * cotangent).sum()), inputs)
    errors = {"y": largest_error(outputs[0], formula(*(array.astype(np.float64) for array in inputs)))}
    names = ("d x", "d residual", "d weight", "d bias")
    pairs = zip(names, gradients, expected, strict=True)
    return errors | {name: largest_error(got, wanted) for name, got, wanted in pairs}


if __name__ == "__main__":
    ms.set_context(mode=0)
    ms.set_device("CPU")
    found = {name: attention(case, dtype) for name, (case, dtype) in CASES.items()}
    print(json.dumps(found | {"dropout_add_layer_norm": norm()}))
