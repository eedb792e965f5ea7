"""Words with tags: columns, and CLUENER's entities."""

import json

import pytest

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, TokensExample, own_tokens, read_split, read_task
from ms_plm.data.benchmarks.tokens import OVERLAPPING


def read(folder, content, split="train", labels=None, **options):
    (folder / "a.txt").write_text(content, encoding="utf-8")
    return read_split(own_tokens({split: "a.txt"}, **options), folder, split, labels)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("小 B-PER\n明 I-PER\n\n去 O\n", {}),
        ("小\tB-PER\n明\tI-PER\n\n\n\n去\tO", {}),
        ("-DOCSTART- -X- O\n\n小 NN x B-PER\n明 NN x I-PER\n\n去 VV x O\n\n", {}),
        ("1 小 B-PER _\n2 明 I-PER _\n \n1 去 O _\n", {"word": 1, "tag": 2}),
        ("B-PER:小\nI-PER:明\n\nO:去\n", {"word": 1, "tag": 0, "separator": ":"}),
    ],
)
def test_columns_give_sentences_between_blank_lines(tmp_path, content, options):
    found = read(tmp_path, content, **options)
    assert found.examples == (
        TokensExample("0", ("小", "明"), ("B-PER", "I-PER")),
        TokensExample("1", ("去",), ("O",)),
    )
    assert found.labels == ("O", "B-PER", "I-PER")


def test_words_without_tags_are_read_where_none_are_needed(tmp_path):
    found = read(tmp_path, "小\n明\n\n去\n", "test")
    assert [example.words for example in found.examples] == [("小", "明"), ("去",)]
    assert {example.tags for example in found.examples} == {None}


@pytest.mark.parametrize(
    ("content", "split", "message"),
    [
        ("小 O\n明\n", "train", "a.txt, line 2: 1 columns; expected a word in 0 and a tag in -1"),
        ("小\t\n", "train", "a.txt, line 1: an empty tag"),
        ("小 O\n\n明 O\n去\n", "test", "a.txt, line 3: the sentence has 2 words and 1 tags"),
        ("小 B-X\n", "dev", "a.txt, line 1: label 'B-X'; expected one of 'O', 'B-PER'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, content, split, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, content, split, labels=None if split == "train" else ("O", "B-PER"))


def cluener(label, text="浙商银行叶老桂任行长", **more):
    return json.dumps({"text": text, **more} | ({} if label is None else {"label": label}), ensure_ascii=False) + "\n"


def test_cluener_gives_tags_of_characters(tmp_path):
    label = {"name": {"叶老桂": [[4, 6]]}, "company": {"浙商银行": [[0, 3]]}, "position": {"行长": [[8, 9]]}}
    (tmp_path / "train.json").write_text(cluener(label), encoding="utf-8")
    (tmp_path / "test.json").write_text(cluener(None, id=3), encoding="utf-8")
    found = read_task(TASKS["cluener"], tmp_path)
    (example,) = found["train"].examples
    assert example.words == tuple("浙商银行叶老桂任行长")
    assert " ".join(example.tags) == (
        "B-company I-company I-company I-company B-name I-name I-name O B-position I-position"
    )
    assert found["test"].examples == (TokensExample("3", example.words),)
    assert len(found["train"].labels) == 21


def test_of_entities_that_overlap_the_first_longest_is_kept_and_the_others_are_counted(tmp_path):
    label = {
        "name": {"浙商": [[0, 1]], "银行叶": [[2, 4]]},
        "company": {"浙商银行": [[0, 3]]},
        "position": {"叶": [[4, 4]]},
    }
    (tmp_path / "train.json").write_text(cluener(label), encoding="utf-8")
    found = read_split(TASKS["cluener"], tmp_path, "train")
    assert found.examples[0].tags[:5] == ("B-company", "I-company", "I-company", "I-company", "B-position")
    assert dict(found.dropped) == {OVERLAPPING: 2}


@pytest.mark.parametrize("span", [[3, 5], [4], ["4", "6"]])
def test_entities_that_do_not_stand_where_they_should_are_named(tmp_path, span):
    (tmp_path / "train.json").write_text(cluener({"name": {"叶老桂": [span]}}), encoding="utf-8")
    with pytest.raises(UserError, match=r"train.json, line 1: '叶老桂' (does not stand|stands) at"):
        read_split(TASKS["cluener"], tmp_path, "train")
