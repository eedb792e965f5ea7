"""Fixtures for all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine makes any example late
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

if "PYTEST_XDIST_WORKER" in os.environ:
    # processes that share the cores must not wait for each other's threads; before MindSpore is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the checkout; tests that ask for it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data folder is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny runs, with their recipe and its prepared corpus, made once; see `tiny_run`."""
    import tiny_run

    folder = tmp_path_factory.getbasetemp() / "tiny_run"
    tiny_run.recipe_file(folder)
    return folder


@pytest.fixture(scope="session")
def moods(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny task, with its files, its recipe and a finished run of it in `run`."""
    import tiny_moods
    import tiny_run

    import ms_plm

    folder = tmp_path_factory.mktemp("moods")
    recipe = tiny_moods.recipe_file(folder, tiny_run.whole_run(base) / "model")
    ms_plm.run(recipe, {"output.folder": str(folder / "run")})
    return folder


@pytest.fixture(scope="session", autouse=True)
def _graph_mode_on_cpu(request: pytest.FixtureRequest) -> None:
    """MindSpore is set up once, and only in processes that use it."""
    import sys

    if "mindspore" in sys.modules:
        import mindspore as ms

        ms.set_device("CPU")
        ms.set_context(mode=0)
