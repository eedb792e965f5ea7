"""Every format gives its documents; what cannot be read is named with file and place."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from prepare_help import section

from ms_plm.common.errors import UserError
from ms_plm.data import readers
from ms_plm.data.inputs import Span, find_files
from ms_plm.data.readers import Problems, TextLines, documents


def read(path, skip=False, span=None, **options):
    source = section(path, **options)
    (file,) = find_files([source])
    problems = Problems(skip)
    return list(documents(file, span or Span(0, 0, None), source, problems)), problems


def test_blank_lines_separate_documents_of_txt(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff一\r\n二\r\n\u3000\r\n\n三".encode())
    assert read(path)[0] == [["一", "二"], ["三"]]


def test_each_line_is_a_document_on_request(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("一\n\n二\n三", encoding="utf-8")
    assert read(path, one_per_line=True)[0] == [["一"], ["二"], ["三"]]


@pytest.mark.parametrize("compressed", [False, True])
def test_fields_of_json_hold_text_or_lists_of_texts(tmp_path, compressed):
    records = [{"paragraphs": ["一", "二\n三"], "n": 1}, {"paragraphs": "四"}]
    data = {".json": json.dumps(records, indent=1), ".jsonl": "\n".join(map(json.dumps, records)) + "\n\n"}
    for suffix, text in data.items():
        path = tmp_path / f"a{suffix}{'.gz' if compressed else ''}"
        path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
        assert read(path, field="paragraphs")[0] == [["一", "二", "三"], ["四"]]


def test_plain_texts_and_the_field_text_need_no_option(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('"一"\n{"text": "二"}\n')
    assert read(path)[0] == [["一"], ["二"]]


def test_columns_of_tsv_are_lines_of_a_document(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("classical\tmodern\tchapter\n子曰\t孔子说\t一\n学而\t学习\t二\n", encoding="utf-8")
    assert read(path, columns=("modern", "classical"))[0] == [["孔子说", "子曰"], ["学习", "学而"]]


def test_a_missing_column_names_those_there_are(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("classical\tmodern\na\tb\n")
    with pytest.raises(UserError, match="no column 'text'; its first line names: 'classical', 'modern'"):
        read(path, columns=("text", "modern"))
    with pytest.raises(UserError, match="--columns; its first line names"):
        read(path)


def test_a_missing_field_names_those_there_are(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"title": "x", "body": "y"}\n')
    with pytest.raises(UserError, match=r"a.jsonl, line 1: no field 'text_'; the record's fields: 'title', 'body'"):
        read(path, field="text_")
    with pytest.raises(UserError, match="Say it with --field"):
        read(path)


def test_a_broken_json_line_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"\n{"text": "c"}\n')
    with pytest.raises(UserError, match=r"a.jsonl, line 2: broken JSON .*--skip-bad"):
        read(path)
    found, problems = read(path, skip=True)
    assert found == [["a"], ["c"]]
    assert problems.count == 1
    assert "line 2" in problems.examples[0]


def test_the_line_of_a_broken_record_is_counted_from_the_files_start(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\nnot json\n')
    with pytest.raises(UserError, match="line 3"):
        read(path, span=Span(0, 14, None))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": 3}', "field 'text' is number; expected text or a list of texts"),
        ('{"text": ["a", null]}', "field 'text' is array"),
        ("[1, 2]", "the record is array; expected an object or text"),
        ("null", "the record is null"),
    ],
)
def test_a_record_of_another_shape_is_named(tmp_path, line, expected):
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=f"line 1: {expected}"):
        read(path)


def test_rows_with_another_number_of_cells_are_named(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\n1\t2\n1\t2\t3\n4\t5\n")
    with pytest.raises(UserError, match="line 3: 3 columns where the header has 2"):
        read(path, columns=("a",))
    found, problems = read(path, skip=True, columns=("a",))
    assert found == [["1"], ["4"]]
    assert problems.count == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": 1}', "holds one JSON object; expected an array"),
        ('[{"text": "a"}', "broken JSON"),
        ("3", "one JSON number"),
    ],
)
def test_a_json_file_that_is_no_array_is_refused(tmp_path, content, expected):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UserError, match=expected):
        read(path, skip=True)


def test_a_compressed_json_array_is_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LARGEST_JSON", 100)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(["a" * 200]).encode()))
    with pytest.raises(UserError, match="convert to .jsonl"):
        read(path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.tsv", "a.json"])
def test_a_file_that_is_not_utf8_is_named_with_the_byte(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'"te"\n' + "中文".encode("gb18030") + b"\n")
    with pytest.raises(UserError, match=rf"{name}: not UTF-8: byte 5 is 0xd6.*iconv -f GB18030 -t UTF-8"):
        read(path, columns=('"te"',) if name == "a.tsv" else ())


def test_a_damaged_gzip_file_is_named(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"some text\n" * 1000)[:-20])
    with pytest.raises(UserError, match=r"a.txt.gz: the gzip file is damaged"):
        read(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(UserError, match=r"a.txt.gz: the gzip file is damaged"):
        read(path)


def test_a_long_line_is_read_in_pieces_that_end_at_sentences(tmp_path):
    path = tmp_path / "a.txt"
    line = "一二三四五六七八九。" * 100_000  # 3 MB
    path.write_text(line, encoding="utf-8")
    found, _ = read(path)
    pieces = [text for document in found for text in document]
    assert "".join(pieces) == line
    assert len(pieces) >= 3
    assert all(piece.endswith("。") for piece in pieces)
    assert max(map(len, pieces)) <= readers.LONGEST_DOCUMENT


@pytest.mark.parametrize("options", [{}, {"one_per_line": True}])
def test_memory_does_not_grow_with_the_length_of_a_line(tmp_path, options):
    def peak(megabytes: int) -> int:
        path = tmp_path / f"{megabytes}.txt"
        path.write_bytes("没有标点的长行".encode() * (megabytes * 1_000_000 // 21))
        source = section(path, **options)
        (file,) = find_files([source])
        tracemalloc.start()
        size = sum(
            len(line) for document in documents(file, Span(0, 0, None), source, Problems(False)) for line in document
        )
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert size == megabytes * 1_000_000 // 21 * 7
        return top

    small, large = peak(3), peak(30)
    assert large < small * 1.5
    assert large < 40e6


def test_a_long_document_is_split(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_DOCUMENT", 10)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": ["一二三四", "五六七八", "九" * 12]}) + "\n")
    assert read(path)[0] == [["一二三四", "五六七八"], ["九" * 10], ["九" * 2]]


def test_a_record_beyond_all_measure_is_a_bad_one(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_RECORD", 100)
    path = tmp_path / "a.jsonl"
    path.write_text(f'"a"\n"{"b" * 500}"\n"c"\n')
    found, problems = read(path, skip=True)
    assert found == [["a"], ["c"]]
    assert problems.count == 1
    with pytest.raises(UserError, match="line 2: a record of more than"):
        read(path)


def test_lines_for_a_vocabulary_are_cleaned_and_can_be_read_again(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "今\\ud800天\\u0007  好"}\n')
    lines = TextLines([section(path)])
    assert list(lines) == list(lines) == ["今天 好"]
