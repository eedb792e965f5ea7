"""The operators' host side, compiled against a stand-in for CANN's headers (host/), answers what CANN would ask.

The stand-in is written from the public documentation; that the real headers agree is not checked here.
"""

from __future__ import annotations

import ctypes
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ms_plm_ascend.ascendc import check
from ms_plm_ascend.ascendc.check import Heads, Rows
from ms_plm_ascend.ascendc.library import COMMON, CORES, TWIN, UB_BYTES, Library, compile_library
from ms_plm_ascend.ascendc.operators import ATTENTION, ATTENTION_GRAD, LAYER_NORM, LAYER_NORM_GRAD, OPERATORS, Operator

CODES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.uint8): 4}
SYSTEM = 16 * 1024 * 1024
"""Bytes of workspace that the stand-in says the interface wants."""


@pytest.fixture(scope="module")
def host(twin: Library, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """All of op_host as a library; `twin` skips where there is no compiler."""
    folder = tmp_path_factory.mktemp("host")
    unit = folder / "host.cpp"
    files = [path for operator in OPERATORS for path in sorted(operator.host.glob("*.cpp"))]
    unit.write_text("".join(f'#include "{path}"\n' for path in files) + '#include "calls.h"\n', encoding="utf-8")
    places = (Path(__file__).with_name("host"), TWIN, COMMON)
    compile_library([unit], folder / "host.so", ["-O0", *(f"-I{place}" for place in places)])
    return ctypes.CDLL(str(folder / "host.so"))


def described(arrays: tuple[np.ndarray, ...]) -> tuple:
    """Arrays as the stand-in takes them: number, sizes, ranks, types."""
    sizes = [size for array in arrays for size in array.shape]
    count = len(arrays)
    return (
        count,
        (ctypes.c_int64 * len(sizes))(*sizes),
        (ctypes.c_int * count)(*(array.ndim for array in arrays)),
        (ctypes.c_int * count)(*(CODES[array.dtype] for array in arrays)),
    )


class Recorder(Library):
    """Keeps the arrays of each call instead of running it."""

    def __init__(self) -> None:
        self.calls: dict[Operator, tuple[np.ndarray, ...]] = {}

    def __call__(self, operator: Operator, *arrays: np.ndarray, cores: int = CORES) -> int:
        self.calls[operator] = arrays
        return 0


def calls(case: Rows | Heads) -> dict[Operator, tuple[np.ndarray, ...]]:
    """Arrays with which `check` calls the operators for a case."""
    recorder = Recorder()
    (check.layer_norm if isinstance(case, Rows) else check.attention)(recorder, case)
    return recorder.calls


CASES = (Rows(500, 768), Rows(7, 64, np.float32, drops=False), Heads(2, 3, 40, 32), Heads(1, 2, 37, 64, drops=False))
SQUARE = Heads(2, 2, 128, 64, square=True)


@pytest.mark.parametrize("case", [*CASES, SQUARE], ids=str)
def test_outputs_have_the_shapes_and_types_that_the_kernels_fill(host: ctypes.CDLL, case: Rows | Heads) -> None:
    for operator, arrays in calls(case).items():
        inputs, outputs = arrays[: len(operator.inputs)], arrays[len(operator.inputs) :]
        sizes, ranks, codes = (ctypes.c_int64 * 16)(), (ctypes.c_int * 4)(), (ctypes.c_int * 4)()
        host.host_outputs(operator.type.encode(), *described(inputs), len(outputs), sizes, ranks, codes)
        found, place = [], 0
        for rank in ranks[: len(outputs)]:
            found.append(tuple(sizes[place : place + rank]))
            place += rank
        assert found == [array.shape for array in outputs], operator.name
        assert list(codes[: len(outputs)]) == [CODES[array.dtype] for array in outputs]


FIELDS = {LAYER_NORM: 8, LAYER_NORM_GRAD: 9, ATTENTION: 12, ATTENTION_GRAD: 12}
"""Numbers of a tiling that have nothing to do with the cube unit."""


def planned(twin: Library, operator: Operator, case: Rows | Heads) -> list[int]:
    fields = [str(number) for number in range(FIELDS[operator] + 1)]
    if isinstance(case, Rows):
        symbol = "plm_plan_layer_norm" if operator == LAYER_NORM else "plm_plan_layer_norm_grad"
        number = np.dtype(case.dtype).itemsize
        plan = partial(twin.plan, symbol, case.rows, case.width, case.drops, number)
    else:
        symbol = "plm_plan_attention" if operator == ATTENTION else "plm_plan_attention_grad"
        rows = case.length if case.square else 1
        plan = partial(twin.plan, symbol, case.batch, case.heads, case.length, case.size, rows, case.drops)
    return list(plan(CORES, UB_BYTES, fields=fields).values())[:-1]


@pytest.mark.parametrize("case", [*CASES, SQUARE], ids=str)
def test_tilings_read_the_right_inputs(host: ctypes.CDLL, twin: Library, case: Rows | Heads) -> None:
    for operator, arrays in calls(case).items():
        words, blocks, workspace = (ctypes.c_uint32 * 64)(), ctypes.c_uint32(), ctypes.c_uint64()
        given = described(arrays[: len(operator.inputs)])
        count = host.host_tiling(operator.type.encode(), *given, words, ctypes.byref(blocks), ctypes.byref(workspace))
        plan = planned(twin, operator, case)
        assert count > 0
        assert list(words[: len(plan)]) == plan, operator.name
        if isinstance(case, Rows):
            assert blocks.value == plan[2]
            assert workspace.value == SYSTEM
        else:
            cores, rows, wide, size, length = plan[6], plan[4], plan[10], case.size, case.length
            assert blocks.value == -(-cores // 2), "two vector cores to a cube core"
            assert workspace.value > SYSTEM
            products = np.array(words[len(plan) : count]).reshape(-1, 4)[:, :3].tolist()
            expected = [[rows, wide, size], [rows, size, wide], [length, size, rows]]
            assert products == expected[: 2 if operator == ATTENTION else 3]


@pytest.mark.parametrize(
    ("operator", "case"),
    [(LAYER_NORM, Rows(2, 5000, drops=False)), (LAYER_NORM_GRAD, Rows(2, 5000, drops=False))]
    + [(operator, Heads(1, 1, 600, 16)) for operator in (ATTENTION, ATTENTION_GRAD)],
    ids=lambda item: getattr(item, "name", str(item)),
)
def test_what_no_tiling_serves_fails_on_the_host(host: ctypes.CDLL, operator: Operator, case: Rows | Heads) -> None:
    arrays = calls(case)[operator][: len(operator.inputs)]
    assert host.host_tiling(operator.type.encode(), *described(arrays), None, None, None) == -1


@pytest.mark.parametrize("case", CASES, ids=str)
def test_definitions_allow_the_types_that_are_passed(host: ctypes.CDLL, case: Rows | Heads) -> None:
    for operator, arrays in calls(case).items():
        possible = ~0
        for name, array in zip((*operator.inputs, *operator.outputs), arrays, strict=True):
            found = host.host_combinations(operator.type.encode(), name.encode(), CODES[array.dtype])
            assert found >= 0, f"{operator.name}: {name}"
            possible &= found
        assert possible, f"{operator.name}: no combination has all these types"
