"""What is known of Ascend chips."""

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.chips import CHIPS, chip_named, chip_of


@pytest.mark.parametrize(
    ("soc", "chip"),
    [
        ("Ascend910B1", "910B1"),
        ("Ascend910B4-1", "910B4"),
        ("Ascend910_9392", "910C"),
        ("Ascend910ProA", "910A"),
        ("Ascend910B", "910A"),
        ("Ascend910A", "910A"),
        ("Ascend310P3", "310P"),
        ("Ascend950", None),
    ],
)
def test_a_chip_is_known_by_its_drivers_name(soc, chip):
    assert chip_of(soc) == chip


def test_a_chip_is_found_by_either_name():
    assert chip_named("910B3") is chip_named("Ascend910B3") is CHIPS["910B3"]


def test_an_unknown_chip_is_an_error_that_names_the_known_ones():
    with pytest.raises(UserError, match="'Ascend950'; known are 910A, 910B1, .*310P"):
        chip_named("Ascend950")


def test_chips_that_saturate_have_no_bf16_so_that_a_loss_scale_goes_with_them():
    saturating = {name for name, chip in CHIPS.items() if chip.overflow == "saturates"}
    assert saturating == {"910A", "310P"}
    assert all(CHIPS[name].types == ("fp16",) for name in saturating)
