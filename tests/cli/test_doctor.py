"""`ms-plm doctor`."""

import pytest

from ms_plm.cli import doctor
from ms_plm.cli.main import main


def test_quick_reports_versions_extras_processor_and_needs_no_mindspore_process(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_in_child", lambda *_: pytest.fail("a process was started"))
    assert main(["doctor", "--quick"]) == 0
    text = capsys.readouterr().out
    for word in ("ms_plm ", "mindspore", "numpy", "extras", "processor", "cores", "all that training needs is here"):
        assert word in text


@pytest.mark.parametrize(
    ("name", "found", "problem"),
    [
        ("numpy", "1.26.4", ""),
        ("numpy", "2.0.1", "2.0.1 does not fit; MindSpore is compiled against NumPy 1"),
        ("numpy", None, "not installed: pip install 'numpy>=1.25,<2.0'"),
        ("mindspore", "2.10.0", ""),
        ("mindspore", "2.9.1", "pip install 'mindspore>=2.10,<2.11'"),
    ],
)
def test_a_version_that_does_not_fit_comes_with_the_remedy(name, found, problem):
    text = doctor.version_problem(name, found)
    assert problem in text
    assert bool(problem) == bool(text)


def test_numpy_2_makes_the_doctor_fail(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "2.4.6" if name == "numpy" else "2.10.0")
    assert main(["doctor", "--quick"]) == 1
    assert "something that training needs is missing" in capsys.readouterr().out


def test_an_absent_extra_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    doctor._extras()
    assert "pip install rjieba" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("print('one'); print('two')", (True, "two")),
        ("raise ValueError('broken')", (False, "ValueError: broken")),
        ("import os; os.kill(os.getpid(), 9)", (False, "killed by signal 9: no output")),
        ("import time; time.sleep(60)", (False, "no answer within 1 s")),
    ],
)
def test_what_runs_in_a_child_cannot_harm_the_doctor(code, outcome):
    assert doctor._in_child(code, seconds=1 if "sleep" in code else 60) == outcome


def test_a_broken_device_is_reported_and_makes_the_doctor_fail(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_in_child", lambda code: (False, "UserError: no such card"))
    assert main(["doctor"]) == 1
    assert "BROKEN" in capsys.readouterr().out


@pytest.mark.slow
def test_the_whole_doctor_finds_this_machine_healthy(capsys):
    assert main(["doctor"]) == 0
    assert "a small training step" in capsys.readouterr().out
