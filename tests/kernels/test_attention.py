"""Attention, with and without relative positions, against float64 NumPy: outputs and every gradient.

Errors are those of `attention_oracle.relative_error`: the largest difference as a share of the largest entry.
"""

from __future__ import annotations

import functools

import mindspore as ms
import numpy as np
import pytest
from attention_cases import HEADS, Case, MeasuredAttention, Problem, problem
from attention_oracle import MASKED, relative_error
from mindspore import Tensor

from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.attention import sinusoid_table
from ms_plm.kernels.choice import implementations

SINGLE, HALF = 1e-5, 2e-3
FORMS = {"attention": ("reference", "naive"), "relative_attention": ("reference", "naive", "table", "rotation")}
EVERY = [(operation, form) for operation, forms in FORMS.items() for form in forms]
DYNAMIC = [pair for pair in EVERY if pair[1] != "naive"]
EVERYTHING = ("scores", "probabilities")
CASES = {
    "short": Case(7, 7, padded=3, dropout="host_mask", head_mask=True, wants=EVERYTHING),
    "long": Case(129, 129, reach=64, padded=20, causal=True, dropout="hash"),
    "cache": Case(3, 9, reach=2, causal=True, offset=6, square_mask=True, wants=("scores",)),
    "one_token": Case(1, 1, wants=("probabilities",)),
}


def _pairs(pairs, *quick: tuple[str, str]):
    """Parameter sets (operation, form): those named belong to the default run, the others to the slow one."""
    return [pytest.param(*pair, marks=() if pair in quick else pytest.mark.slow) for pair in pairs]


def _relative(*forms: str) -> list[tuple[str, str]]:
    return [("relative_attention", form) for form in forms]


def _of(case: Case, operation: str, form: str) -> Case:
    """The case for one operation; the table is learned wherever the form can learn it."""
    return case._replace(reach=None) if operation == "attention" else case._replace(learned_table=form != "rotation")


@functools.cache
def _compiled(case: Case, form: str) -> MeasuredAttention:
    return MeasuredAttention(case, form)


def _quick(operation: str, form: str, name: str) -> bool:
    if operation == "attention":
        return form == "naive" and name in ("short", "long")
    return name == "short" or (form != "reference" and name == "long") or (form != "naive" and name == "cache")


@pytest.mark.parametrize(
    ("name", "operation", "form"),
    [
        pytest.param(name, *pair, marks=() if _quick(*pair, name) else pytest.mark.slow)
        for name in CASES
        for pair in EVERY
    ],
)
def test_outputs_and_gradients_are_those_of_the_formula(name: str, operation: str, form: str) -> None:
    case = _of(CASES[name], operation, form)
    for part, error in _compiled(case, form).errors(problem(case)).items():
        assert error < SINGLE, part


@pytest.mark.parametrize(
    ("operation", "form"), _pairs(EVERY, ("attention", "naive"), *_relative(*FORMS["relative_attention"]))
)
def test_a_fully_padded_row_is_finite_and_leaves_the_others_alone(operation: str, form: str) -> None:
    case = _of(CASES["short"], operation, form)
    whole, measured = problem(case), _compiled(case, form)
    mask = whole.given.mask.copy()
    mask[-1] = MASKED
    emptied = Problem(whole.given.of(mask=mask), whole.random, whole.cotangents)
    outputs, gradients = measured.run(emptied)
    for array in (*outputs.values(), *gradients.values()):
        assert np.isfinite(array).all()
    expected = emptied.given.outputs()["context"]
    assert relative_error(outputs["context"][:-1], expected[:-1]) < SINGLE
    expected = emptied.given.gradients(whole.cotangents)
    for name in ("query", "key", "value"):
        assert relative_error(gradients[name][:-1], expected[name][:-1]) < SINGLE, name


@pytest.mark.parametrize(("operation", "form"), _pairs(EVERY, *_relative("naive", "table", "rotation")))
def test_half_precision_follows_the_formula(operation: str, form: str) -> None:
    case = _of(CASES["short"], operation, form)
    for part, error in MeasuredAttention(case, form, compute="fp16").errors(problem(case, np.float16)).items():
        assert error < HALF, part


def _free(*shape: int | None, dtype=ms.float32) -> Tensor:
    return Tensor(shape=list(shape), dtype=dtype)


@pytest.mark.parametrize(("operation", "form"), _pairs(DYNAMIC, *_relative("table", "rotation")))
def test_one_compiled_graph_serves_every_length(operation: str, form: str) -> None:
    short = _of(Case(7, 7, causal=True, dropout="hash", wants=("probabilities",)), operation, form)
    measured = MeasuredAttention(short, form, dynamic=True)
    packed = _free(None, None, HEADS * short.size)
    table = [_free(2 * short.reach + 1, short.size)] if short.learned_table else []
    mask, keys = _free(None, 1, 1, None), _free(None, 2, dtype=ms.int32)
    measured.set_inputs(packed, packed, packed, *table, mask, keys, packed, _free(None, HEADS, None, None))
    for queries, keys in ((7, 7), (12, 12), (5, 9)):
        case = short._replace(queries=queries, keys=keys)
        for part, error in measured.errors(problem(case)).items():
            assert error < SINGLE, part
    assert len(measured.compile_cache) == 1


def test_the_rotation_is_exact_at_any_position() -> None:
    case = Case(2, 5002, reach=64, offset=4990)
    for part, error in MeasuredAttention(case, "rotation").errors(problem(case)).items():
        assert error < SINGLE, part


@pytest.mark.parametrize(("operation", "form"), EVERY)
def test_composed_forms_decline_bf16_on_a_cpu_alone(operation: str, form: str) -> None:
    found = next(item for item in implementations()[operation] if item.name == form)
    assert found.declines(Call(compute="bf16", training=True)) == "has no bf16 operators on cpu"
    if form != "naive":
        assert found.declines(Call(device="ascend", compute="bf16", training=True)) is None


def test_the_rotation_declines_what_is_not_the_sinusoid() -> None:
    kernels = Kernels(Call(training=True), {"relative_attention": "rotation"})
    with pytest.raises(UserError, match="rotation cannot be used here: it is right for the fixed sinusoid alone"):
        kernels.build("relative_attention", heads=2, head_size=4, site=None, learned_table=True)
    with pytest.raises(UserError, match="rotation cannot be used here: it needs an even head size"):
        kernels.build("relative_attention", heads=2, head_size=5, site=None)
    assert kernels.choose("relative_attention")[0].name == "rotation"  # where nothing is known yet


@pytest.mark.parametrize("form", ["table", "rotation"])
def test_slower_forms_are_taken_only_when_asked_for(form: str) -> None:
    for call in (Call(training=True), Call(), Call(training=True, dynamic=True), Call("ascend"), Call("gpu")):
        assert Kernels(call).choose("relative_attention")[0].name != form
        assert Kernels(call, {"relative_attention": form}).choose("relative_attention")[1] == "asked for"


def test_the_table_is_the_sinusoid_at_the_shifted_index() -> None:
    table = sinusoid_table(64, 16)
    assert table.shape == (129, 16)
    for row in (0, 1, 64, 128):
        for column in range(16):
            angle = row / 10000 ** ((column - column % 2) / 16)
            assert table[row, column] == pytest.approx(np.cos(angle) if column % 2 else np.sin(angle), abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "form"), EVERY)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [0, 2])
@pytest.mark.parametrize(("queries", "offset"), [(1, 0), (2, 0), (5, 0), (13, 0), (1, 12), (4, 7)])
def test_every_combination_of_masks_and_offsets(
    operation: str, form: str, causal: bool, padded: int, queries: int, offset: int
) -> None:
    keys = queries + offset
    if padded >= keys:
        pytest.skip("no key would be left")
    case = Case(queries, keys, 16, 3, causal, offset, padded, head_mask=True, wants=EVERYTHING)
    case = _of(case, operation, form)
    for part, error in MeasuredAttention(case, form).errors(problem(case)).items():
        assert error < SINGLE, part


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "form"), EVERY)
@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("length", [7, 64, 127, 128, 129, 333, 512, 700])
@pytest.mark.parametrize(("compute", "dtype", "bound"), [("fp32", np.float32, SINGLE), ("fp16", np.float16, HALF)])
def test_every_length_and_head_size(
    compute: str, dtype, bound: float, length: int, size: int, operation: str, form: str
) -> None:
    case = Case(length, length, size, 64, padded=3, dropout="host_mask", head_mask=True)
    case = _of(case, operation, form)
    for part, error in MeasuredAttention(case, form, compute=compute).errors(problem(case, dtype)).items():
        assert error < bound, part
