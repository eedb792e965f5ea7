"""Every task of texts is read as its official files have it; invented rows."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, TextExample, own_texts, read_split, read_task
from ms_plm.data.benchmarks.texts import CUT_ROW

MNLI_HEAD = "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse"
STS_HEAD = "index genre filename year old_index source1 source2 sentence1 sentence2"


def tsv(*rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def jsonl(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def mnli(index, premise, hypothesis, *labels):
    return (index, index, f"{index}e", "travel", "( x )", "( y )", "(ROOT x)", "(ROOT y)", premise, hypothesis, *labels)


GLUE = {
    "glue/cola": (
        {
            "train.tsv": tsv(("src", 1, "", 'The "cat" sat.'), ("src", 0, "*", '"Sat the cat')),
            "dev.tsv": tsv(("src", 1, "", "We ate.")),
            "test.tsv": tsv(("index", "sentence"), (0, "They sang.")),
        },
        {
            "train": [("0", 'The "cat" sat.', None, "1"), ("1", '"Sat the cat', None, "0")],
            "dev": [("0", "We ate.", None, "1")],
            "test": [("0", "They sang.", None, None)],
        },
    ),
    "glue/sst-2": (
        {
            "train.tsv": tsv(("sentence", "label"), ('a "warm film ', 1)),
            "dev.tsv": tsv(("sentence", "label"), ("dull ", 0)),
            "test.tsv": tsv(("index", "sentence"), (0, "fine .")),
        },
        {
            "train": [("0", 'a "warm film ', None, "1")],
            "dev": [("0", "dull ", None, "0")],
            "test": [("0", "fine .", None, None)],
        },
    ),
    "glue/mrpc": (
        {
            "train.tsv": "\ufeff" + tsv(("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"), (1, 7, 8, '"A', 'A"')),
            "dev.tsv": tsv(("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"), (0, 7, 8, "A", "B")),
            "test.tsv": tsv(("index", "#1 ID", "#2 ID", "#1 String", "#2 String"), (3, 7, 8, "A", "C")),
        },
        {"train": [("0", '"A', 'A"', "1")], "dev": [("0", "A", "B", "0")], "test": [("3", "A", "C", None)]},
    ),
    "glue/sts-b": (
        {
            "train.tsv": tsv(
                [*STS_HEAD.split(), "score"],
                (0, "main", "f", "2012", "1", "none", "none", "A bird.", 'A "bird".', "4.750"),
            ),
            "test.tsv": tsv(
                STS_HEAD.split(),
                (5, "main", "f", "2012", "1", "none", "none", "A bird.", "A fish."),
            ),
        },
        {"train": [("0", "A bird.", 'A "bird".', 4.75)], "test": [("5", "A bird.", "A fish.", None)]},
    ),
    "glue/qqp": (
        {
            "train.tsv": tsv(
                ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
                (9, 1, 2, 'Who said "no', "Who?", 0),
                (10, 3, 4, "cut by a line feed"),
                ("the rest", "", 1),
                (11, 5, 6, "", "Why?", 1),
            ),
            "test.tsv": tsv(("id", "question1", "question2"), (0, "How?", "What?")),
        },
        {
            "train": [("9", 'Who said "no', "Who?", "0"), ("11", "", "Why?", "1")],
            "test": [("0", "How?", "What?", None)],
        },
    ),
    "glue/mnli": (
        {
            "train.tsv": tsv(
                [*MNLI_HEAD.split(), "sentence1", "sentence2", "label1", "gold_label"],
                mnli(0, "It rains.", "It is wet.", "neutral", "entailment"),
                mnli(1, "It rains.", "n/a", "neutral", "neutral"),
            ),
            "dev_matched.tsv": tsv(
                [*MNLI_HEAD.split(), "sentence1", "sentence2", *(f"label{i}" for i in range(1, 6)), "gold_label"],
                mnli(0, 'He "sat', "He stood.", *["neutral"] * 5, "contradiction"),
            ),
            "test_mismatched.tsv": tsv(
                [*MNLI_HEAD.split(), "sentence1", "sentence2"], mnli(4, "It snows.", "It is cold.")
            ),
        },
        {
            "train": [("0", "It rains.", "It is wet.", "entailment"), ("1", "It rains.", "n/a", "neutral")],
            "dev_matched": [("0", 'He "sat', "He stood.", "contradiction")],
            "test_mismatched": [("4", "It snows.", "It is cold.", None)],
        },
    ),
    "glue/qnli": (
        {
            "dev.tsv": tsv(("index", "question", "sentence", "label"), (6, "Who?", "She did.", "not_entailment")),
            "test.tsv": tsv(("index", "question", "sentence"), (0, "Who?", 'She "did')),
        },
        {"dev": [("6", "Who?", "She did.", "not_entailment")], "test": [("0", "Who?", 'She "did', None)]},
    ),
    "glue/rte": (
        {
            "dev.tsv": tsv(("index", "sentence1", "sentence2", "label"), (6, "A.", "B.", "entailment")),
            "test.tsv": tsv(("index", "sentence1", "sentence2"), (0, "A.", "C.")),
        },
        {"dev": [("6", "A.", "B.", "entailment")], "test": [("0", "A.", "C.", None)]},
    ),
    "glue/wnli": (
        {"train.tsv": tsv(("index", "sentence1", "sentence2", "label"), (0, "A.", "B.", 1))},
        {"train": [("0", "A.", "B.", "1")]},
    ),
    "glue/ax": (
        {"diagnostic.tsv": tsv(("index", "sentence1", "sentence2"), (0, "The cat sat.", "The cat did not sit."))},
        {"test": [("0", "The cat sat.", "The cat did not sit.", None)]},
    ),
}
PAIR = {"sentence1": "花呗怎么还", "sentence2": '怎么还"花呗"'}
POINTED = {"span1_index": 0, "span1_text": "小明", "span2_index": 5, "span2_text": "他"}
CLUE = {
    "clue/afqmc": (
        {"train.json": jsonl(PAIR | {"label": "1"}), "test.json": jsonl({"id": 7, **PAIR})},
        {"train": [("0", *PAIR.values(), "1")], "test": [("7", *PAIR.values(), None)]},
    ),
    "clue/tnews": (
        {
            "train.json": jsonl({"label": "108", "label_desc": "news_edu", "sentence": "开学了", "keywords": ""}),
            "test1.0.json": jsonl({"id": 0, "sentence": "涨了", "keywords": ""}),
            "test.json": jsonl({"id": 3, "sentence": "跌了", "keywords": ""}),
        },
        {
            "train": [("0", "开学了", None, "108")],
            "test": [("3", "跌了", None, None)],
            "test1.0": [("0", "涨了", None, None)],
        },
    ),
    "clue/iflytek": (
        {
            "dev.json": jsonl(
                {"label": "110", "label_des": "超市", "sentence": "买菜"}, {"label": 3, "sentence": "看书"}
            )
        },
        {"dev": [("0", "买菜", None, "110"), ("1", "看书", None, "3")]},
    ),
    "clue/cmnli": (
        {
            "dev.json": jsonl(PAIR | {"label": "neutral"}, PAIR | {"label": "-"}),
            "test.json": jsonl({"id": 1, **PAIR}),
        },
        {"dev": [("0", *PAIR.values(), "neutral")], "test": [("1", *PAIR.values(), None)]},
    ),
    "clue/ocnli": (
        {
            "train.50k.json": jsonl(PAIR | {"label": "-", "id": 4}, PAIR | {"label": "entailment", "id": 5}),
            "train.3k.json": jsonl(PAIR | {"label": "neutral", "id": 9}),
        },
        {"train": [("5", *PAIR.values(), "entailment")]},
    ),
    "clue/cluewsc2020": (
        {
            "train.json": jsonl({"target": POINTED, "idx": 2, "label": "true", "text": "小明说今天他不来"}),
            "test.json": jsonl({"target": POINTED, "id": 8, "text": "小明说今天他不来"}),
        },
        {
            "train": [("0", "_小明_说今天[他]不来", None, "true")],
            "test": [("8", "_小明_说今天[他]不来", None, None)],
        },
    ),
    "clue/csl": (
        {"dev.json": jsonl({"id": 2, "abst": "本文研究", "keyword": ["方法", "应用"], "label": "0"})},
        {"dev": [("2", "方法 应用", "本文研究", "0")]},
    ),
}
NESTED = {
    "idx": 4,
    "passage": {
        "text": "A story.",
        "questions": [
            {
                "question": "Who?",
                "idx": 9,
                "answers": [{"text": "He", "idx": 30, "label": 1}, {"text": "It", "idx": 31, "label": 0}],
            }
        ],
    },
}
SUPERGLUE = {
    "superglue/boolq": (
        {
            "train.jsonl": jsonl({"question": "is it", "passage": "It is.", "idx": 3, "label": True}),
            "test.jsonl": jsonl({"question": "is it", "passage": "No.", "idx": 0}),
        },
        {"train": [("3", "is it", "It is.", "true")], "test": [("0", "is it", "No.", None)]},
    ),
    "superglue/cb": (
        {"val.jsonl": jsonl({"premise": "A", "hypothesis": "B", "label": "neutral", "idx": 1})},
        {"dev": [("1", "A", "B", "neutral")]},
    ),
    "superglue/rte": (
        {"val.jsonl": jsonl({"premise": "A", "hypothesis": "B", "label": "not_entailment", "idx": 1})},
        {"dev": [("1", "A", "B", "not_entailment")]},
    ),
    "superglue/wic": (
        {
            "train.jsonl": jsonl(
                {
                    "word": "bank",
                    "sentence1": "The bank fell.",
                    "sentence2": "He banks there.",
                    "idx": 0,
                    "label": False,
                    "start1": 4,
                    "start2": 3,
                    "end1": 8,
                    "end2": 8,
                    "version": 1.1,
                }
            )
        },
        {"train": [("0", "The _bank_ fell.", "He _banks_ there.", "false")]},
    ),
    "superglue/wsc": (
        {
            "train.jsonl": jsonl(
                {
                    "text": "Ann  told the man that he, too, may go.",
                    "idx": 5,
                    "label": True,
                    "target": {"span1_index": 2, "span1_text": "The man", "span2_index": 5, "span2_text": "he"},
                }
            )
        },
        {"train": [("5", "Ann  told _the man_ that [he], too, may go.", None, "true")]},
    ),
    "superglue/multirc": (
        {"train.jsonl": jsonl(NESTED)},
        {"train": [("4-9-30", "A story.", "Who? He", "1", "4-9"), ("4-9-31", "A story.", "Who? It", "0", "4-9")]},
    ),
    "superglue/ax-b": (
        {"AX-b.jsonl": jsonl({"sentence1": "A", "sentence2": "B", "idx": 0, "label": "entailment", "logic": "x"})},
        {"test": [("0", "A", "B", "entailment")]},
    ),
    "superglue/ax-g": (
        {"AX-g.jsonl": jsonl({"premise": "A", "hypothesis": "B", "idx": 0, "label": "entailment", "pair_id": 1})},
        {"test": [("0", "A", "B", "entailment", "1")]},
    ),
}
XNLI = tsv(
    ("language", "gold_label", "sentence1_binary_parse", "sentence1", "sentence2", "pairID"),
    ("de", "neutral", "", "Es regnet.", "Es ist nass.", "1"),
    ("zh", "contradiction", "", '他说"是', "他没说", "2"),
)
OTHERS = {
    "chnsenticorp": (
        {"train.tsv": tsv(("label", "text_a"), (1, '很"好')), "dev.tsv": tsv((0, "不好"), (1, "好"))},
        {"train": [("0", '很"好', None, "1")], "dev": [("0", "不好", None, "0"), ("1", "好", None, "1")]},
    ),
    "lcqmc": (
        {"train.txt": tsv(("a", "b", 1), ("c", "d", 0)), "dev.tsv": tsv(("text_a", "text_b", "label"), ("a", "b", 0))},
        {"train": [("0", "a", "b", "1"), ("1", "c", "d", "0")], "dev": [("0", "a", "b", "0")]},
    ),
    "xnli/zh": (
        {
            "multinli.train.zh.tsv": tsv(("premise", "hypo", "label"), ("下雨", "湿了", "contradictory")),
            "xnli.dev.tsv": XNLI,
            "test.tsv": tsv(("premise", "hypo", "label"), ("下雨", "湿了", "neutral")),
        },
        {
            "train": [("0", "下雨", "湿了", "contradiction")],
            "dev": [("2", '他说"是', "他没说", "contradiction")],
            "test": [("0", "下雨", "湿了", "neutral")],
        },
    ),
    "xnli/de": ({"xnli.test.tsv": XNLI}, {"test": [("1", "Es regnet.", "Es ist nass.", "neutral")]}),
}
ALL = GLUE | CLUE | SUPERGLUE | OTHERS


def test_chnsenticorp_is_read_with_a_column_of_numbers_too(tmp_path):
    """As PaddleNLP distributes it."""
    files = {"dev.tsv": tsv(("qid", "label", "text_a"), (0, 1, "好")), "test.tsv": tsv(("qid", "text_a"), (0, "不好"))}
    splits = read_task(TASKS["chnsenticorp"], written(tmp_path, files))
    assert [(e.text, e.label) for e in splits["dev"].examples] == [("好", "1")]
    assert [(e.text, e.label) for e in splits["test"].examples] == [("不好", None)]


def written(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ALL)
def test_the_official_files_give_their_examples(tmp_path, name):
    files, expected = ALL[name]
    found = read_task(TASKS[name], written(tmp_path, files))
    assert {split: [*read.examples] for split, read in found.items()} == {
        split: [TextExample(*row) for row in rows] for split, rows in expected.items()
    }


def test_every_task_of_texts_is_tested_here():
    of_texts = {name for name, task in TASKS.items() if task.kind in ("classification", "regression")}
    assert {name for name in of_texts if not name.startswith("xnli")} <= set(ALL)


def test_rows_that_a_line_feed_cut_are_counted_where_the_set_is_known_for_them(tmp_path, caplog):
    found = read_split(TASKS["glue/qqp"], written(tmp_path, GLUE["glue/qqp"][0]), "train")
    assert found.dropped == Counter({CUT_ROW: 2})
    assert "left out 2" in caplog.text


def test_examples_without_an_agreed_label_are_left_out_and_counted(tmp_path):
    found = read_split(TASKS["clue/ocnli"], written(tmp_path, CLUE["clue/ocnli"][0]), "train")
    assert dict(found.dropped) == {"no agreed label": 1}


def test_marks_of_neighbouring_words_stand_side_by_side(tmp_path):
    target = {"span1_index": 1, "span1_text": "小明", "span2_index": 3, "span2_text": "他"}
    written(tmp_path, {"test.json": jsonl({"text": "叫小明他来", "target": target, "id": 0})})
    assert read_split(TASKS["clue/cluewsc2020"], tmp_path, "test").examples[0].text == "叫_小明_[他]来"


@pytest.mark.parametrize(
    ("index", "words", "expected"),
    [(1, "Dr. Ann's", "The _Dr. Anns_ [he] left"), (4, "left now", "The Dr. Anns [he] _left_")],
)
def test_words_that_differ_from_those_at_their_place_are_marked_by_their_number(tmp_path, index, words, expected):
    target = {"span1_index": index, "span1_text": words, "span2_index": 3, "span2_text": "He"}
    written(tmp_path, {"test.jsonl": jsonl({"text": "The Dr. Anns he left", "target": target, "idx": 0})})
    assert read_split(TASKS["superglue/wsc"], tmp_path, "test").examples[0].text == expected


def test_mnli_goes_by_name_in_the_order_of_berts_own_scripts(tmp_path):
    found = read_task(TASKS["glue/mnli"], written(tmp_path, GLUE["glue/mnli"][0]))
    assert {read.labels for read in found.values()} == {("contradiction", "entailment", "neutral")}
    assert TASKS["glue/mnli"].split_names("dev") == ("dev_matched", "dev_mismatched")


@pytest.mark.parametrize("suffix", ["tsv", "txt"])
@pytest.mark.parametrize("name", ["clue/tnews", "clue/afqmc", "clue/cmnli"])
def test_the_forms_that_are_passed_around_are_read_where_the_official_ones_lack(tmp_path, name, suffix):
    rows = {"clue/tnews": ("开学了", "news_edu"), "clue/afqmc": ("a", "b", "1"), "clue/cmnli": ("a", "b", "neutral")}
    expected = {"clue/tnews": "108", "clue/afqmc": "1", "clue/cmnli": "neutral"}
    written(tmp_path, {f"dev.{suffix}": tsv(rows[name])})
    if suffix == ("tsv" if name == "clue/tnews" else "txt"):
        (example,) = read_split(TASKS[name], tmp_path, "dev").examples
        assert example.label == expected[name]
    else:
        with pytest.raises(UserError, match="no file of clue/.*'s dev split. Expected dev.json or dev"):
            read_split(TASKS[name], tmp_path, "dev")


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("glue/cola", {"dev.tsv": "s\t1\t\tA.\ns\t1\tA.\n"}, r"dev.tsv, line 2: 3 cells where 4 are expected"),
        ("glue/cola", {"dev.tsv": "s\t\t\tA.\n"}, r"dev.tsv, line 1: no label. Only splits"),
        ("glue/cola", {"dev.tsv": "s\t2\t\tA.\n"}, r"dev.tsv, line 1: label '2'; expected one of '0', '1'"),
        (
            "glue/sst-2",
            {"dev.tsv": "sentence\nA\n"},
            r"dev.tsv, line 1: no column 'label'; the first line has 'sentence'",
        ),
        ("glue/sst-2", {"dev.tsv": "sentence\tlabel\nA\t1\nB\n"}, r"dev.tsv, line 3: 1 cells where 2"),
        ("glue/sst-2", {"dev.tsv": ""}, r"dev.tsv: no examples"),
        ("chnsenticorp", {"dev.tsv": "好\n"}, r"dev.tsv, line 1: no column 1; the first line has 1 cells"),
        ("clue/csl", {"dev.json": '{"abst": "a", "label": "1"}\n'}, r"line 1: no field 'keyword'; .*'abst', 'label'"),
        ("clue/csl", {"dev.json": '{"abst": "a"\n'}, r"dev.json, line 1: broken JSON"),
        ("clue/csl", {"dev.json": "[1]\n"}, r"dev.json, line 1: expected a JSON object, found an array"),
        (
            "clue/iflytek",
            {"dev.json": '\n{"sentence": 3, "label": 1}\n'},
            r"line 2: field 'sentence': expected text, found",
        ),
        ("clue/iflytek", {"dev.json": '{"sentence": "a", "label": null}\n'}, r"line 1: no label"),
        ("clue/iflytek", {"dev.json": '{"sentence": "a"}\n'}, r"line 1: no field 'label'"),
        (
            "clue/cluewsc2020",
            {"dev.json": jsonl({"text": "小红和他", "target": POINTED, "label": "true"})},
            r"line 1: '小明' does not stand at 0; there stands '小红'",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, name, files, message):
    written(tmp_path, files)
    with pytest.raises(UserError, match=message):
        read_split(TASKS[name], tmp_path, "dev")


@pytest.mark.parametrize("score", ["5.2", "nan", "high", "-1"])
def test_a_score_that_is_none_is_named(tmp_path, score):
    files = {"train.tsv": GLUE["glue/sts-b"][0]["train.tsv"].replace("4.750", score)}
    with pytest.raises(UserError, match=f"train.tsv, line 2: label '{score}'; expected a number from 0 to 5"):
        read_split(TASKS["glue/sts-b"], written(tmp_path, files), "train")


def test_another_encoding_is_named_with_its_line(tmp_path):
    (tmp_path / "dev.tsv").write_bytes(b"label\ttext_a\n1\t" + "好".encode("gb18030") + b"\n")
    with pytest.raises(UserError, match=r"dev.tsv, line 2: not UTF-8: byte 2 .*iconv -f GB18030"):
        read_split(TASKS["chnsenticorp"], tmp_path, "dev")


def test_only_a_line_feed_ends_a_row(tmp_path):
    (tmp_path / "dev.tsv").write_bytes("sentence\tlabel\r\na\u2028b\x85c\x0bd\t1\r\n".encode())
    (example,) = read_split(TASKS["glue/sst-2"], tmp_path, "dev").examples
    assert example.text == "a\u2028b\x85c\x0bd"


def test_another_file_takes_the_place_of_the_official_one(tmp_path):
    written(tmp_path, {"few.tsv": tsv(("sentence", "label"), ("A", 1)), "few.csv": ""})
    assert len(read_split(TASKS["glue/sst-2"], tmp_path, "train", file="few.tsv").examples) == 1
    with pytest.raises(UserError, match="few.csv: glue/sst-2 is read from train.tsv"):
        read_split(TASKS["glue/sst-2"], tmp_path, "train", file="few.csv")
    with pytest.raises(UserError, match="no split 'valid'; it has train, dev, test"):
        read_split(TASKS["glue/sst-2"], tmp_path, "valid")


OWN = {
    "header.tsv": ("text", "pair", "label", 'id\tpair\ttext\tlabel\n7\tb\ta "c"\tgood\n'),
    "numbers.txt": ("1", "0", "2", 'b\ta "c"\tgood\n'),
    "records.jsonl": ("text", "pair", "label", '{"text": "a \\"c\\"", "pair": "b", "label": "good"}\n'),
}


@pytest.mark.parametrize("file", OWN)
def test_your_own_files_are_read_by_naming_their_columns(tmp_path, file):
    text, pair, label, content = OWN[file]
    written(tmp_path, {file: content})
    task = own_texts({"train": file}, text, pair, label)
    found = read_task(task, tmp_path)["train"]
    assert found.examples == (TextExample("0", 'a "c"', "b", "good"),)
    assert found.labels == ("good",)


def test_the_classes_of_your_own_files_are_those_of_the_training_file_in_order(tmp_path):
    written(tmp_path, {"a.tsv": tsv("xy", ("c", 10), ("a", 2), ("b", 10)), "b.tsv": tsv("xy", ("c", 3))})
    task = own_texts({"dev": "b.tsv", "train": "a.tsv"}, "x", label="y")
    assert read_split(task, tmp_path, "train").labels == ("2", "10")
    with pytest.raises(UserError, match=r"b.tsv, line 2: label '3'; expected one of '2', '10'"):
        read_task(task, tmp_path)
    with pytest.raises(UserError, match="read the training split first"):
        read_split(task, tmp_path, "dev")


def test_blanks_around_a_label_do_not_make_another_class(tmp_path):
    written(tmp_path, {"train.tsv": tsv("xy", ("c", " good"), ("a", "good "))})
    assert read_split(own_texts({"train": "train.tsv"}, "x", label="y"), tmp_path, "train").labels == ("good",)


def test_your_own_regression_needs_numbers(tmp_path):
    written(tmp_path, {"a.tsv": tsv("xy", ("c", "-7.5"))})
    task = own_texts({"train": "a.tsv"}, "x", label="y", kind="regression")
    assert read_split(task, tmp_path, "train").examples[0].label == -7.5
    with pytest.raises(UserError, match="expected a file of .tsv, .txt, .jsonl"):
        own_texts({"train": "a.csv"}, "x")
    with pytest.raises(UserError, match="kind 'tokens'"):
        own_texts({"train": "a.tsv"}, "x", kind="tokens")


def test_a_folder_without_any_of_the_files_is_named(tmp_path):
    with pytest.raises(UserError, match="none of the files of glue/rte is there. Expected train: train.tsv; dev: dev"):
        read_task(TASKS["glue/rte"], tmp_path)


@pytest.mark.parametrize(
    ("name", "header", "label"),
    [
        ("AX.tsv", ("index", "sentence1", "sentence2"), None),
        ("diagnostic-full.tsv", ("Lexical Semantics", "Premise", "Hypothesis", "Label"), "entailment"),
    ],
)
def test_the_diagnostic_set_of_glue_is_read_as_each_archive_has_it(name, header, label, tmp_path):
    row = {"index": 0, "sentence1": "A", "sentence2": "B", "Premise": "A", "Hypothesis": "B", "Label": label}
    files = {name: tsv(header, [row.get(column, "") for column in header])}
    split = read_split(TASKS["glue/ax"], written(tmp_path, files), "test")
    (example,) = split.examples
    assert (example.text, example.pair, example.label) == ("A", "B", label)
