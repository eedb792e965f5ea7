"""The twin of Ascend C, built once; tests that need it are skipped where there is no compiler, with the reason."""

from __future__ import annotations

import pytest

from ms_plm.common.errors import UserError
from ms_plm_ascend.ascendc.library import Library, library


@pytest.fixture(scope="session")
def twin() -> Library:
    """The library of kernels on the twin."""
    try:
        return library()
    except UserError as error:
        pytest.skip(f"no twin of Ascend C: {error}")
