"""The command line as a whole: exit codes, help without MindSpore, errors as paragraphs, `run`."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import ms_plm
from ms_plm.cli import main as cli
from ms_plm.cli.main import MODULES, VERBS, main
from ms_plm.common.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "kind: pretrain\ntrain: {steps: 3}\ndata: {corpus: c}\n"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE, encoding="utf-8")
    return "r.yaml"


@pytest.fixture
def workflow(monkeypatch):
    """A stand-in for the workflow that notes how it is called and may be told to fail."""
    module = types.ModuleType("ms_plm.workflow")
    module.calls, module.error = [], None
    module.result = types.SimpleNamespace(summary="made: runs/r/model", exit_code=0)

    def run(recipe, **options):
        module.calls.append((recipe, options))
        if module.error:
            raise module.error
        return module.result

    module.run = run
    monkeypatch.setitem(sys.modules, "ms_plm.workflow", module)
    monkeypatch.setattr(ms_plm, "workflow", module, raising=False)
    return module


def test_help_lists_every_verb_and_imports_no_mindspore():
    code = (
        "import sys\nfrom ms_plm.cli.main import main\n"
        "try:\n    main(['--help'])\nfinally:\n    print('mindspore' in sys.modules, 'pydantic' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert child.returncode == 0
    assert child.stdout.endswith("False False\n")
    for verb, line in VERBS.items():
        assert verb in child.stdout
        assert line in child.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_a_worked_example(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"ms-plm {verb}" in text.split("example", 1)[1]
    assert "--debug" in text


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_and_its_module_agree_on_the_name(verb):
    module = cli._module(verb)
    assert verb == module.NAME
    assert MODULES.get(verb, verb.replace("-", "_")) == module.__name__.rpartition(".")[2]


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"ms-plm {ms_plm.__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [["fly"], ["run"], ["run", "r", "--fast"], ["run", "r", "--resume", "--overwrite"], ["validate", "r", "--x=1"]],
)
def test_wrong_usage_ends_with_2(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "usage: ms-plm" in capsys.readouterr().err


def test_no_verb_shows_the_help_and_ends_with_2(capsys):
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


def test_run_hands_the_checked_recipe_to_the_workflow_and_prints_its_summary(recipe, workflow, capsys):
    assert main(["run", recipe, "train.steps=7", "--resume", "train.batch=4"]) == 0
    (called, options), *others = workflow.calls
    assert (called.train.steps, called.train.batch, others) == (7, 4, [])
    assert options == {"resume": True, "overwrite": False, "plan": False}
    assert capsys.readouterr().out == "made: runs/r/model\n"


def test_a_plan_is_passed_on_and_several_runs_have_no_dry_run(recipe, workflow, capsys):
    assert main(["run", recipe, "train.repeats=2", "--plan"]) == 0
    assert workflow.calls[0][1]["plan"] is True
    assert main(["run", recipe, "train.repeats=2", "--dry-run-ascend"]) == 2
    assert "is made of several runs; name the recipe of one of them" in capsys.readouterr().err
    assert len(workflow.calls) == 1


def test_a_run_that_was_cut_ends_with_its_exit_code(recipe, workflow, capsys):
    workflow.result = types.SimpleNamespace(summary="Stopped at step 3.", exit_code=1)
    assert main(["run", recipe]) == 1
    assert capsys.readouterr().out == "Stopped at step 3.\n"


def test_a_wrong_recipe_never_reaches_the_workflow(recipe, workflow, capsys):
    assert main(["run", recipe, "train.stepz=7"]) == 1
    assert workflow.calls == []
    assert capsys.readouterr().err == (
        "ms-plm run: command line: train.stepz: unknown key; did you mean train.steps?\n"
    )


def test_a_malformed_override_is_wrong_usage(recipe, workflow, capsys):
    assert main(["run", recipe, "steps"]) == 2
    assert "expected key=value" in capsys.readouterr().err


def test_a_user_error_is_one_paragraph_and_a_traceback_with_debug(recipe, workflow, capsys):
    workflow.error = UserError("corpora/c: no such folder. Make it with `ms-plm prepare`.")
    assert main(["run", recipe]) == 1
    assert capsys.readouterr().err == "ms-plm run: corpora/c: no such folder. Make it with `ms-plm prepare`.\n"
    with pytest.raises(UserError):
        main(["run", recipe, "--debug"])


def test_an_unexpected_error_is_one_paragraph_and_its_traceback_is_kept(
    recipe, workflow, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(cli.tempfile, "tempdir", str(tmp_path))
    workflow.error = RuntimeError(
        "MatMul failed.\n\n----------\n- C++ Call Stack: (For framework developers)\n----------"
    )
    assert main(["run", recipe]) == 1
    text = capsys.readouterr().err
    assert text.startswith("ms-plm run: unexpected RuntimeError: MatMul failed.\nThe traceback is in ")
    (kept,) = tmp_path.glob("ms-plm-*.log")
    assert str(kept) in text
    assert "Traceback (most recent call last)" in kept.read_text(encoding="utf-8")


def test_mindspore_is_quiet_unless_debugging(recipe, workflow, monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    assert main(["run", recipe]) == 0
    assert os.environ == {"GLOG_v": "3", "OMP_WAIT_POLICY": "PASSIVE"}
    monkeypatch.setattr(os, "environ", {"OMP_WAIT_POLICY": "ACTIVE"})
    assert main(["run", recipe, "--debug"]) == 0
    assert os.environ == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_an_interrupt_ends_with_1(recipe, workflow, capsys):
    workflow.error = KeyboardInterrupt()
    assert main(["run", recipe]) == 1
    assert capsys.readouterr().err == "\nms-plm run: stopped.\n"


def test_a_closed_pipe_is_no_error():
    child = subprocess.run(
        f"{sys.executable} -m ms_plm show quickstart | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert child.stdout.startswith("# ")
    assert child.stderr == ""
