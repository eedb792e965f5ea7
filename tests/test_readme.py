"""README.md and its Chinese sister show commands that exist, and `.ci/run` finds the two it runs."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ms_plm.cli.main import VERBS, _parse, build_parser
from ms_plm.config.loading import load_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "README_CN.md", "ascend/README.md", "CONTRIBUTING.md")


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The `ms-plm` commands of a page, split into words."""
    found = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").replace("&&", "\n").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["ms-plm"]:
                found.append(words[1:])
            elif "ms_plm" in words:
                found.append(words[words.index("ms_plm") + 1 :])
    return found


@pytest.mark.parametrize("page", ["README.md", "README_CN.md", "ascend/README.md"])
def test_every_command_shown_is_one_that_the_command_line_takes(page):
    shown = commands(page)
    assert shown
    for words in shown:
        assert words[0] in VERBS
        args = _parse(build_parser(words[0]), words)
        if words[0] in ("run", "show"):
            load_recipe(args.recipe, args.overrides)


def ascend_commands(page: str) -> list[tuple[str, list[str]]]:
    """The `python -m ms_plm_ascend.MODULE` commands of a page, in blocks and between words: module and arguments."""
    text = (ROOT / page).read_text(encoding="utf-8")
    between = re.findall(r"`(python -m [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    shown = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    split = [shlex.split(line, comments=True) for line in (*shown, *between)]
    return [(words[2], words[3:]) for words in split if "".join(words[2:3]).startswith("ms_plm_ascend.")]


def test_every_program_for_ascend_takes_the_commands_shown_of_it():
    shown = ascend_commands("ascend/README.md")
    names = ("launch", "simulate", "simulate.attention", "bringup", "ascendc", "triton_kernels")
    assert {module for module, _ in shown} == {f"ms_plm_ascend.{name}" for name in names}
    for module, words in shown:
        program = importlib.import_module(module)
        if not hasattr(program, "build_parser"):
            program = importlib.import_module(f"{module}.__main__")
        args = program.build_parser().parse_intermixed_args(words)
        if "recipe" in args:
            load_recipe(args.recipe, args.overrides)


def test_both_languages_show_the_same_commands():
    assert commands("README_CN.md") == [words for words in commands("README.md") if "impl.device=gpu" not in words]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("quickstart", "pip install '.[zh]' && ms-plm run quickstart"),
        ("tests", "pip install -e '.[test,zh,runtime,viz]' && pytest -n 2"),
    ],
)
def test_ci_runs_what_the_readme_says(name, command):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    function = re.search(r"^command_of\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE).group()
    function = function.replace('"$work/tree/README.md"', "README.md")
    ran = subprocess.run(["bash", "-c", f"{function}\ncommand_of {name}"], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.strip() == command
    assert f"step {name}\n" in script


def test_the_recipe_shown_is_valid(tmp_path):
    for page in ("README.md", "README_CN.md"):
        text, *others = blocks(page, "yaml")
        (tmp_path / "my_recipe.yaml").write_text(text, encoding="utf-8")
        recipes = tmp_path / "recipes"
        if not recipes.exists():
            recipes.symlink_to(ROOT / "recipes")
        recipe = load_recipe(tmp_path / "my_recipe.yaml")
        assert (recipe.train.steps, recipe.train.epochs, recipe.data.corpus) == (None, 2, "prepared/mine")
        for other in others:
            (tmp_path / "other.yaml").write_text(other, encoding="utf-8")
            load_recipe(tmp_path / "other.yaml")


@pytest.mark.parametrize("page", ["README.md", "README_CN.md"])
def test_the_python_shown_fills_in_a_mask(page):
    (code,) = blocks(page, "python")
    assert "runs/quickstart/model" in code
    code = code.replace("runs/quickstart/model", str(ROOT / "tests" / "goldens" / "nezha_k8"))
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.split()) == 1


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), target
