"""The cells of `ms_plm_ascend.ops.triton` in graph mode, around kernels in Triton's interpreter."""

from __future__ import annotations

import json

import pytest
from triton_environment import HERE, Environment


@pytest.mark.slow
def test_the_cells_and_their_gradients_are_right_in_a_graph(environment: Environment) -> None:
    ran = environment.run_with_mindspore(HERE / "graph_cases.py")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert len(found) == 4
    for name, errors in found.items():
        assert len(errors) >= 4, errors
        tolerance = 2e-3 if name.startswith("fp16") else 3e-6
        assert max(errors.values()) < tolerance, (name, errors)
