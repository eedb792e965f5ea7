"""Operators in Ascend C as graph operations with gradients: on the twin, in graph mode; nothing here runs on Ascend."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import mindspore as ms
import numpy as np
import pytest
from attention_cases import HEADS, Case, MeasuredAttention, problem
from attention_oracle import relative_error
from measured import Measured
from mindspore import Tensor, nn, ops
from mindspore.train import mind_ir_pb2

from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.attention import sinusoid_table
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm_ascend.ascendc.check import pack
from ms_plm_ascend.ascendc.library import Library
from ms_plm_ascend.ascendc.operators import OPERATORS
from ms_plm_ascend.ops.ascendc import AscendCAttention, AscendCDropoutAddLayerNorm

CALL = Call(device="ascend", compute="fp16", training=True, exact_dropout=False)


def given(kept: np.ndarray):
    """A class as `KeepBits` that draws what is given."""

    class Given(nn.Cell):
        def __init__(self, call, site) -> None:
            super().__init__()
            self.bits = Tensor(pack(kept))

        def construct(self, shape):
            return self.bits

    return Given


CASES = {
    "padded": Case(33, 33, reach=5, padded=13),
    "shorter than the band": Case(6, 6, reach=7),
    "dropout": Case(40, 40, reach=5, padded=13, dropout="hash"),
    "head mask, a mask for every query": Case(33, 33, reach=5, square_mask=True, head_mask=True),
    "causal, all keys of a sequence padded": Case(17, 17, size=32, reach=5, causal=True, padded=17),
}


@pytest.mark.parametrize("name", CASES)
def test_attention_and_its_gradients_in_a_graph(twin: Library, name: str) -> None:
    case = CASES[name]
    asked = problem(case, np.float16)
    options = {"heads": HEADS, "head_size": case.size, "reach": case.reach, "site": case.plan()[1]}
    options |= {"causal": case.causal, "library": str(twin.path)}
    if case.dropout:
        options["bits"] = given(asked.given.factors > 0)
    errors = MeasuredAttention(case, AscendCAttention(CALL, **options)).errors(asked)
    assert max(errors.values()) < 3e-3, errors


class _LayerNorm(Measured):
    def outputs(self, x, residual, weight, bias, rng):
        return (self.kernel(x, residual, weight, bias, rng),)


@pytest.mark.parametrize("dtype", [np.float16, np.float32], ids=["fp16", "fp32"])
@pytest.mark.parametrize("drops", [False, True], ids=["kept", "dropped"])
def test_dropout_add_layer_norm_and_its_gradients_in_a_graph(twin: Library, dtype: type, drops: bool) -> None:
    draw, shape, probability = np.random.default_rng(3), (3, 7, 64), 0.25
    x, (residual, cotangent) = draw.standard_normal(shape).astype(dtype), draw.standard_normal((2, *shape), np.float32)
    weight, bias = draw.standard_normal((2, shape[-1]), np.float32)
    kept = draw.random(shape) >= probability
    site = DropoutPlan().hidden(probability, shape[-1]) if drops else None
    cell = AscendCDropoutAddLayerNorm(CALL, shape[-1], 1e-5, site, str(twin.path), given(kept))
    keys = Tensor(np.zeros((3, 2), np.int32))
    (y,), gradients = _LayerNorm(cell, [cotangent], 4).measure(x, residual, weight, bias, keys)

    factor = kept / (1 - probability) if drops else 1.0
    summed = x.astype(np.float64) * factor + residual
    scale = 1 / np.sqrt(summed.var(-1, keepdims=True) + 1e-5)
    normal = (summed - summed.mean(-1, keepdims=True)) * scale
    g = cotangent.astype(np.float64) * weight
    inner = scale * (g - g.mean(-1, keepdims=True) - normal * (g * normal).mean(-1, keepdims=True))
    expected = (inner * factor, inner, (cotangent * normal).sum((0, 1)), cotangent.sum((0, 1), dtype=np.float64))
    assert relative_error(y, normal * weight + bias) < 1e-6
    for got, right, name in zip(gradients, expected, ("x", "residual", "weight", "bias"), strict=True):
        assert relative_error(got, right) < (1e-3 if name == "x" and dtype == np.float16 else 2e-6), name


def test_nothing_is_dropped_in_evaluation(twin: Library) -> None:
    shape = (2, 5, 16)
    x, residual = np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32)
    weight, bias = np.ones(16, np.float32), np.zeros(16, np.float32)
    site = DropoutPlan().hidden(0.5, 16)
    cell = AscendCDropoutAddLayerNorm(CALL, 16, 1e-5, site, str(twin.path), given(np.zeros(shape, bool)))
    y = cell(*(Tensor(array) for array in (x, residual, weight, bias)), None).asnumpy()
    z = x + residual
    np.testing.assert_allclose(y, (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5), atol=2e-6)


def test_two_places_of_one_model_have_their_own_constants(twin: Library) -> None:
    shape = (2, 4, 16)
    x, residual = (Tensor(array) for array in np.random.default_rng(2).standard_normal((2, *shape)).astype(np.float32))
    weight, bias = Tensor(np.ones(16, np.float32)), Tensor(np.zeros(16, np.float32))

    class Both(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.near = AscendCDropoutAddLayerNorm(CALL, 16, 1e-5, None, str(twin.path))
            self.far = AscendCDropoutAddLayerNorm(CALL, 16, 3.0, None, str(twin.path))

        def construct(self, x, residual):
            return (self.near(x, residual, weight, bias) + 2.0 * self.far(x, residual, weight, bias)).square().sum()

    got = ms.grad(Both(), (0, 1))(x, residual)
    step, numbers = 1e-2, x.asnumpy().astype(np.float64) + residual.asnumpy()

    def value(z):
        z = z - z.mean(-1, keepdims=True)
        variance = z.var(-1, keepdims=True)
        return ((z / np.sqrt(variance + 1e-5) + 2 * z / np.sqrt(variance + 3.0)) ** 2).sum()

    for place in ((0, 0, 0), (1, 3, 7)):
        shift = np.zeros(shape)
        shift[place] = step
        slope = (value(numbers + shift) - value(numbers - shift)) / (2 * step)
        for gradient in got:
            assert abs(gradient.asnumpy()[place] - slope) < 1e-3 * max(1.0, abs(slope))


@pytest.mark.slow
def test_a_fault_of_a_kernel_stops_the_run(twin: Library, tmp_path) -> None:
    code = (
        "import numpy as np, mindspore as ms\nfrom mindspore import Tensor\n"
        "from ms_plm.kernels import Call\nfrom ms_plm_ascend.ops.ascendc import AscendCDropoutAddLayerNorm\n"
        f"cell = AscendCDropoutAddLayerNorm(Call(device='ascend'), 4100, 1e-5, None, {str(twin.path)!r})\n"
        "ms.set_device('CPU')\nms.set_context(mode=0)\n"
        "x, w = Tensor(np.zeros((2, 4100), np.float32)), Tensor(np.zeros(4100, np.float32))\n"
        "cell(x, x, w, w).asnumpy()\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert child.returncode != 0
    assert "no tiling for 2 rows of 4100" in child.stderr


@pytest.mark.parametrize("operation", ["dropout_add_layer_norm", "relative_attention"])
def test_without_the_installed_operator_the_form_declines_and_says_how_to_get_it(operation: str, monkeypatch) -> None:
    for name in ("ASCEND_OPP_PATH", "ASCEND_CUSTOM_OPP_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="is not installed.*python -m ms_plm_ascend.ascendc --build"):
        Kernels(CALL, {operation: "ascendc"}).choose(operation)


@pytest.fixture
def installed(tmp_path, monkeypatch) -> None:
    """All operators look installed."""
    (tmp_path / "op_api" / "include").mkdir(parents=True)
    for operator in OPERATORS:
        (tmp_path / "op_api" / "include" / f"aclnn_{operator.name}.h").touch()
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", str(tmp_path))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("operation", ["dropout_add_layer_norm", "relative_attention"])
def test_an_installed_operator_is_taken_only_where_it_is_asked_for(operation: str) -> None:
    assert Kernels(CALL).choose(operation)[0].name != "ascendc"
    chosen, reason = Kernels(CALL, {operation: "ascendc"}).choose(operation)
    assert chosen.name == "ascendc"
    assert "never run on the hardware" in reason


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("operation", "change", "arguments", "words"),
    [
        ("relative_attention", {"compute": "bf16"}, {}, "multiplies in fp16"),
        ("relative_attention", {"exact_dropout": True}, {}, "impl.exact_resume=false"),
        ("relative_attention", {"wants": frozenset({"scores"})}, {}, "keeps no scores"),
        ("relative_attention", {"dynamic": True}, {}, "needs static shapes"),
        ("relative_attention", {}, {"learned_table": True}, "no gradient of a learned table"),
        ("relative_attention", {}, {"head_size": 40}, "needs a head size of 16, 32"),
        ("dropout_add_layer_norm", {"exact_dropout": True}, {}, "impl.exact_resume=false"),
        ("dropout_add_layer_norm", {}, {"size": 8192}, "rows of up to 4096 numbers"),
        ("dropout_add_layer_norm", {}, {"size": 300}, "a multiple of 8"),
        ("dropout_add_layer_norm", {"device": "cpu"}, {}, "runs on ascend, not on cpu"),
    ],
)
def test_calls_that_the_operators_cannot_serve_are_declined(operation, change, arguments, words) -> None:
    call = Call(**{**vars(CALL), "dropout": None, **change})
    with pytest.raises(UserError, match=words):
        Kernels(call, {operation: "ascendc"}).choose(operation, **arguments)


def test_rows_that_are_too_long_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="as many queries as keys, not 5"):
        AscendCAttention(CALL, heads=1, head_size=16, reach=4).positions(Tensor(np.zeros((9, 16), np.float32)), 5, 8)
    with pytest.raises(ValueError, match="takes up to 512 positions, not 513; set impl.kernels.relative_attention"):
        AscendCAttention(CALL, heads=1, head_size=16, reach=4).positions(
            Tensor(np.zeros((9, 16), np.float32)), 513, 513
        )


class _Step(nn.Cell):
    """Both operations with their gradients and the device's own dropout, as a device would run them."""

    def __init__(self) -> None:
        super().__init__()
        plan = DropoutPlan()
        self.attention = AscendCAttention(CALL, heads=2, head_size=32, reach=64, site=plan.scores(0.1, 2))
        self.norm = AscendCDropoutAddLayerNorm(CALL, 64, 1e-5, plan.hidden(0.1, 64))
        self.table, self.gradient = Tensor(sinusoid_table(64, 32)), ops.GradOperation(get_all=True)

    def _sum(self, x, mask, weight, keys):
        positions = self.attention.positions(self.table, x.shape[1], x.shape[1])
        y = self.attention(x, x, x, mask, positions, keys)[0]
        return self.norm(y, x, weight, weight, keys).sum()

    def construct(self, x, mask, weight, keys):
        return self.gradient(self._sum)(x, mask, weight, keys)[:1]


def test_the_graph_with_the_real_operators_compiles_with_gradients_and_exports(tmp_path) -> None:
    arrays = (np.zeros((2, 16, 64), np.float16), np.zeros((2, 1, 1, 16), np.float32), np.ones(64, np.float32))
    inputs = [Tensor(array) for array in (*arrays, np.zeros((2, 2), np.int32))]
    ms.export(_Step(), *inputs, file_name=str(tmp_path / "step"), file_format="MINDIR")
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString((tmp_path / "step.mindir").read_bytes())
    graphs = [model.graph, *model.functions]
    named = Counter(node.op_type.split("-")[0].split("::")[-1] for graph in graphs for node in graph.node)
    custom = [
        attribute.s.decode() or attribute.strings[0].decode()
        for primitive in model.primitives
        for attribute in primitive.attribute
        if attribute.name == "func_name"
    ]
    assert sorted(custom) == sorted(operator.type for operator in OPERATORS), named
