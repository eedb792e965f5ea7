"""Names of recipes and resources, and where they lie."""

from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config import places


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of shipped recipes with three names, one of them twice; the current folder is another one."""
    for name in ("nezha/quick", "nezha/twin", "bert/twin"):
        path = tmp_path / "shipped" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("kind: pretrain\n", encoding="utf-8")
    monkeypatch.setattr(places, "recipe_root", lambda: tmp_path / "shipped")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "shipped"


@pytest.mark.parametrize("name", ["quick", "nezha/quick", "nezha/quick.yaml", "recipes/nezha/quick.yaml"])
def test_a_shipped_recipe_is_found_by_name(shipped, name):
    assert places.find_recipe(name) == shipped / "nezha" / "quick.yaml"


def test_a_file_comes_before_a_shipped_recipe(shipped):
    Path("quick").write_text("kind: pretrain\n", encoding="utf-8")
    assert places.find_recipe("quick") == Path("quick")


def test_a_name_that_stands_for_two_recipes_is_refused(shipped):
    with pytest.raises(UserError, match="several recipes have this name: bert/twin, nezha/twin"):
        places.find_recipe("twin")
    assert places.find_recipe("bert/twin") == shipped / "bert" / "twin.yaml"


def test_an_unknown_name_is_answered_with_the_nearest_and_with_list(shipped):
    with pytest.raises(UserError, match="quikc: no such file.* Did you mean nezha/quick.*ms-plm list"):
        places.find_recipe("quikc")


def test_a_folder_without_a_recipe_is_named(shipped):
    Path("empty").mkdir()
    with pytest.raises(UserError, match=r"empty: this folder holds no recipe\.yaml"):
        places.find_recipe("empty")


def test_a_bundled_resource_is_found_by_name():
    assert places.place("package:quickstart/vocab.txt").read_text(encoding="utf-8").startswith("[PAD]")
    assert places.place("a/b.txt") == Path("a/b.txt")
    assert places.place("~/x") == Path.home() / "x"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("package:quickstart/vocabs.txt", "Did you mean package:quickstart/vocab.txt"),
        ("package:", "Bundled are"),
        ("package:../config/model.py", "no resource of this name"),
    ],
)
def test_an_unknown_resource_is_answered_with_the_known_ones(name, hint):
    with pytest.raises(UserError, match=hint):
        places.place(name)
