"""The house keeps its order: imports run downward, without circles, and MindSpore stays out where it is not needed."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BELOW = {
    "common": [],
    "resources": [],
    "pictures": ["common"],
    "config": ["common"],
    "tokenization": ["config"],
    "kernels": ["config"],
    "data": ["tokenization"],
    "models": ["tokenization", "kernels"],
    "evaluation": ["data", "models"],
    "tasks": ["evaluation", "pictures"],
    "training": ["tasks"],
    "series": ["training"],
    "distill": ["series"],
    "export": ["training"],
    "convert": ["training"],
    "elastic": ["distill", "export"],
    "workflow": ["convert", "elastic"],
    "cli": ["workflow"],
    "__main__": ["cli"],
    "__init__": [],
}
"""Room -> the rooms right below it; what is below those may be imported too."""

WITHOUT_MINDSPORE = ("common", "config", "tokenization", "data", "pictures", "cli", "__init__", "__main__")
"""Rooms whose modules do not import MindSpore when they are imported; `training.hardware` is one more."""


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def may_import(room: str) -> set[str]:
    found = {room}
    for lower in BELOW[room]:
        found |= may_import(lower)
    return found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@cache
def imports(path: Path, everywhere: bool) -> frozenset[tuple[str, int]]:
    """Names of imported modules and their lines; `everywhere`: also inside functions."""
    found: set[tuple[str, int]] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.update((alias.name, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    folder = path.parents[child.level - 1]
                    base = ".".join(filter(None, [".".join(folder.relative_to(ROOT).parts), base]))
                found.add((base, child.lineno))
                found.update((f"{base}.{alias.name}", child.lineno) for alias in child.names)
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or is_type_checking(child):
                if everywhere:
                    visit(child)
            else:
                visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(found)


def test_every_room_has_its_place():
    rooms = {room_of(module_of(path)) for path in sources("ms_plm")}
    assert rooms <= set(BELOW), "give the new room a place in BELOW"


def test_imports_run_downward():
    known = {module_of(path) for path in sources("ms_plm")}
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("ms_plm")
        for name, line in imports(path, everywhere=True)
        if name in known and name != "ms_plm" and room_of(name) not in may_import(room_of(module_of(path)))
    ]
    assert upward == []


def test_no_circles_among_files():
    files = {module_of(path): path for path in sources("ms_plm")}
    graph = {
        module: {name for name, _ in imports(path, everywhere=False) if name in files and name != module}
        for module, path in files.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        assert module not in trail, f"a circle: {' -> '.join([*trail[trail.index(module) :], module])}"
        if module not in done:
            for lower in graph[module]:
                visit(lower, [*trail, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_the_package_never_names_its_ascend_part():
    for path in sources("ms_plm"):
        assert not any(name.startswith("ms_plm_ascend") for name, _ in imports(path, everywhere=True)), path


ASCEND_MAY_IMPORT = ("ms_plm.common", "ms_plm.config", "ms_plm.kernels")


def test_the_ascend_part_stands_on_kernels_alone():
    known = {module_of(path) for path in sources("ms_plm")}
    for path in sources("ascend/ops", "ascend/ascendc"):
        for name, line in imports(path, everywhere=True):
            assert name not in known or name == "ms_plm" or name.startswith(ASCEND_MAY_IMPORT), f"{path}:{line}: {name}"


def test_no_mindspore_at_import_where_it_is_not_needed():
    modules = [module_of(path) for path in sources("ms_plm") if room_of(module_of(path)) in WITHOUT_MINDSPORE]
    modules = [name for name in modules if name != "ms_plm.__main__"] + ["ms_plm.training.hardware"]
    code = (
        "import sys\nfrom importlib import import_module\n"
        f"for name in {modules!r}:\n"
        "    import_module(name)\n"
        "    if 'mindspore' in sys.modules:\n"
        "        sys.exit(f'{name} imports mindspore')\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert child.returncode == 0, child.stderr


def test_every_file_says_what_it_is_for():
    silent = [
        str(path.relative_to(ROOT))
        for path in sources("ms_plm", "ascend", "recipes", "tools", "tests")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        and path.read_text(encoding="utf-8").strip()
    ]
    assert silent == []


def test_files_are_short_enough_to_hold_one_thing():
    long = [str(path.relative_to(ROOT)) for path in sources("ms_plm", "ascend") if len(path.open().readlines()) > 400]
    assert long == []


@pytest.mark.parametrize("habit", ["sys.path", "import *", "import pickle ", "from pickle ", "allow_pickle=True"])
def test_habits_of_the_originals_stay_out(habit):
    """No path games, no wildcard imports, no pickle."""
    hits = []
    for path in sources("ms_plm", "ascend"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            code = line.split("#")[0] + " "
            if habit in code and not code.strip().startswith(('"', "'")) and f"`{habit}" not in code:
                hits.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    if habit == "sys.path":  # these two hand their own path on to the child that they start
        hits = [hit for hit in hits if not hit.startswith(("ms_plm/cli/doctor.py", "ms_plm/series/process.py"))]
    assert hits == []


def test_no_path_of_a_developers_machine():
    home = str(ROOT.parent) + "/"
    text_files = [
        path
        for folder in ("ms_plm", "ascend", "recipes", "tools", "tests", "docs", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".yaml", ".json", ".txt", ".toml", "") and path.is_file()
    ]
    for path in [*text_files, *ROOT.glob("*.md"), ROOT / "setup.py", ROOT / "pyproject.toml"]:
        assert home not in path.read_text(encoding="utf-8", errors="replace"), path
