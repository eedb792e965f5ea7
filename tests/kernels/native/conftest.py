"""Tests of the C++ operations are skipped where they cannot be built, with the reason."""

from __future__ import annotations

import pytest
from symbols import missing


@pytest.fixture(scope="session")
def native() -> None:
    """The native operations can be used here."""
    if reason := missing():
        pytest.skip(f"no native operations: {reason}")
