"""How kernels are called, and the problems they are checked on, without Triton."""

from __future__ import annotations

import ast
import subprocess
import sys
from math import prod

import numpy as np
import pytest
from attention_oracle import Attention as Oracle
from attention_oracle import relative_error
from triton_environment import ROOT

from ms_plm.kernels.attention import sinusoid_table
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm_ascend.triton_kernels.calls import PARTS, Attention, Dropout, Norm
from ms_plm_ascend.triton_kernels.catalogue import KERNELS, signature
from ms_plm_ascend.triton_kernels.problem import (
    OPERATION,
    AttentionProblem,
    NormProblem,
    dropout_of,
    errors,
    positions,
)

FOLDER = ROOT / "ascend" / "triton_kernels"


def _parameters(name: str) -> list[str]:
    tree = ast.parse((FOLDER / f"{KERNELS[name].module}.py").read_text(encoding="utf-8"))
    (kernel,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return [argument.arg for argument in kernel.args.args]


class _Recorder:
    """A runner that writes zeros."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[int, dict, dict]] = {}

    def empty(self, shape, dtype):
        return np.zeros(shape, dtype)

    def programs(self, tasks, multiplies):
        return min(tasks, 20 if multiplies else 40)

    def run(self, kernel, programs, arguments, constants):
        self.calls[kernel] = programs, arguments, constants


@pytest.fixture(scope="module")
def recorded() -> _Recorder:
    recorder = _Recorder()
    AttentionProblem(2, 130, Attention(3, 16, 5, dropout_of(0.1))).run(recorder)
    NormProblem(2, 20, Norm(24, 1e-12, dropout_of(0.1))).run(recorder)
    return recorder


@pytest.mark.parametrize("name", KERNELS)
def test_a_call_gives_a_kernel_exactly_its_arguments(name: str, recorded: _Recorder) -> None:
    _, arguments, constants = recorded.calls[name]
    assert {*arguments, *constants} == {*_parameters(name)}
    assert all(constant.isupper() for constant in constants)
    for argument, kind in signature(_parameters(name), "fp16").items():
        value = arguments[argument]
        found = f"*{value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        names = {"*fp16": "*float16", "*fp32": "*float32", "*i32": "*int32", "i32": "int", "fp32": "float"}
        assert found == names[kind], argument


def test_work_is_shared_by_the_cores_and_no_more(recorded: _Recorder) -> None:
    programs = {name: call[0] for name, call in recorded.calls.items()}
    assert programs["attention_dkey_dvalue"] == 2 * 3 * 3  # samples, heads, tiles of 64 keys
    assert programs["attention_forward"] == 20  # fewer than tiles of 32 queries
    assert programs["norm_forward"] == 2 * 1  # samples, blocks of 128 tokens
    assert programs["norm_backward"] == PARTS


def test_places_of_dropout_are_those_of_the_model() -> None:
    plan = DropoutPlan()
    sites = [plan.hidden(0.1, 5) for _ in range(OPERATION + 1)]
    assert dropout_of(0.1) == Dropout(sites[-1].base, sites[-1].threshold)
    assert Dropout().arguments == {"base": 0, "threshold": 65536.0, "amplify": 1.0}
    assert not dropout_of(0.0).drops


def test_positions_are_those_of_the_table() -> None:
    length, size, reach = 40, 16, 5
    phi, cosines, sines, outer, swap = positions(length, size, reach, np.float64)
    table = sinusoid_table(reach, size)
    np.testing.assert_allclose(outer, table[:: 2 * reach], atol=1e-6)
    query = np.random.default_rng(0).standard_normal((length, size))
    products = (query * cosines + query @ swap * sines) @ phi.T
    for i, j in ((7, 3), (20, 20), (20, 24), (39, 35)):
        np.testing.assert_allclose(products[i, j], query[i] @ table[j - i + reach], atol=1e-5)


@pytest.mark.parametrize("drop", [0.0, 0.25])
def test_expected_results_of_attention_are_those_of_the_oracle(drop: float) -> None:
    problem = AttentionProblem(2, 21, Attention(2, 16, 5, dropout_of(drop)), 4, np.float32)
    tensors, mask, keys = problem.drawn()
    query, key, value, dout = (array.reshape(2, 21, -1).astype(np.float64) for array in tensors)
    factors = None
    if drop:
        plan = DropoutPlan()
        for _ in range(OPERATION):
            plan.hidden(0.1, 1)
        plan.scores(drop, 2)
        kept = plan.host_mask(keys, 21)[-2 * 2 * 21 * 21 :]
        factors = kept.reshape(2, 2, 21, 21) * (65536 / problem.call.dropout.threshold)
    oracle = Oracle(2, query, key, value, mask[:, None, None], sinusoid_table(5, 16), None, factors)
    wanted = oracle.gradients({"context": dout}) | {"out": oracle.outputs()["context"]}
    for name, got in problem.expected().items():
        assert relative_error(got.reshape(2, 21, -1), wanted[name.removeprefix("d")]) < 1e-6, name


def test_errors_are_of_the_largest_number_and_not_finite_ones_infinite() -> None:
    wanted = {"a": np.array([1.0, -4.0]), "b": np.array([1.0])}
    got = errors({"a": np.array([1.0, -3.0]), "b": np.array([np.nan])}, wanted)
    assert got == {"a": 0.25, "b": float("inf")}


def test_every_argument_of_a_problem_has_its_shape(recorded: _Recorder) -> None:
    _, arguments, _ = recorded.calls["attention_dkey_dvalue"]
    sizes = {"query": 2 * 130 * 3 * 16, "rows": 2 * 3 * 5 * 130, "logsum": 2 * 3 * 130, "mask": 2 * 130, "keys": 4}
    assert {name: prod(arguments[name].shape) for name in sizes} == sizes


def test_neither_mindspore_nor_triton_is_imported_before_it_is_needed() -> None:
    modules = [path.stem for path in FOLDER.glob("*.py") if "import triton" not in path.read_text(encoding="utf-8")]
    assert {"calls", "check", "execute", "lint", "lower", "problem", "__main__"} <= set(modules)
    names = ", ".join(f"ms_plm_ascend.triton_kernels.{name}" for name in modules if name != "__init__")
    code = f"import sys, {names}\nsys.exit(', '.join({{'mindspore', 'triton'}} & set(sys.modules)) or 0)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert child.returncode == 0, child.stderr


def test_no_kernel_file_imports_mindspore() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith(("mindspore", "ms_plm.kernels")) for name in names), path
