"""An implementation is verified by its numbers: right ones pass with a record, wrong ones fail with their error."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from stand_in import StandIn, kept

from ms_plm.kernels import Call, Implementation, Kernels
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.verified import Record
from ms_plm_ascend.bringup.attention_trial import AttentionTrial
from ms_plm_ascend.bringup.cells import FlashForward, FlashGradient
from ms_plm_ascend.bringup.forms_check import TRIALS, bound_milliseconds, form_checks, verify
from ms_plm_ascend.bringup.operators import AscendOperators, Options, Vectors
from ms_plm_ascend.ops.flash3 import Flash3

ROOT = Path(__file__).resolve().parents[3]
CALL = Kernels(Call("cpu", compute="fp32", training=True, chip="910B3"), {"dropout": "hash"}).call
DTYPES = ("fp16", "bf16")
TRIAL = AttentionTrial(relative=True, lengths=(48,), timed_lengths=(16, 32), tokens=64, heads=2)
FACTORS = (np.random.default_rng(1).random((1, 2, 128, 128)) < 0.75) / 0.75


def form(name: str, operation: str = "relative_attention") -> Implementation:
    return next(form for form in implementations()[operation] if form.name == name)


class OtherBits(StandIn):
    """Drops other entries in the gradient than before it."""

    def gradient(self, query, key, value, dropped, mask, largest, total, out, dout):
        if dropped is not None:
            dropped = 1 - dropped
        return super().gradient(query, key, value, dropped, mask, largest, total, out, dout)


class Off(StandIn):
    """One per cent too large a scale."""

    def __init__(self, heads, scale, *more) -> None:
        super().__init__(heads, 1.01 * scale, *more)


def on_stand_in(operator: type) -> Implementation:
    """flash3 on a CPU."""
    build = partial(Flash3, operator=operator, bits=kept(FACTORS))
    return Implementation("relative_attention", "flash3", ("cpu",), build, proven=False)


@pytest.mark.slow
def test_a_form_in_stock_operators_is_right_and_gets_a_record() -> None:
    verdict = verify(form("naive"), CALL, TRIAL, repeats=2)
    assert verdict.passed, verdict
    record = Record(**verdict.record)
    assert (record.operation, record.form, record.chip, record.dtype) == (
        "relative_attention",
        "naive",
        "910B3",
        "fp32",
    )
    assert set(record.errors) == {"context", "d query", "d key", "d value"}
    assert (record.instead, [timing.length for timing in record.timings]) == ("native", [16, 32])
    assert all(min(timing.milliseconds, timing.instead_milliseconds) > 0 for timing in record.timings)
    assert "ms at 32, native" in verdict.answer


@pytest.mark.slow
def test_flash3_passes_on_operators_as_documented_and_fails_on_others() -> None:
    trial = replace(TRIAL, lengths=(80,))  # beyond the band's 64: all three regions
    assert max(trial.errors(on_stand_in(StandIn), CALL).values()) < 2e-5
    assert max(trial.errors(on_stand_in(Off), CALL).values()) > 1e-3


@pytest.mark.slow
def test_dropout_is_read_from_outputs_and_gradients() -> None:
    fine = TRIAL.dropout(on_stand_in(StandIn), CALL)
    assert fine["gradient drops otherwise"] == 0.0
    assert fine["kept"] == pytest.approx((FACTORS > 0).mean(), abs=0.02)
    assert fine["factor"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_dropout_that_the_gradient_does_not_share_is_found() -> None:
    assert TRIAL.dropout(on_stand_in(OtherBits), CALL)["gradient drops otherwise"] > 0.2


@dataclass(frozen=True)
class Told(AttentionTrial):
    """Finds what it is told."""

    relative: bool = True
    off: float = 0.0
    otherwise: float = 0.0

    def errors(self, form, call):
        return {"d query": 0.0, "context": self.off}

    def dropout(self, form, call):
        return {"kept": 0.75, "factor": 1.0, "gradient drops otherwise": self.otherwise}


@pytest.mark.parametrize("off", [0.5, float("inf")])
def test_a_wrong_form_gets_no_record(off: float) -> None:
    verdict = verify(form("naive"), CALL, Told(off=off))
    assert (verdict.passed, verdict.record) == (False, None)
    assert f"context is off by {off:.1e}" in verdict.answer


def test_wrong_dropout_gets_no_record() -> None:
    verdict = verify(form("naive"), CALL, Told(otherwise=0.1))
    assert (verdict.passed, verdict.record) == (False, None)
    assert verdict.answer == "WRONG with dropout"


def test_what_cannot_be_asked_decides_nothing() -> None:
    other = Implementation("linear", "x", ("cpu",), lambda call: None)
    assert verify(other, CALL).passed is None
    assert verify(form("naive"), replace(CALL, device="ascend"), Told()).passed is None
    assert verify(form("flash3"), CALL).answer.startswith("it runs on ascend, not on cpu")


def test_every_unproven_form_for_ascend_is_asked_in_each_type_and_can_be_verified() -> None:
    names = [check.name for _, check in form_checks(DTYPES)]
    forms = {
        "attention": ("flash",),
        "relative_attention": ("flash3", "triton", "ascendc"),
        "dropout_add_layer_norm": ("addnorm", "triton", "ascendc"),
        "optimizer_update": ("adam_weight_decay",),
    }
    wanted = {f"{operation}-{form}-{dtype}" for operation in forms for form in forms[operation] for dtype in DTYPES}
    assert (len(names), set(names)) == (len(wanted), wanted)
    assert set(forms) == set(TRIALS)


def test_the_bound_is_that_of_the_forms_own_counts() -> None:
    flash3 = bound_milliseconds(TRIALS["relative_attention"], form("flash3"), CALL, 512)
    plain = bound_milliseconds(TRIALS["attention"], form("flash", "attention"), CALL, 512)
    # 21 vector operations a pair, of which 40 units do 64 in each of 1.8e9 cycles: longer than its bytes take
    assert plain == pytest.approx(21 * 16 * 12 * 512**2 / (40 * 64 * 1.8e9) * 1000, rel=0.01)
    assert plain > (12 * 2 * 16 * 512 * 12 * 64 + 2 * 1.125 * 16 * 12 * 512**2) / 1.6e12 * 1000
    assert flash3 > plain


def test_the_real_operators_compile_with_what_the_checks_ask_of_them(tmp_path) -> None:
    """Only to the graph: there is no device here."""
    operators = AscendOperators("910B3", "fp16")
    x, mask = np.zeros((2, 64, 2, 80), np.float32), np.zeros((2, 1, 64, 64), np.uint8)
    bits = np.zeros((2, 2, 64, 8), np.uint8)
    options = Options(2, 0.125, keep=0.75, before=-16)
    inputs = operators._tensors(Vectors(x, x, x, mask, bits=bits))
    inputs[3] = Tensor(np.zeros((2, 2, 64, 64), np.float16))  # an export takes no None
    statistics = [Tensor(np.zeros((2, 2, 64, 8), np.float32))] * 2
    out = Tensor(x.astype(np.float16))
    ms.export(FlashForward(options), *inputs, file_name=str(tmp_path / "forward"), file_format="MINDIR")
    ms.export(
        FlashGradient(options), *inputs, *statistics, out, out, file_name=str(tmp_path / "grad"), file_format="MINDIR"
    )
    assert b"FlashAttentionScoreGrad" in (tmp_path / "grad.mindir").read_bytes()


CALLS_BACK = """\
import numpy as np, mindspore as ms
ms.set_device("CPU")
ms.set_context(mode=ms.GRAPH_MODE)
from ms_plm_ascend.bringup.operators import AscendOperators
AscendOperators("910B3", "fp16").callback(np.ones(8, np.float32), 3)
"""


@pytest.mark.slow
def test_the_graph_with_callbacks_compiles_as_far_as_a_cpu_takes_it(tmp_path) -> None:
    """It has no kernel for them; what comes before, shapes and the operator's registration, is in order."""
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    child = subprocess.run(
        [sys.executable, "-c", CALLS_BACK],
        env={**os.environ, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert child.returncode != 0
    assert "Unsupported op [PyCallback_add_one] on CPU" in child.stderr
