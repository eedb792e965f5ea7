"""`ms-plm list`."""

from ms_plm.cli.main import main
from ms_plm.config.loading import list_recipes


def test_every_shipped_recipe_is_a_row_with_kind_model_and_description(capsys):
    assert main(["list"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["RECIPE", "KIND", "MODEL", "DESCRIPTION"]
    assert [row.split()[0] for row in rows] == list(list_recipes())
    quickstart = next(row for row in rows if row.startswith("nezha/quickstart "))
    assert quickstart.split()[1:4] == ["pretrain", "nezha", "2x128"]
    assert all(row[heading.index("DESCRIPTION") :].strip() for row in rows)


def test_a_pattern_narrows_the_list(capsys):
    assert main(["list", "bert_"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert rows
    assert all("bert_" in row for row in rows)


def test_a_pattern_without_a_match_is_an_error(capsys):
    assert main(["list", "gpt9"]) == 1
    assert "no shipped recipe has 'gpt9' in its name" in capsys.readouterr().err
