"""What is installed is whole: recipes, resources, the Ascend part; from a wheel, an editable install, a checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(str(path.relative_to(ROOT / "recipes")) for path in (ROOT / "recipes").rglob("*.yaml"))
RESOURCES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "ms_plm" / "resources").rglob("*")
    if path.is_file() and path.suffix != ".pyc"
)
NATIVE = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "ms_plm" / "kernels" / "native" / "src").iterdir())
ASCENDC = sorted(
    f"ms_plm_ascend/{path.relative_to(ROOT / 'ascend')}"
    for path in (ROOT / "ascend" / "ascendc").rglob("*")
    if path.suffix in (".h", ".cpp")
)
LIST = "from ms_plm.config.loading import list_recipes, load_recipe\nimport sys\n" + (
    "for name in list_recipes():\n    print(load_recipe(name).name)\nassert 'mindspore' not in sys.modules\n"
)


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Output of a command that must succeed, run in `folder` without this process's Python path."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**clean, **environment})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def copy_of_tree(folder: Path) -> Path:
    """The files that an installation reads, so that building leaves nothing in this tree."""
    folder.mkdir()
    for name in ("ms_plm", "recipes", "ascend"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of this tree, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = copy_of_tree(folder / "tree")
    run([sys.executable, "setup.py", "-q", "bdist_wheel", "-d", str(folder / "dist")], tree)
    return next((folder / "dist").glob("*.whl"))


def stems() -> list[str]:
    return [Path(name).stem for name in RECIPES]


def test_recipes_are_found_from_a_checkout_in_another_folder(tmp_path):
    assert run([sys.executable, "-c", LIST], tmp_path, PYTHONPATH=str(ROOT)).split() == stems()


def test_a_wheel_holds_recipes_resources_cpp_sources_licence_and_the_ascend_part(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    recipes = [f"ms_plm_recipes/{name}" for name in RECIPES]
    for expected in [*recipes, *RESOURCES, *NATIVE, *ASCENDC, "ms_plm_ascend/__init__.py"]:
        assert expected in names
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "tools", "recipes/"))]


def test_recipes_and_resources_are_found_in_an_unpacked_wheel(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    site = str(tmp_path / "site")
    assert run([sys.executable, "-c", LIST], tmp_path / "elsewhere", PYTHONPATH=site).split() == stems()
    code = "from ms_plm.config.places import place; print(place('package:quickstart'))"
    found = run([sys.executable, "-c", code], tmp_path / "elsewhere", PYTHONPATH=site).strip()
    assert found == f"{site}/ms_plm/resources/quickstart"


@pytest.mark.slow
@pytest.mark.parametrize("how", [["."], ["-e", "."]], ids=["install", "editable"])
def test_pip_installs_the_command_and_it_finds_the_recipes_from_anywhere(how, tmp_path):
    tree = copy_of_tree(tmp_path / "tree")
    run([sys.executable, "-m", "venv", "--system-site-packages", str(tmp_path / "venv")], tmp_path)
    python = str(tmp_path / "venv" / "bin" / "python")
    # The dependencies are those of the environment that runs this test.
    outer = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    inner = next((tmp_path / "venv" / "lib").glob("python3*/site-packages"))
    (inner / "outer.pth").write_text(f"{outer}\n", encoding="utf-8")
    run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", *how], tree)
    (tmp_path / "elsewhere").mkdir()
    listed = run([str(tmp_path / "venv" / "bin" / "ms-plm"), "list"], tmp_path / "elsewhere")
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [name.removesuffix(".yaml") for name in RECIPES]
