"""A place that cannot take results is refused before they are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm_ascend.writing import need_file, need_folder


def test_a_folder_is_made_and_nothing_stays_in_it(tmp_path: Path) -> None:
    need_folder(tmp_path / "a" / "b", "--out")
    need_file(tmp_path / "a" / "c" / "plans.json", "--json")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c"]


def test_a_file_in_the_way_is_named_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out .*/file: expected a folder that can be written, found: File exists"):
        need_folder(tmp_path / "file", "--out")
    with pytest.raises(UserError, match=r"--json .*/file: expected a folder .* Not a directory|File exists"):
        need_file(tmp_path / "file" / "plans.json", "--json")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--json .*: expected a file, found a folder"):
        need_file(tmp_path, "--json")
