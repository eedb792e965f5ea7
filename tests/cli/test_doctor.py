"""`ms-plm doctor`."""

import logging
from pathlib import Path

import pytest

from ms_plm.cli import doctor, doctor_kernels
from ms_plm.cli.main import main
from ms_plm.kernels import Call, Implementation, choice
from ms_plm.training import hardware


def test_quick_reports_versions_extras_processor_and_needs_no_mindspore_process(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_in_child", lambda *_: pytest.fail("a process was started"))
    assert main(["doctor", "--quick"]) == 0
    text = capsys.readouterr().out
    for word in ("ms_plm ", "mindspore", "numpy", "extras", "processor", "cores", "all that training needs is here"):
        assert word in text


def test_a_chip_is_described_without_a_device_or_mindspore(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_in_child", lambda *_: pytest.fail("a process was started"))
    assert main(["doctor", "--soc", "Ascend910A"]) == 0
    text = capsys.readouterr().out
    assert "saturation" in text
    assert "fp16             products in float16" in text
    assert "bf16             refused: " in text
    assert main(["doctor", "--soc", "910B3"]) == 0
    assert "bf16             products in bfloat16" in capsys.readouterr().out


def test_an_unknown_chip_is_refused(capsys):
    assert main(["doctor", "--soc", "H100"]) == 1
    assert "known are 910A" in capsys.readouterr().err


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
        ("print('one'); print(); print('  two')", (True, ["one", "  two"])),
        ("print('one'); raise ValueError('broken')", (False, ["ValueError: broken"])),
        (
            "raise RuntimeError('it broke\\n\\n----\\n(See file x for more details.)')",
            (False, ["RuntimeError: it broke"]),
        ),
        ("import os; os.kill(os.getpid(), 9)", (False, ["killed by signal 9: no output"])),
        ("import time; time.sleep(60)", (False, ["no answer within 1 s"])),
    ],
)
def test_what_runs_in_a_child_cannot_harm_the_doctor(code, outcome):
    assert doctor._in_child(code, seconds=1 if "sleep" in code else 60) == outcome


def test_what_a_child_drops_does_not_stay_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctor._in_child("open('dropped', 'w'); import os; print(os.listdir())") == (True, ["['dropped']"])
    assert list(tmp_path.iterdir()) == []


def answering(monkeypatch, **answers: tuple[bool, list[str]]) -> list[str]:
    """Let children answer by the word that their code holds, else with one good line; the code that was run."""
    ran = []

    def in_child(code: str, seconds: int = 300) -> tuple[bool, list[str]]:
        ran.append(code)
        return next((answer for word, answer in answers.items() if word in code), (True, ["fine"]))

    monkeypatch.setattr(doctor, "_in_child", in_child)
    return ran


NATIVE = (True, ["ok", "/cache/libms_plm.so"])


def test_a_broken_device_is_reported_and_makes_the_doctor_fail(capsys, monkeypatch):
    answering(monkeypatch, native=NATIVE, open_device=(False, ["UserError: no such card"]))
    assert main(["doctor"]) == 1
    assert "cpu              BROKEN   UserError: no such card\n" in capsys.readouterr().out


def test_a_gpu_that_is_not_set_up_is_told_with_the_command_for_it(capsys, monkeypatch):
    monkeypatch.setattr(hardware, "loadable", lambda name: name == "libcuda.so.1")
    monkeypatch.setattr(hardware, "cuda_folders", lambda: {"libcudnn.so.8": Path("/somewhere")})
    monkeypatch.delenv("CUDA_HOME", raising=False)
    answering(monkeypatch, native=NATIVE)
    assert main(["doctor"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  gpu  ")]
    assert "not installed: libcublas.so.11, libcurand.so.10, libcudart.so.11.0" in line
    assert "(`pip install '.[gpu]'` in the project's folder)" in line
    assert 'not on LD_LIBRARY_PATH: libcudnn.so.8 (`eval "$(ms-plm env gpu)"`)' in line


def test_native_operations_are_told_with_their_library_or_with_why_there_are_none(capsys, monkeypatch):
    answering(monkeypatch, native=NATIVE)
    assert main(["doctor"]) == 0
    assert "  native ops       ok       /cache/libms_plm.so\n" in capsys.readouterr().out
    answering(monkeypatch, native=(True, ["absent", "no C++ compiler is on PATH"]))
    assert main(["doctor"]) == 0  # training does without
    assert "  native ops       absent   no C++ compiler is on PATH\n" in capsys.readouterr().out


def test_building_ahead_runs_nothing_else_when_quick_and_fails_where_it_cannot(capsys, monkeypatch):
    ran = answering(monkeypatch, native=NATIVE)
    assert main(["doctor", "--quick", "--build"]) == 0
    assert ran == [doctor_kernels.NATIVE]
    answering(monkeypatch, native=(True, ["absent", "no C++ compiler is on PATH"]))
    assert main(["doctor", "--quick", "--build"]) == 1
    text = capsys.readouterr().out
    assert text.endswith(
        "all that training needs is here\nthe native CPU operations that --build asks for are not there: see above\n"
    )


@pytest.mark.parametrize(
    ("present", "arguments", "shown"),
    [
        ("cpu", [], "kernels (training on cpu in fp32)"),
        ("gpu", [], "kernels (training on gpu in fp32)"),
        ("gpu", ["--device", "cpu", "--precision", "bf16"], "kernels (training on cpu in bf16)"),
        ("cpu", ["--device", "ascend", "--precision", "fp16"], "kernels (training on ascend in fp16)"),
    ],
)
def test_the_table_is_for_the_device_that_auto_takes_unless_told_otherwise(
    capsys, monkeypatch, present, arguments, shown
):
    for name in ("gpu", "ascend"):
        monkeypatch.setitem(hardware.MISSING, name, list if name == present else lambda: ["nothing"])
    ran = answering(monkeypatch, native=NATIVE, table=(True, ["  linear reference", "         other"]))
    assert main(["doctor", *arguments]) == 0
    assert f"\n{shown}\n  linear reference\n         other\n" in capsys.readouterr().out
    assert doctor_kernels.TABLE.format(device=shown.split()[3], precision=shown.split()[5][:-1]) in ran


def test_a_table_that_cannot_be_made_makes_the_doctor_fail(capsys, monkeypatch):
    answering(monkeypatch, native=NATIVE, table=(False, ["ImportError: no mindspore"]))
    assert main(["doctor"]) == 1
    assert "table            BROKEN   ImportError: no mindspore" in capsys.readouterr().out


@pytest.fixture
def three_forms(monkeypatch):
    """A registry of two operations; dropout must be among them."""

    def form(operation: str, name: str, preference: int, refusal: str | None = None) -> Implementation:
        return Implementation(operation, name, ("cpu",), lambda call: None, lambda call: refusal, preference)

    def warning(call: Call) -> None:
        logging.getLogger("ms_plm.kernels.some").warning("slower than it looks")

    table = {
        "dropout": (form("dropout", "hash", 0), form("dropout", "other_form", 10)),
        "linear": (
            form("linear", "reference", 0),
            Implementation("linear", "fast", ("cpu",), lambda call: None, warning, 10),
            form("linear", "faster", 20, "needs more than there is"),
        ),
        "loss": (form("loss", "reference", 0, "is not for today"),),
    }
    monkeypatch.setattr(choice, "implementations", lambda: table)


def test_the_table_shows_what_is_chosen_first_then_the_others_and_why_not(three_forms):
    assert doctor_kernels.table("cpu", "fp32")[:6] == [
        "  dropout other_form fastest that serves this run",
        "          hash       slower",
        "  linear  fast       fastest that serves this run",
        "          faster     needs more than there is",
        "          reference  slower",
        "  loss    none       no implementation serves this run",
    ]


def test_what_is_warned_of_while_choosing_stands_below_the_table(three_forms):
    notes = [line for line in doctor_kernels.table("cpu", "fp32") if "note" in line]
    assert notes == ["  note: slower than it looks"]


def test_the_child_tells_of_every_operation_and_of_native_ones_that_are_switched_off(monkeypatch):
    monkeypatch.setenv("MS_PLM_NATIVE", "off")
    code = f"{doctor_kernels.NATIVE}\n{doctor_kernels.TABLE.format(device='cpu', precision='fp32')}"
    works, lines = doctor._in_child(code)
    assert works
    assert lines[:2] == ["absent", "switched off by MS_PLM_NATIVE=off"]
    shown = [line.split()[0] for line in lines[2:] if line[2] != " " and "note:" not in line]
    assert shown == list(choice.implementations())
    assert any("native" in line and "switched off" in line for line in lines[2:])


@pytest.mark.slow
def test_the_whole_doctor_finds_this_machine_healthy(capsys):
    assert main(["doctor"]) == 0
    assert "a small training step" in capsys.readouterr().out
