"""Training with the native operations: like the reference, like itself on any number of threads, and in bf16."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from measured import need
from tiny import Trainer

from ms_plm.common.processor import cores
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.native import library

BATCH = 8


@pytest.fixture(autouse=True)
def _native() -> None:
    need("native")


def _losses(trainer: Trainer, steps: int, rate: float = 1e-3, samples: int | None = None) -> np.ndarray:
    """Losses of a run from the start; on the same `samples` samples again and again, if given."""
    trainer.restart()
    losses = []
    for step in range(steps):
        first = step * BATCH % samples if samples else step * BATCH
        losses.append(trainer.update(np.arange(first, first + BATCH), rate).terms.asnumpy().sum())
    return np.array(losses)


@pytest.fixture(scope="module")
def native() -> Trainer:
    return Trainer()


@pytest.fixture(scope="module")
def reference_losses() -> np.ndarray:
    return _losses(Trainer("reference"), 20)


def _alone(operation: str) -> dict[str, str]:
    """One native operation among composed forms; those that drop draw from keys, and so must dropout."""
    call, drops = Call(training=True), "attention" in operation or operation == "dropout_add_layer_norm"
    request = {}
    for name, forms in implementations().items():
        others = [form for form in forms if form.name != "native" and form.declines(call) is None]
        request[name] = max(others, key=lambda form: form.preference).name
    return {**request, operation: "native", **({"dropout": "native"} if drops else {})}


NATIVE = [name for name, forms in implementations().items() if any(form.name == "native" for form in forms)]


def test_twenty_steps_are_those_of_the_reference(native: Trainer, reference_losses: np.ndarray) -> None:
    assert native.model.kernels.choose("relative_attention")[0].name == "native"
    np.testing.assert_allclose(_losses(native, 20), reference_losses, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("operation", [name for name in NATIVE if name != "attention"])
def test_twenty_steps_with_one_native_operation_are_those_of_the_reference(
    operation: str, reference_losses: np.ndarray
) -> None:
    np.testing.assert_allclose(_losses(Trainer(_alone(operation)), 20), reference_losses, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["naive", "table", "rotation"])
def test_twenty_steps_with_each_composed_attention_are_those_of_the_reference(
    form: str, reference_losses: np.ndarray
) -> None:
    losses = _losses(Trainer({"relative_attention": form}), 20)
    np.testing.assert_allclose(losses, reference_losses, rtol=0, atol=1e-4)


@pytest.fixture
def threads() -> Iterator[object]:
    yield library.set_threads
    library.set_threads(0)


def test_runs_are_equal_bit_for_bit_on_any_number_of_threads(native: Trainer, threads) -> None:
    first, state = _losses(native, 6), native.values()
    for number in (1, 2, 4):
        threads(number)
        np.testing.assert_array_equal(_losses(native, 6), first)
        for name, value in native.values().items():
            np.testing.assert_array_equal(value, state[name], err_msg=name)


@pytest.mark.parametrize(("wanted", "number"), [(None, cores()), ("3", 3), ("3,2", 3), ("many", cores())])
def test_all_cores_are_used_unless_the_user_says_otherwise(
    wanted: str | None, number: int, threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wanted:
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    else:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        os.putenv("OMP_NUM_THREADS", "1")  # as importing MindSpore does, past Python's os.environ
    threads(0)
    assert library.threads() == number


@pytest.mark.slow
def test_three_hundred_steps_in_bf16_end_where_fp32_ends_without_being_equal() -> None:
    single, brain = Trainer(nsp=False), Trainer(nsp=False, compute="bf16")
    before = library.gemm_calls("bf16")
    losses = [_losses(trainer, 300, rate=3e-3, samples=4 * BATCH) for trainer in (single, brain)]
    ends = [values[-4 * BATCH :].mean() for values in losses]
    assert ends[0] < 0.8 * losses[0][0]
    assert ends[1] == pytest.approx(ends[0], rel=0.01)
    assert not np.array_equal(losses[0], losses[1])
    assert (library.gemm_calls("bf16") > before) is library.has_bf16()


def test_bf16_needs_native_products_and_keeps_parameters_in_fp32() -> None:
    kernels = Kernels(Call(training=True, compute="bf16"))
    for operation in ("linear", "relative_attention", "attention", "masked_lm_loss"):
        chosen, reason = kernels.choose(operation)
        assert chosen.name == "native"
        assert "has no bf16 operators on cpu" in reason
    trainer = Trainer(compute="bf16")
    assert {value.dtype for value in trainer.values().values()} <= {np.dtype(np.float32), np.dtype(np.int32)}
