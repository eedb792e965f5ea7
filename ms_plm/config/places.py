"""Where things named in a recipe lie: shipped recipes, bundled resources (`package:NAME`), files and folders."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path

from ms_plm.common.errors import UserError

PACKAGE = "package:"
_HOME = Path(__file__).resolve().parents[1]  # the folder of the package ms_plm


def place(value: str) -> Path:
    """The path that a recipe or a command line means: `package:NAME`, `~/...`, or a path from the current folder.

    Raises:
        UserError: no bundled resource has this name.
    """
    if not value.startswith(PACKAGE):
        return Path(value).expanduser()
    name = value.removeprefix(PACKAGE).strip("/")
    resources = _HOME / "resources"
    path = (resources / name).resolve()
    if name and path.is_relative_to(resources) and path.exists():
        return path
    known = sorted(
        str(item.relative_to(resources))
        for item in resources.rglob("*")
        if item.suffix != ".py" and "__pycache__" not in item.parts
    )
    near = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {PACKAGE}{near[0]}?" if near else f"Bundled are: {', '.join(known) or 'none'}."
    raise UserError(f"{value}: no resource of this name is bundled with the package. {hint}")


def recipe_root() -> Path:
    """The folder of the shipped recipes: that of the checkout this package runs from, else that of the installation.

    Raises:
        UserError: the installation holds no recipes.
    """
    checkout = _HOME.parent
    if (checkout / "setup.py").is_file() and (checkout / "recipes" / "__init__.py").is_file():
        return checkout / "recipes"
    try:
        return Path(import_module("ms_plm_recipes").__file__).parent
    except ImportError as error:
        raise UserError(
            "The shipped recipes are not installed (no package ms_plm_recipes). Reinstall with `pip install .` from "
            "the project's folder, or name a recipe by its path."
        ) from error


def list_recipes() -> dict[str, Path]:
    """The shipped recipes: name such as `nezha/quickstart` -> file, in alphabetical order."""
    root = recipe_root()
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file of a recipe given by path, by run folder, or by the name of a shipped one.

    Shipped recipes answer to `nezha/quickstart` and, where it is unique, to `quickstart`.

    Raises:
        UserError: there is none; the message names the nearest ones.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    shipped = list_recipes()
    stem = name.removesuffix(".yaml").removesuffix(".yml").removeprefix("./").removeprefix("recipes/")
    if stem in shipped:
        return shipped[stem]
    matches = [full for full in shipped if full.rpartition("/")[2] == stem]
    if len(matches) == 1:
        return shipped[matches[0]]
    if matches:
        raise UserError(f"{name}: several recipes have this name: {', '.join(matches)}. Give the whole name.")
    if path.is_dir():
        raise UserError(f"{name}: this folder holds no recipe.yaml; expected a recipe or a run folder.")
    short = {full.rpartition("/")[2]: full for full in shipped}
    near = difflib.get_close_matches(stem, [*shipped, *short], 1, cutoff=0.5)
    hint = f"Did you mean {short.get(near[0], near[0])}? " if near else ""
    raise UserError(f"{name}: no such file, and no shipped recipe has this name. {hint}`ms-plm list` shows them all.")
