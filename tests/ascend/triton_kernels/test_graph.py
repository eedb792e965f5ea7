"""The cells of `ms_plm_ascend.ops.triton` in graph mode, around kernels in Triton's interpreter."""

from __future__ import annotations

import json

import numpy as np
import pytest
from triton_environment import HERE, Environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(environment: Environment) -> dict:
    """What `graph_cases.py` prints."""
    ran = environment.run_with_mindspore(HERE / "graph_cases.py")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_the_cells_and_their_gradients_are_right_in_a_graph(found: dict) -> None:
    assert len(found["errors"]) == 4
    for name, errors in found["errors"].items():
        assert len(errors) >= 4, errors
        tolerance = 2e-3 if name.startswith("fp16") else 3e-6
        assert max(errors.values()) < tolerance, (name, errors)


def test_twenty_training_steps_with_dropout_are_those_of_the_reference(found: dict) -> None:
    triton, reference = (np.array(found["losses"][name]) for name in ("triton", "reference"))
    assert len(triton) == 20
    assert reference[-1] < 0.8 * reference[0]
    np.testing.assert_allclose(triton, reference, rtol=2e-5)
