"""The native operations compile for aarch64; tools/check_aarch64.py runs them there as well, under emulation."""

from __future__ import annotations

import shutil

import pytest

from ms_plm.kernels.native import build

COMPILER = "aarch64-linux-gnu-g++"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not on PATH")
def test_sources_compile_for_aarch64_without_a_warning(tmp_path):
    to = next(target for target in build.TARGETS if target.architecture == "aarch64")
    library = tmp_path / "libms_plm.so"
    build._build(COMPILER, to, library, ("-Wall", "-Wextra", "-Werror"))
    header = library.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64
