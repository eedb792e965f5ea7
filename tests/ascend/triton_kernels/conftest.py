"""The kernels' own environment."""

from __future__ import annotations

import pytest
from triton_environment import Environment, found_or_made


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Where kernels are compiled and interpreted; see `triton_environment`."""
    return found_or_made(tmp_path_factory.mktemp("triton"))
