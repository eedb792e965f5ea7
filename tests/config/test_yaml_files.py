"""Plain YAML, with the place of everything that is refused."""

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ms_plm.common.errors import UserError
from ms_plm.config.yaml_files import parse_value, read_yaml, write_yaml


def read(tmp_path: Path, text: str):
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.8e-4", 1.8e-4),
        ("-2", -2),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("007", "007"),
        ("2024-01-01", "2024-01-01"),
        ("我爱[MASK]国", "我爱[MASK]国"),
        ("[1, two, 3.0]", [1, "two", 3.0]),
        ("{naive: 1}", {"naive": 1}),
    ],
)
def test_scalars_mean_what_they_look_like(text, value):
    found = parse_value(text, "x")
    assert found == value
    assert type(found) is type(value)


def test_lines_of_keys_are_kept(tmp_path):
    document = read(tmp_path, "kind: pretrain\ntrain:\n  # why\n  steps: 3\n")
    assert document.values == {"kind": "pretrain", "train": {"steps": 3}}
    assert document.lines == {("kind",): 1, ("train",): 2, ("train", "steps"): 4}


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!env HOME"])
def test_a_tag_is_refused_with_its_line_and_what_to_write(tmp_path, tag):
    with pytest.raises(UserError, match=r"r\.yaml:2: the tag .* is refused.*Write the value itself"):
        read(tmp_path, f"kind: pretrain\nname: {tag}\n")


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path):
    with pytest.raises(UserError, match=r"r\.yaml:4: train\.steps stands twice \(first on line 2\)\. Keep one"):
        read(tmp_path, "train:\n  steps: 1\n  batch: 2\n  steps: 3\n")


def test_an_alias_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"r\.yaml:2: the alias \*x is refused.*base:"):
        read(tmp_path, "a: &x [1]\nb: *x\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\n", r"r\.yaml:2: this is not YAML"),
        ("a:\n\tb: 1\n", r"r\.yaml:2: this is not YAML.*spaces, not tabs"),
        ("a: b: c\n", r"r\.yaml:1: this is not YAML.*quotes"),
        ("a: 1\n---\nb: 2\n", r"this is not YAML.*remove the line `---`"),
        ("", "expected `key: value` lines, found nothing"),
        ("- 1\n", "expected `key: value` lines, found list"),
        ("1: 2\n", r"r\.yaml:1: the key 1 is not a name"),
        ("a: \x07\n", "this is not YAML"),
        ("a: " + "[" * 1500, "nested too deeply|this is not YAML"),
    ],
)
def test_what_is_not_a_recipe_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_missing_folder_and_wrong_encoding_are_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml: no such file"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="this is a folder"):
        read_yaml(tmp_path)
    (tmp_path / "gbk.yaml").write_bytes("name: 春天".encode("gbk"))
    with pytest.raises(UserError, match=r"gbk\.yaml: not a text in UTF-8"):
        read_yaml(tmp_path / "gbk.yaml")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff"))
    | st.sampled_from(["1e-4", "no", "1:30", "~", "true", "0x10", "2024-01-01", "*a", "a: b", "<<", "="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c d"]), inner, max_size=3),
    max_leaves=8,
)


@given(value=PLAIN)
def test_what_is_written_reads_back_the_same(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    write_yaml(path, {"value": value}, "two\nlines")
    assert read_yaml(path).values == {"value": value}


def test_only_plain_data_can_be_written(tmp_path):
    with pytest.raises(Exception, match="cannot represent"):
        write_yaml(tmp_path / "x.yaml", {"a": object()})
    write_yaml(tmp_path / "x.yaml", {"a": str(datetime.date(2024, 1, 1))})
    assert [file.name for file in tmp_path.iterdir()] == ["x.yaml"]
