"""New processes: what they say, what they may use, how they fail."""

import os

import pytest

from ms_plm.common.processor import cores
from ms_plm.export.process import ProcessFailed, run_module


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that a new process can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(text: str) -> str:
        (tmp_path / "tried.py").write_text(text, encoding="utf-8")
        return "tried"

    return write


def test_the_last_line_is_the_answer(module, tmp_path):
    name = module("import json, sys\nprint('chatter')\nprint(json.dumps(sys.argv[1:]))")
    assert run_module(name, ["a", "b"], tmp_path) == ["a", "b"]


def test_a_process_has_the_cores_that_it_is_given_and_this_one_keeps_its_own(module, tmp_path):
    name = module("import os\nprint(len(os.sched_getaffinity(0)), end='')")
    before = os.sched_getaffinity(0)
    assert run_module(name, [], tmp_path, threads=1) == 1
    assert run_module(name, [], tmp_path) == cores()
    assert os.sched_getaffinity(0) == before


def test_settings_of_msrun_are_not_passed_on(module, tmp_path, monkeypatch):
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    name = module("import json, os\nprint(json.dumps('MS_ROLE' in os.environ))")
    assert run_module(name, [], tmp_path) is False


def test_a_process_that_fails_says_why(module, tmp_path):
    with pytest.raises(ProcessFailed, match=r"^exit code 1: ValueError: of no use$"):
        run_module(module("raise ValueError('of no use')"), [], tmp_path)


def test_a_process_that_takes_too_long_is_ended(module, tmp_path, monkeypatch):
    monkeypatch.setattr("ms_plm.export.process.SECONDS", 1)
    with pytest.raises(ProcessFailed, match="it took more than 1 s"):
        run_module(module("import time\ntime.sleep(60)"), [], tmp_path)
