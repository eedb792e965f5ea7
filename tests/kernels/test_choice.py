"""The choice among implementations: automatic, asked for, refused, and told once."""

from __future__ import annotations

import logging

import pytest
from measured import need

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels import Call, Kernels, choice
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.native import library

CPU_TRAINING = Call(device="cpu", training=True)


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the native operations cannot be built."""
    monkeypatch.setattr(library, "unavailable", lambda: "no compiler")


def test_every_operation_has_a_reference_form_except_dropout_whose_definition_is_the_hash() -> None:
    for operation, forms in implementations().items():
        assert forms[0].name == ("hash" if operation == "dropout" else "reference")
        assert set(forms[0].devices) == {"cpu", "gpu", "ascend"}
        assert len({form.name for form in forms}) == len(forms)


def test_auto_takes_native_operations_on_a_cpu() -> None:
    need("native")
    kernels = Kernels(CPU_TRAINING)
    chosen = {name: kernels.choose(name)[0].name for name in implementations()}
    assert set(chosen.values()) == {"native"}
    assert kernels.call.dropout.name == "native"


def test_without_native_operations_auto_takes_the_fastest_composed_forms(without_native: None) -> None:
    kernels = Kernels(CPU_TRAINING)
    chosen = {name: kernels.choose(name)[0].name for name in implementations()}
    assert chosen["relative_attention"] == chosen["attention"] == "naive"
    assert chosen["layer_norm"] == "matmul"
    assert chosen["linear"] == "closed_gradient"
    assert chosen["dropout"] == kernels.call.dropout.name == "host_mask"
    assert chosen["optimizer_update"] == "fused_adam"
    with pytest.raises(UserError, match=r"impl\.kernels\.linear: native cannot be used here: it .*no compiler"):
        Kernels(CPU_TRAINING, {"linear": "native"}).choose("linear")


def test_dynamic_shapes_and_other_devices_get_forms_that_serve_them() -> None:
    dynamic = Kernels(Call(training=True, dynamic=True))
    assert dynamic.choose("dropout")[0].name == "hash"
    assert dynamic.choose("layer_norm")[0].name == "reference"
    assert Kernels(Call(device="ascend", training=True)).choose("layer_norm")[0].name == "stock"


@pytest.mark.parametrize("device", ["gpu", "ascend"])
def test_devices_compute_the_hash_themselves_and_do_not_wait_for_masks_of_the_host(device: str) -> None:
    assert Kernels(Call(device=device, training=True)).call.dropout.name == "hash"
    with pytest.raises(UserError, match=f"host_mask cannot be used here: it runs on cpu, not on {device}"):
        Kernels(Call(device=device, training=True), {"dropout": "host_mask"})


@pytest.mark.parametrize("operation", ["linear", "layer_norm", "attention", "relative_attention"])
def test_evaluation_takes_stock_operators(operation: str) -> None:
    chosen, reason = Kernels(Call(training=False)).choose(operation)
    assert chosen.name == "reference"
    assert "is for training; evaluation and exported graphs use stock operators" in reason


LAMB = {"options": OptimizerSection(name="lamb"), "decays": (True,), "rates": (1.0,)}
ADAMW = {**LAMB, "options": OptimizerSection(name="adamw")}


def test_the_log_names_the_optimizer_that_runs(caplog: pytest.LogCaptureFixture, without_native: None) -> None:
    with caplog.at_level(logging.INFO, "ms_plm.kernels.choice"):
        update = Kernels(CPU_TRAINING).build("optimizer_update", **LAMB)
        Kernels(CPU_TRAINING).build("optimizer_update", **ADAMW)
    assert not update.fused
    assert [record.message for record in caplog.records if "optimizer_update" in record.message] == [
        "kernel optimizer_update: reference (fastest that serves this run; passed over: fused_adam computes AdamW, "
        "not LAMB; native needs a library that cannot be had: no compiler; adam_weight_decay runs on ascend, not on "
        "cpu)",
        "kernel optimizer_update: fused_adam (fastest that serves this run; passed over: native needs a library that "
        "cannot be had: no compiler; adam_weight_decay runs on ascend, not on cpu)",
    ]


def test_a_fused_adam_is_not_asked_to_be_a_lamb() -> None:
    with pytest.raises(UserError, match="fused_adam cannot be used here: it computes AdamW, not LAMB"):
        Kernels(CPU_TRAINING, {"optimizer_update": "fused_adam"}).build("optimizer_update", **LAMB)


def test_reference_is_reference_everywhere() -> None:
    kernels = Kernels(CPU_TRAINING, "reference")
    for operation, forms in implementations().items():
        assert kernels.choose(operation)[0] == forms[0]


def test_an_operation_can_be_set_alone() -> None:
    kernels = Kernels(CPU_TRAINING, {"layer_norm": "reference", "attention": "auto"})
    assert kernels.choose("layer_norm") == (implementations()["layer_norm"][0], "asked for")
    for operation in ("attention", "dropout_add_layer_norm"):
        assert kernels.choose(operation)[0] == Kernels(CPU_TRAINING).choose(operation)[0]


def test_an_unknown_operation_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"impl\.kernels\.layernorm: no such operation\. Did you mean layer_norm\?"):
        Kernels(CPU_TRAINING, {"layernorm": "matmul"})


def test_an_unknown_form_is_named_with_those_that_there_are() -> None:
    kernels = Kernels(CPU_TRAINING, {"layer_norm": "fast"})
    with pytest.raises(UserError, match=r"impl\.kernels\.layer_norm: no implementation 'fast'; there are reference"):
        kernels.choose("layer_norm")


def test_a_word_that_is_no_choice_is_named() -> None:
    with pytest.raises(UserError, match=r"impl\.kernels: expected auto, reference or .* found 'fast'"):
        Kernels(CPU_TRAINING, "fast")


def test_a_form_that_declines_says_why() -> None:
    kernels = Kernels(Call(device="ascend", training=True), {"layer_norm": "matmul"})
    with pytest.raises(UserError, match=r"matmul cannot be used here: it runs on cpu, not on ascend"):
        kernels.choose("layer_norm")
    dynamic = Kernels(Call(training=True, dynamic=True), {"layer_norm": "matmul"})
    with pytest.raises(UserError, match="needs static shapes"):
        dynamic.choose("layer_norm")


def test_a_choice_is_logged_once_with_its_reason(caplog: pytest.LogCaptureFixture, without_native: None) -> None:
    with caplog.at_level(logging.INFO, "ms_plm.kernels.choice"):
        kernels = Kernels(CPU_TRAINING)
        for _ in range(3):
            kernels.build("layer_norm", size=4, epsilon=1e-12)
    lines = [record.message for record in caplog.records if "kernel layer_norm" in record.message]
    assert lines == [
        "kernel layer_norm: matmul (fastest that serves this run; passed over: stock runs on ascend, gpu, not on cpu; "
        "native needs a library that cannot be had: no compiler)"
    ]


class _Broken:
    value, dist = "elsewhere.forms:ALL", None

    def load(self):
        raise ImportError("no module named elsewhere")


def test_a_package_whose_kernels_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    choice._installed.cache_clear()
    monkeypatch.setattr(choice, "entry_points", lambda group: [_Broken()])
    with pytest.raises(UserError, match="elsewhere.forms:ALL.*no module named elsewhere"):
        Kernels()
    choice._installed.cache_clear()
