"""What is computed in which precision."""

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.precision import policy_for


@pytest.mark.parametrize(
    ("precision", "device", "compute", "scaling"),
    [
        ("fp32", "cpu", "float32", False),
        ("fp16", "cpu", "float16", True),
        ("fp16", "ascend", "float16", True),
        ("bf16", "cpu", "bfloat16", False),
        ("bf16", "ascend", "bfloat16", False),
        ("bf16", "gpu", "bfloat16", False),
    ],
)
def test_only_the_compute_type_and_the_loss_scale_follow_the_precision(precision, device, compute, scaling):
    policy = policy_for(precision, device)
    assert (policy.compute, policy.loss_scaling) == (compute, scaling)
    always = (policy.parameters, policy.layer_norm, policy.softmax, policy.loss, policy.reductions, policy.optimizer)
    assert set(always) == {"float32"}
    assert policy.bits == (32 if precision == "fp32" else 16)


def test_bf16_is_refused_where_the_device_has_none():
    with pytest.raises(UserError, match="impl.precision: bf16 cannot run on .* Set impl.precision=fp16"):
        policy_for("bf16", "ascend", "910A")


def test_a_chip_decides_how_an_overflow_shows():
    assert policy_for("fp16", "ascend", "910A").overflow == "saturates"
    assert policy_for("fp16", "ascend", "910B3").overflow == policy_for("fp16", "cpu").overflow == "inf_nan"


def test_a_policys_summary_names_every_part():
    assert policy_for("fp16", "ascend").summary == (
        "products in float16; parameters, layer_norm, softmax, loss, reductions, optimizer in float32; "
        "dynamic loss scale; masked scores -10000"
    )


def test_an_unknown_precision_is_named():
    with pytest.raises(UserError, match="expected fp32, fp16, bf16, found 'fp8'"):
        policy_for("fp8", "cpu")
