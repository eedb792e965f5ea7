"""Augmented training sets take the place of a task's own, in our format and in the task's; what is wrong is named."""

import json

import pytest

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, Split, TextExample, own_texts, read_augmented


def read(folder, task, content, name="aug.jsonl", pair=None, labels=None):
    """The examples of a file; `pair` and `labels` are those of the task's own training set."""
    task = TASKS[task] if isinstance(task, str) else task
    text = content if isinstance(content, str) else "".join(json.dumps(record) + "\n" for record in content)
    (folder / name).write_text(text, encoding="utf-8")
    train = Split(task.name, "train", (), (TextExample("0", "own", pair, "1"),), labels or task.labels)
    return read_augmented(task, folder / name, train)


def test_lines_of_ours_are_examples_with_labels_by_name(tmp_path):
    split = read(tmp_path, "glue/sst-2", [{"text": 'a "b"\tc', "label": "1", "source": 0}, {"text": "d", "label": 0}])
    assert split.examples == (TextExample("0", 'a "b"\tc', None, "1"), TextExample("1", "d", None, "0"))
    assert (split.name, split.labels, split.files) == ("train", ("0", "1"), (tmp_path / "aug.jsonl",))


def test_variants_of_some_examples_are_taken_where_lines_say_whose_they_are(tmp_path):
    known = (("a", 0), ("b", 2), ("c", 2), ("d", 1))
    lines = [{"text": text, "label": "1", "source": source} for text, source in known]
    path = tmp_path / "aug.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    train = train_of("a", "d", "b")
    split = read_augmented(TASKS["glue/sst-2"], path, train, [0, 2])
    assert [example.text for example in split.examples] == ["a", "b", "c"]
    path.write_text(json.dumps({"text": "a", "label": "1"}) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"aug.jsonl, line 1: data.rows .* expected 'source' in every line"):
        read_augmented(TASKS["glue/sst-2"], path, train, [0])


def train_of(*texts):
    examples = tuple(TextExample(str(number), text, None, "1") for number, text in enumerate(texts))
    return Split("glue/sst-2", "train", (), examples, ("0", "1"))


def test_a_file_that_was_made_of_other_rows_is_refused_with_counts(tmp_path):
    lines = [("a", 0), ("variant", 0), ("b", 1), ("c", 2)]
    path = tmp_path / "aug.jsonl"
    records = [{"text": text, "label": "1", "source": source} for text, source in lines]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    with pytest.raises(UserError, match=r"of the 3 examples that data.rows takes out of 5, 1 do not occur and 1 have"):
        read_augmented(TASKS["glue/sst-2"], path, train_of("a", "other", "c", "d", "e"), [0, 1, 3])


def test_pairs_and_numbers_are_read(tmp_path):
    split = read(tmp_path, "glue/sts-b", [{"text": "a", "pair": "b", "label": 2.5}], pair="own")
    assert split.examples == (TextExample("0", "a", "b", 2.5),)


@pytest.mark.parametrize(
    ("task", "content", "expected"),
    [
        ("glue/sst-2", 'sentence\tlabel\nthe "film"\t1\n', TextExample("0", 'the "film"', None, "1")),
        ("glue/cola", "gj04\t0\t*\tThe film.\n", TextExample("0", "The film.", None, "0")),
    ],
)
def test_a_table_in_the_tasks_own_format_is_read(tmp_path, task, content, expected):
    assert read(tmp_path, task, content, "train_aug.tsv").examples == (expected,)


def test_a_table_of_a_pair_task_is_read_by_its_columns(tmp_path):
    content = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\tone\ttwo\n"
    assert read(tmp_path, "glue/mrpc", content, "train_aug.tsv", "own").examples == (
        TextExample("0", "one", "two", "1"),
    )


def test_files_of_your_own_keep_their_columns_and_classes(tmp_path):
    own = own_texts({"train": "train.tsv"}, "sentence", label="mood")
    split = read(tmp_path, own, "sentence\tmood\nfine\tglad\n", "aug.tsv", labels=("glad", "sad"))
    assert split.labels == ("glad", "sad")
    assert split.examples == (TextExample("0", "fine", None, "glad"),)


@pytest.mark.parametrize(
    ("task", "content", "name", "message"),
    [
        ("glue/sst-2", [{"text": "a", "label": "1"}, {"text": "b", "label": "2"}], "aug.jsonl",
         r"aug.jsonl, line 2: label '2'; expected one of '0', '1'"),
        ("glue/sst-2", [{"text": "a"}], "aug.jsonl", r"aug.jsonl, line 1: no field 'label'"),
        ("glue/sst-2", [{"sentence": "a", "label": "1"}], "aug.jsonl", r"aug.jsonl, line 1: no field 'text'"),
        ("glue/mrpc", [{"text": "a", "label": "1"}], "aug.jsonl", r"aug.jsonl, line 1: no field 'pair'"),
        ("glue/sts-b", [{"text": "a", "pair": "b", "label": 6}], "aug.jsonl", r"line 1: label '6'; expected a number"),
        ("glue/sst-2", '{"text": "a"', "aug.jsonl", r"aug.jsonl, line 1: broken JSON"),
        ("glue/sst-2", "sentence\tmood\na\t1\n", "aug.tsv", r"aug.tsv, line 1: no column 'label'"),
        ("glue/sst-2", "sentence\tlabel\na\tb\t1\n", "aug.tsv", r"aug.tsv, line 2: 3 cells where 2 are expected"),
        ("glue/sst-2", "", "aug.jsonl", r"aug.jsonl: no examples"),
        ("glue/sst-2", "", "aug.csv", r"aug.csv: expected .jsonl as `ms-plm augment` writes it, or .tsv"),
        ("squad1", [], "aug.jsonl", r"data.augmented: squad1 is a task of question answering"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_file_and_line(tmp_path, task, content, name, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, task, content, name, "own" if task in ("glue/mrpc", "glue/sts-b") else None)


def test_a_missing_file_is_named(tmp_path):
    train = Split("glue/sst-2", "train", (), (TextExample("0", "own", None, "1"),), ("0", "1"))
    with pytest.raises(UserError, match=r"nowhere.jsonl"):
        read_augmented(TASKS["glue/sst-2"], tmp_path / "nowhere.jsonl", train)
