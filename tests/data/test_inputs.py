"""Files are found and named, other shapes refused, and long files dealt out where documents begin."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepare_help import section, write_text

from ms_plm.common.errors import UserError
from ms_plm.data import inputs
from ms_plm.data.inputs import Span, find_files, plan_units
from ms_plm.data.readers import Problems, documents


def test_folders_are_read_by_name_and_hidden_files_left_out(tmp_path):
    for name in ("b.txt", "a.jsonl", "sub/c.txt.gz", ".hidden.txt", ".cache/d.txt"):
        write_text(tmp_path / "text" / name, [["x"]])
    found = find_files([section(tmp_path / "text")])
    assert [file.name for file in found] == ["text/a.jsonl", "text/b.txt", "text/sub/c.txt.gz"]
    assert [(file.format, file.gzip) for file in found] == [(".jsonl", False), (".txt", False), (".txt", True)]


def test_include_patterns_choose_names(tmp_path):
    for name in ("poet.0.json", "poet.1.json", "authors.json", "README.md"):
        write_text(tmp_path / name, [["x"]])
    found = find_files([section(tmp_path, include=("poet.*", "ci.*"))])
    assert [file.path.name for file in found] == ["poet.0.json", "poet.1.json"]


def test_a_file_given_twice_is_read_once(tmp_path):
    path = write_text(tmp_path / "a.txt", [["x"]])
    assert len(find_files([section(path, tmp_path)])) == 1


def test_bundled_texts_are_found_by_package_name():
    assert find_files([section("package:quickstart", include=("*.txt",))])


@pytest.mark.parametrize("name", ["table.csv", "book.pdf", "README", "data.parquet", "text.zip"])
def test_other_shapes_are_named_and_refused(tmp_path, name):
    path = write_text(tmp_path / name, [["x"]])
    for given_path in (path, tmp_path):
        with pytest.raises(UserError, match=rf"{name}: files like .* not read. Expected .txt, .jsonl, .json, .tsv"):
            find_files([section(given_path)])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing.txt: no such file or folder"):
        find_files([section(tmp_path / "nothing.txt")])


def test_a_pattern_that_fits_nothing_is_named(tmp_path):
    write_text(tmp_path / "a.txt", [["x"]])
    with pytest.raises(UserError, match=r"no file fits --include poet\.\*"):
        find_files([section(tmp_path, include=("poet.*",))])


def test_a_large_json_array_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "LARGEST_JSON", 10)
    path = tmp_path / "large.json"
    path.write_text('["a", "b", "c"]')
    with pytest.raises(UserError, match="convert to .jsonl|Convert to .jsonl"):
        find_files([section(path)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.text("甲a ", min_size=1, max_size=40), min_size=1, max_size=4), max_size=20),
    st.integers(10, 400),
    st.booleans(),
)
def test_units_hold_every_document_once_wherever_they_are_cut(tmp_path_factory, texts, size, one_per_line):
    path = write_text(tmp_path_factory.mktemp("text") / "a.txt", texts)
    source = section(path, one_per_line=one_per_line)
    files = find_files([source])

    def read(units):
        spans = itertools.chain.from_iterable(units)
        return [document for span in spans for document in documents(files[0], span, source, Problems(False))]

    units = plan_units(files, [source], limits=(size, 1 << 30))
    assert read(units) == read([(Span(0, 0, None),)])
    bounds = [(span.start, span.stop) for unit in units for span in unit]
    assert all(first[1] == second[0] for first, second in itertools.pairwise(bounds))


def test_small_files_share_a_unit_and_compressed_ones_stay_whole(tmp_path):
    paths = [tmp_path / f"{number}.txt" for number in range(4)] + [tmp_path / "z.txt.gz"]
    for path in paths:
        path.write_bytes(b"a\n\n" * 100)
    source = section(*paths)
    units = plan_units(find_files([source]), [source], limits=(700, 1 << 30))
    assert [[span.file for span in unit] for unit in units] == [[0, 1, 2], [2, 3, 4]]
    assert units[-1][-1] == Span(4, 0, None)


def test_a_boundary_in_a_line_longer_than_a_block_is_found(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * 3_000_000 + b"\n\nsecond\n")
    source = section(path)
    units = plan_units(find_files([source]), [source], limits=(1000, 1 << 30))
    assert units == [(Span(0, 0, 3_000_002),), (Span(0, 3_000_002, None),)]
