"""The size of fused gradients follows from the model's size; a search over all sizes agrees."""

from __future__ import annotations

import numpy as np
import pytest

from ms_plm_ascend.launch.fusion import BYTES_PER_SECOND, SIZES, START_SECONDS, fusion_mb

LARGE = 326_000_000


@pytest.mark.parametrize("parameters", [4_000_000, 102_000_000, LARGE, 3_000_000_000])
@pytest.mark.parametrize("nodes", [1, 4])
def test_what_is_chosen_costs_least_of_what_is_offered(parameters: int, nodes: int) -> None:
    total, rate = 4.0 * parameters, BYTES_PER_SECOND["machine" if nodes == 1 else "network"]
    offered = np.array(SIZES) * 1e6
    cost = START_SECONDS * total / offered + offered / rate  # of the starts, and of the message that nothing hides
    assert fusion_mb(parameters, nodes, accumulates=False)[0] == SIZES[int(cost.argmin())]


def test_without_anything_to_hide_behind_messages_are_few() -> None:
    assert fusion_mb(LARGE, 1, accumulates=True)[0] == 128
    assert fusion_mb(10_000_000, 1, accumulates=True)[0] == 8


def test_the_reason_gives_the_numbers() -> None:
    reason = fusion_mb(LARGE, 2, accumulates=False)[1]
    assert "1304 MB" in reason
    assert "not measured" in reason
