"""The graph-mode cells of `ms_plm_ascend.ops.triton` around interpreted kernels.

Run as a program, it prints errors and losses. For a process with MindSpore and Triton, TRITON_INTERPRET=1 set.
"""

from __future__ import annotations

import json

import mindspore as ms
import numpy as np
from attention_cases import HEADS, Case, MeasuredAttention, problem
from interpreted import AttentionOperator, NormOperator
from measured import Measured, central_differences, largest_error
from mindspore import Parameter, Tensor, nn, ops

from ms_plm.common import rng
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.attention import sinusoid_table
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


class _Layer(nn.Cell):
    """A layer with dropout, trained to give what was drawn."""

    def __init__(self, attention: nn.Cell, norm: nn.Cell, target: np.ndarray) -> None:
        super().__init__()
        width, draw = target.shape[-1], np.random.default_rng(1)
        weights = draw.standard_normal((4, width, width)).astype(np.float32) / np.sqrt(width)
        self.weights = Parameter(Tensor(weights), name="weights")
        self.scale = Parameter(Tensor(np.ones(width, np.float32)), name="scale")
        self.shift = Parameter(Tensor(np.zeros(width, np.float32)), name="shift")
        self.attention, self.norm, self.target = attention, norm, Tensor(target)
        self.table = Tensor(sinusoid_table(5, 16))

    def construct(self, x, mask, keys):
        query, key, value = (
            ops.matmul(x, self.weights[0]),
            ops.matmul(x, self.weights[1]),
            ops.matmul(x, self.weights[2]),
        )
        positions = self.attention.positions(self.table, x.shape[1], x.shape[1])
        context = self.attention(query, key, value, mask, positions, keys)[0]
        out = self.norm(ops.matmul(context, self.weights[3]), x, self.scale, self.shift, keys)
        return ((out - self.target) ** 2).mean()


def training(attention: nn.Cell, norm: nn.Cell) -> list[float]:
    """Losses of 20 steps of plain descent."""
    draw = np.random.default_rng(2)
    x, target = (draw.standard_normal((2, 11, 32)).astype(np.float32) for _ in range(2))
    mask = np.zeros((2, 1, 1, 11), np.float32)
    mask[1, ..., -4:] = -1e4
    layer = _Layer(attention, norm, target)
    step = nn.TrainOneStepCell(layer, nn.SGD(layer.trainable_params(), 0.3)).set_train()
    given, losses = (Tensor(x), Tensor(mask)), []
    for number in range(20):
        keys = Tensor(rng.sample_keys(1, number, np.arange(2), rng.DROPOUT))
        losses.append(float(step(*given, keys).asnumpy()))
    return losses


def trained() -> dict[str, list[float]]:
    """Losses with the kernels and with the reference forms."""
    plan, call = DropoutPlan(), Call(device="ascend", training=True)
    scores, hidden = plan.scores(0.1, 2), plan.hidden(0.1, 32)
    attention = {"heads": 2, "head_size": 16, "reach": 5, "site": scores}
    norm = {"size": 32, "epsilon": EPSILON, "site": hidden}
    reference = Kernels(Call(training=True), "reference")
    return {
        "triton": training(
            TritonAttention(call, operator=AttentionOperator, **attention),
            TritonNorm(call, operator=NormOperator, **norm),
        ),
        "reference": training(
            reference.build("relative_attention", **attention), reference.build("dropout_add_layer_norm", **norm)
        ),
    }


if __name__ == "__main__":
    ms.set_context(mode=0)
    ms.set_device("CPU")
    found = {name: attention(case, dtype) for name, (case, dtype) in CASES.items()}
    print(json.dumps({"errors": found | {"dropout_add_layer_norm": norm()}, "losses": trained()}))
