"""The choice among implementations: automatic, asked for, refused, and told once."""

from __future__ import annotations

import logging

import pytest

from ms_plm.common.errors import UserError
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.choice import implementations

CPU_TRAINING = Call(device="cpu", training=True)


def test_every_operation_has_a_reference_form_except_dropout_whose_definition_is_the_hash() -> None:
    for operation, forms in implementations().items():
        assert forms[0].name == ("hash" if operation == "dropout" else "reference")
        assert set(forms[0].devices) == {"cpu", "gpu", "ascend"}
        assert len({form.name for form in forms}) == len(forms)


def test_auto_takes_the_fastest_form_that_accepts() -> None:
    kernels = Kernels(CPU_TRAINING)
    chosen = {name: kernels.choose(name)[0].name for name in implementations()}
    assert chosen["relative_attention"] == "naive"
    assert chosen["layer_norm"] == "matmul"
    assert chosen["dropout"] == kernels.call.dropout == "host_mask"
    assert chosen["optimizer_update"] == "fused_adam"


def test_dynamic_shapes_and_other_devices_get_forms_that_serve_them() -> None:
    dynamic = Kernels(Call(training=True, dynamic=True))
    assert dynamic.choose("dropout")[0].name == "hash"
    assert dynamic.choose("layer_norm")[0].name == "reference"
    assert Kernels(Call(device="ascend", training=True)).choose("layer_norm")[0].name == "stock"


def test_reference_is_reference_everywhere() -> None:
    kernels = Kernels(CPU_TRAINING, "reference")
    for operation, forms in implementations().items():
        assert kernels.choose(operation)[0] == forms[0]


def test_an_operation_can_be_set_alone() -> None:
    kernels = Kernels(CPU_TRAINING, {"layer_norm": "reference", "attention": "auto"})
    assert kernels.choose("layer_norm") == (implementations()["layer_norm"][0], "asked for")
    assert kernels.choose("attention")[0].name == "naive"
    assert kernels.choose("dropout_add_layer_norm")[0].name == "matmul"


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


def test_a_choice_is_logged_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ms_plm.kernels.choice"):
        kernels = Kernels(CPU_TRAINING)
        for _ in range(3):
            kernels.build("layer_norm", size=4, epsilon=1e-12)
    lines = [record.message for record in caplog.records if "kernel layer_norm" in record.message]
    assert lines == [
        "kernel layer_norm: matmul (fastest that serves this run; passed over: stock runs on ascend, gpu, not on cpu)"
    ]
